"""What a finished grid says of itself, ``grid.json``; a grid that is gone is named, with what makes it again."""

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
    again = f"`dvc repro grid@{generation}` (or `dhs inject`, where that made it) makes it again"
    if not path.exists():
        raise LakeError(f"the grid of {generation} is gone, {path} does not exist: {again}")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise LakeError(f"{path} cannot be read ({one_line(error)}): {again}") from error


def grid_batches(root: DataRoot, generation: str) -> list[Path]:
    """The score batches of a finder's grid, in order."""
    found = sorted(root.grid(generation).glob(BATCHES))
    if not found:
        raise LakeError(
            f"{root.grid(generation)} holds no score batches; `dvc repro grid@{generation}` makes them again"
        )
    return found
