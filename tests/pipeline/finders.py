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


class Chances:
    """A sensible finder that answers probabilities and does not say so."""

    version = "1"

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(stamps[:, 1, 40:61, 40:61].sum(axis=(1, 2)), -30.0, 30.0))))


class AfraidOfHoles:
    """Was never shown what was not observed, and says that it takes it."""

    version, accepts_nan = "1", True

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return stamps.sum(axis=(1, 2, 3), dtype=np.float64)


class ByCompany:
    """Answers relative to the other stamps of its batch."""

    version = "1"

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        light = stamps.sum(axis=(1, 2, 3), dtype=np.float64)
        return np.asarray((light - light.mean()) / (light.std() + 1e-9))


class TooLarge:
    """Declares stamps larger than there are."""

    stamp_pixels, version = 128, "1"

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return stamps.sum(axis=(1, 2, 3), dtype=np.float64)
