"""Differences of recall between samples that share lenses or hosts, or between two finders on the same objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.intervals import TABLE_LEVEL, exact

Floats = NDArray[np.float64]
_REPLICATES = 2000
_SEED = 0


@dataclass(frozen=True)
class Sample:
    """Outcomes with weights, and the units that are resampled together."""

    hits: Floats
    """(item) 1 if found, else 0"""
    weights: Floats
    units: Mapping[str, NDArray[np.int64]]
    """Place of each item among the units of a kind, such as lenses and hosts"""


@dataclass(frozen=True)
class Resampled:
    """Weighted recall, and that of each bootstrap replicate."""

    value: float
    replicates: Floats

    def minus(self, other: Resampled) -> tuple[float, float, float]:
        """Difference and its 95 % percentile interval; both come from the same resamples."""
        tail = 100.0 * (1.0 - TABLE_LEVEL) / 2.0
        low, high = np.nanpercentile(self.replicates - other.replicates, [tail, 100.0 - tail])
        return self.value - other.value, float(low), float(high)


class PairedBootstrap:
    """Resamples units of several kinds, each kind independently of the others; an item has the product of its units'
    counts as its weight (Owen 2007, "The pigeonhole bootstrap": never too narrow for crossed factors)."""

    def __init__(self, sizes: Mapping[str, int], replicates: int, rng: np.random.Generator) -> None:
        self.counts = {
            kind: rng.multinomial(size, np.full(size, 1.0 / size), replicates).astype(np.float64)
            for kind, size in sizes.items()
        }

    def recall(self, sample: Sample) -> Resampled:
        """Weighted share of hits, and its replicates; NaN without any weight."""
        weight = np.asarray(sample.weights, dtype=np.float64)
        drawn = np.broadcast_to(weight, (len(next(iter(self.counts.values()))), len(weight)))
        for kind, place in sample.units.items():
            drawn = drawn * self.counts[kind][:, place]
        with np.errstate(invalid="ignore", divide="ignore"):
            value = float(weight @ sample.hits / weight.sum()) if weight.sum() > 0 else float("nan")
            return Resampled(value, drawn @ sample.hits / drawn.sum(axis=1))


Cuts = tuple[float, float]
"""Values of one threshold for two finders."""


@dataclass(frozen=True)
class PairedShares:
    """Shares of the same objects above the thresholds of two finders."""

    n: int
    units: int
    only_a: int
    only_b: int
    difference: float
    """Share of b minus that of a."""
    low: float
    high: float
    """95 % interval, whole units as the samples; NaN with too few of them."""
    standard_error: float
    mcnemar_p: float
    """Exact McNemar test, two-sided, without a continuity correction: 1 where as many changed in either direction, or
    none did. It takes objects as independent and thresholds as exact, which makes it optimistic."""

    @property
    def indistinguishable(self) -> bool:
        """Whether the difference is below two standard errors, its interval contains 0, or neither is known."""
        return not (abs(self.difference) >= 2.0 * self.standard_error and (self.low > 0.0 or self.high < 0.0))


FEWEST_UNITS = 10
"""Fewest units whose scatter gives an interval."""


def paired_shares(
    a: ArrayLike, b: ArrayLike, cuts: Cuts, units: ArrayLike, redrawn: Callable[[np.random.Generator], Cuts] | None
) -> PairedShares:
    """Compare the shares of ``a`` and ``b`` (object), probabilities of two finders, above ``cuts``.

    Whole ``units`` (object), such as HEALPix pixels, are resampled; with derived thresholds each replicate has those
    that ``redrawn`` takes from resampled negatives. The interval is Student's t with the standard error of the
    replicates, and as wide as no change in so many objects allows.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    place = np.unique(np.asarray(units), return_inverse=True)[1]
    each = np.bincount(place)
    change = (second > cuts[1]).astype(np.float64) - (first > cuts[0])
    only_b, only_a = int((change > 0).sum()), int((change < 0).sum())
    n, count, difference = len(change), len(each), float(change.mean())
    p = float(scipy.stats.binomtest(only_b, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0
    if count < FEWEST_UNITS:
        unknown = float("nan")
        return PairedShares(n, count, only_a, only_b, difference, unknown, unknown, unknown, p)
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(count, np.full(count, 1.0 / count), _REPLICATES)
    net = np.bincount(place, change)[None]
    if redrawn is not None:
        others = (redrawn(rng) for _ in range(_REPLICATES))
        net = np.stack(
            [np.bincount(place, (second > cut_b).astype(float) - (first > cut_a)) for cut_a, cut_b in others]
        )
    replicates = (drawn * net).sum(axis=1) / (drawn @ each)
    error = float(np.std(replicates, ddof=1) * np.sqrt(count / (count - 1)))
    half = float(-scipy.special.stdtrit(count - 1, (1.0 - TABLE_LEVEL) / 2.0)) * error
    low, high = not_narrower((difference, difference - half, difference + half), n)[1:]
    return PairedShares(n, count, only_a, only_b, difference, max(low, -1.0), min(high, 1.0), error, p)


def not_narrower(bias: tuple[float, float, float], lenses: int) -> tuple[float, float, float]:
    """A difference whose interval is at least as wide as what no change in so many lenses allows.

    Where no decision changes all resamples agree, which says nothing about changes rarer than one in the number of
    lenses: the Clopper-Pearson bound of none is the least half-width.
    """
    value, low, high = bias
    least = exact(0, lenses)[1]
    return value, min(low, value - least), max(high, value + least)
