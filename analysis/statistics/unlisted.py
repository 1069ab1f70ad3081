"""Figures at false-positive rates where some negatives are lenses that no list knows.

Of n negatives up to m may be lenses. A figure at a false-positive rate then lies between two values: that of the
negatives without their m lowest scores (no lens is selected), and that without their m highest (lenses outrank every
other negative). Both are bounds, whichever m or fewer of the negatives are the lenses: without one more of the lowest,
the threshold at a rate rises or stays; without one more of the highest, it falls or stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.intervals import exact

Floats = NDArray[np.float64]
_TAIL = 0.025


@dataclass(frozen=True)
class Rate:
    """A rate over a declared range of unlisted lenses, with the outer 95 % Clopper-Pearson bounds of its ends."""

    low: float
    high: float
    bound_low: float
    bound_high: float


def lenses_among(negatives: int, per_negative: tuple[float, float]) -> tuple[int, int]:
    """Fewest and most lenses among so many negatives, from the declared fewest and most per negative.

    The declared numbers are means: the ends are the 2.5 % quantile of a binomial count at the smaller and the 97.5 %
    quantile at the larger.
    """
    tails = (_TAIL, 1.0 - _TAIL)
    low, high = (int(scipy.stats.binom.ppf(q, negatives, share)) for q, share in zip(tails, per_negative, strict=True))
    return max(low, 0), max(high, 0)


def without(scores: ArrayLike, most: int) -> tuple[Floats, Floats]:
    """The scores, ascending, without the `most` lowest, and without the `most` highest; one is always left."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    taken = min(most, max(len(ordered) - 1, 0))
    return ordered[taken:], ordered[: len(ordered) - taken]


def rate_ends(above: int, of: int, most: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Counts above a fixed threshold where up to `most` are lenses: all of them above it, and all of them below; one
    object is always left."""
    limit = min(most, of - 1)
    taken, left = min(limit, above), min(limit, of - above)
    return (above - taken, of - taken), (above, of - left)


def rate_range(above: int, of: int, most: int) -> Rate:
    """Share above a fixed threshold of one object or more, where up to `most` are lenses."""
    low, high = rate_ends(above, of, most)
    return Rate(low[0] / low[1], high[0] / high[1], exact(*low)[0], exact(*high)[1])
