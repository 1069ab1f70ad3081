"""Scorers: what injections and networks, which do not know each other, agree on."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lake.errors import invalid
from lake.sky.imaging import Imaging


@runtime_checkable
class Scorer(Protocol):
    """Takes stamps (batch, band, y, x) float32 nMgy, gives one logit each."""

    name: str
    checkpoint_id: str
    conditions: tuple[str, ...]
    """Observing conditions it needs in addition to the pixels, by the manifest's column names; most need none."""

    @property
    def stamp_pixels(self) -> int | None:
        """Side of the stamps it takes, larger ones being centre-cropped; None: any."""

    @property
    def bands(self) -> tuple[str, ...] | None:
        """Bands of the stamps it takes, in order; None: it does not say."""

    def score(self, stamps: NDArray[np.float32], conditions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Logits (batch,) of stamps (batch, band, y, x) and, where it needs them, conditions (batch, column)."""
        ...


def check_bands(scorer: Scorer, imaging: Imaging) -> None:
    """Refuse stamps of other bands than those that a scorer takes."""
    if scorer.bands not in (None, imaging.bands):
        takes = ", ".join(scorer.bands or ())
        raise invalid(f"bands of {scorer.name}", f"those of {imaging.name} ({', '.join(imaging.bands)})", takes)


def known(scorer: Scorer, conditions: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows of conditions (row, column) that a scorer can use: finite, and positive unless it takes any sign."""
    finite = np.isfinite(conditions)
    return np.asarray((finite if getattr(scorer, "any_sign", False) else finite & (conditions > 0)).all(axis=1))
