"""Finders whose answers are known by construction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FLAG_NMGY = 0.5
"""g-band brightness of the corner pixel of hosts that :class:`Flagged` mistakes for lenses."""


class Flagged:
    """Answers by the corner pixel alone: blind to arcs, mistaken about a known share of hosts."""

    stamp_pixels, version = 101, "1"

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.where(stamps[:, 0, 0, 0] > FLAG_NMGY / 2, 2.0, -2.0)


class Brightness:
    """Answers by the r-band light of the middle: more with an arc than without."""

    stamp_pixels, version = 101, "1"

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return stamps[:, 1, 40:61, 40:61].sum(axis=(1, 2), dtype=np.float64) - HOST_FLUX_NMGY - 1.0


class Certain:
    """Sure that everything is a lens."""

    stamp_pixels, version = 101, "1"

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.full(len(stamps), 9.0)


HOST_FLUX_NMGY = 10.0
"""r-band flux of the synthetic hosts."""
