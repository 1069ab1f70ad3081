"""Changing a published checkpoint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from modeling.scoring.card import CheckpointCard


def reseal(folder: Path, **changes: Any) -> None:
    """Make the card agree with changed files and fields, as somebody would who means it."""
    path = folder / "checkpoint.json"
    values = json.loads(path.read_text()) | changes
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in values["files"]}
    card = CheckpointCard.load(values | {"files": files}, "card")
    path.write_text(card.sealed().model_dump_json())
