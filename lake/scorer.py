"""Scorers: what injections and networks, which do not know each other, agree on."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Scorer(Protocol):
    """Takes stamps (batch, band, y, x) float32 nMgy, gives one logit each.

    One with a method ``score_tensor`` is given stamps of a GPU as a torch tensor there; others get arrays.
    """

    name: str
    checkpoint_id: str
    stamp_pixels: int
    conditions: tuple[str, ...]
    """Observing conditions it needs besides the pixels, by the names of the manifest's columns; most need none."""

    def score(self, stamps: NDArray[np.float32], conditions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Logits (batch,) of stamps (batch, band, y, x) and, where it needs them, conditions (batch, column)."""
        ...
