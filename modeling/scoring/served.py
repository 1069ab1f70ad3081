"""Checkpoints as MLflow loads them: ``mlflow.pyfunc.load_model("models:/lens-finder@champion").predict(stamps)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lake.errors import DataError
from modeling.scoring.checkpoint import Checkpoint
from modeling.scoring.scorer import CheckpointScorer


class Served:
    """A scorer behind the one method that MLflow calls."""

    def __init__(self, scorer: CheckpointScorer) -> None:
        self._scorer = scorer

    def predict(self, stamps: Any, params: dict[str, Any] | None = None) -> NDArray[np.float64]:
        """Logits (batch,) of stamps (batch, band, y, x) in nMgy; ``params`` may hold ``conditions`` (batch, column)."""
        pixels = np.asarray(stamps, dtype=np.float32)
        if pixels.ndim != 4:
            raise DataError(f"'stamps' must be an array (batch, band, y, x), got one of shape {pixels.shape}")
        return self._scorer.score(pixels, (params or {}).get("conditions"))


def _load_pyfunc(folder: str) -> Served:
    """What MLflow calls with the path of the model's data."""
    return Served(CheckpointScorer(Checkpoint.load(Path(folder))))
