"""What a checkpoint folder says of itself, read without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lake.config import Section
from lake.errors import DataError
from modeling.config import TrainParams
from modeling.sections import PreprocessingParams

CARD = "checkpoint.json"
FINDER = "scorer.json"
"""In the place of a card: the folder stands for somebody's own finder."""


class CheckpointCard(Section):
    """What ``checkpoint.json`` says."""

    checkpoint_id: str
    """Hash of weights, network and preprocessing: the identity of the model."""
    run_id: str
    """The training run."""
    config: TrainParams
    """Parameters of the run."""
    config_sha256: str
    """SHA-256 of those parameters."""
    preprocessing: PreprocessingParams
    """Preprocessing with its radii in pixels; scoring uses it."""
    stamp_pixels: int
    """Side of the stamps it was trained on."""
    dtype: str
    """Arithmetic it was trained in."""
    best_epoch: int
    """Epoch (from 1) whose weights are kept."""
    best_metric: float
    """Validation metric of that epoch."""
    best_val_auc: float
    """Validation AUC of that epoch."""
    epochs_run: int
    """Epochs completed."""
    manifest_id: str
    """Manifest it was trained on."""
    manifest_fingerprint: str
    """Fingerprint of that manifest."""
    manifest_version: int
    """Delta version of the manifest table."""
    ancestors: tuple[str, ...]
    """checkpoint_id of every ancestor, nearest first."""
    seen_sha256: str
    """SHA-256 of the list of galaxies trained or selected on."""
    git_commit: str
    """Commit of the code."""


def read_card(folder: Path) -> CheckpointCard:
    """The card of a checkpoint; its configuration must be the one the checkpoint was made with."""
    path = folder / CARD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} cannot be read as a checkpoint: {error}") from error
    card = CheckpointCard.load(values, str(path))
    if config_sha256(card.config) != card.config_sha256:
        raise DataError(f"the configuration in {path} is not the one the checkpoint was made with (SHA-256 differs)")
    return card


def config_sha256(params: TrainParams) -> str:
    """SHA-256 of the complete parameters."""
    return hashlib.sha256(json.dumps(params.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
