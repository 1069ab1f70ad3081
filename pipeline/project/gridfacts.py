"""The description of a finished grid, ``grid.json``; a missing grid is an error that says how to remake it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lake.errors import LakeError, one_line
from lake.root import DataRoot

GRID, BATCHES = "grid.json", "batch-*.parquet"


def grid_facts(root: DataRoot, generation: str) -> dict[str, Any]:
    """Identity, scorer, parameters and planned cells of a finder's grid."""
    path = root.grid(generation) / GRID
    again = f"run `dvc repro grid@{generation}` (or `dhs inject`, if that made it)"
    if not path.exists():
        raise LakeError(f"the grid of {generation} is missing, {path} does not exist: {again}")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise LakeError(f"{path} cannot be read ({one_line(error)}): {again}") from error


def grid_batches(root: DataRoot, generation: str) -> list[Path]:
    """The score batches of a finder's grid, in order."""
    found = sorted(root.grid(generation).glob(BATCHES))
    if not found:
        raise LakeError(f"{root.grid(generation)} contains no score batches; run `dvc repro grid@{generation}`")
    return found
