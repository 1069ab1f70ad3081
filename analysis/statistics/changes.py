"""Changes between paired outcomes: the same trials before and after one change, some of them into the same host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.intervals import TABLE_LEVEL, median
from lake.errors import invalid

Floats = NDArray[np.float64]
_FEWEST = 6
"""Values whose range holds their median in 95 %."""
_ADDED = 0.5
"""Added to each of four counts by Bonett & Price."""


@dataclass(frozen=True)
class Change:
    """Change of a share between paired outcomes, with its 95 % interval."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, exact: of McNemar's test where no two trials share a host."""
    gained: int
    lost: int
    trials: int
    hosts: int

    @property
    def points(self) -> tuple[float, float, float]:
        """Value and interval in points (per cent)."""
        return 100.0 * self.value, 100.0 * self.low, 100.0 * self.high


def change(before: ArrayLike, after: ArrayLike, hosts: ArrayLike) -> Change:
    """The change of a share from ``before`` to ``after`` (trial) of booleans; NaN without any trial.

    Interval: Bonett & Price (2012), eq. 5, for paired shares; where trials share hosts, on counts divided by the design
    effect of the difference (never below 1), or by trials per host where no outcome changes. p: :func:`flipped`.
    """
    old, new = (np.asarray(values, dtype=bool) for values in (before, after))
    if old.shape != new.shape:
        raise invalid("after", f"of the shape of before, {old.shape}", new.shape)
    if not len(old):
        return Change(np.nan, np.nan, np.nan, np.nan, 0, 0, 0, 0)
    step = new.astype(np.int64) - old
    _, place = np.unique(np.asarray(hosts), return_inverse=True)
    net, each = np.bincount(place, step), np.bincount(place)
    gained, lost, count = int((step > 0).sum()), int((step < 0).sum()), len(step)
    low, high = _bonett_price(np.array([gained, lost, count]) / _design_effect(net, each, gained + lost))
    value = (gained - lost) / count
    return Change(value, min(low, value), max(high, value), flipped(net), gained, lost, count, len(net))


def _design_effect(net: NDArray[Any], each: NDArray[Any], changed: int) -> float:
    """Variance of the difference with hosts as clusters over that with independent trials, at least 1."""
    count, hosts = float(each.sum()), len(each)
    if not changed or hosts < 2:
        return count / hosts
    mean = net.sum() / count
    clustered = hosts / (hosts - 1) * float(((net - mean * each) ** 2).sum())
    apart = count / (count - 1) * max(changed - mean**2 * count, 1e-300)
    return max(clustered / apart, 1.0)


def _bonett_price(counts: Floats) -> tuple[float, float]:
    """Interval of (gained - lost) / n from counts, which may be fractional."""
    gained, lost, count = counts
    up, down = (gained + 2 * _ADDED) / (count + 4 * _ADDED), (lost + 2 * _ADDED) / (count + 4 * _ADDED)
    half = scipy.special.ndtri(0.5 + TABLE_LEVEL / 2) * np.sqrt((up + down - (up - down) ** 2) / (count + 4 * _ADDED))
    return max(up - down - half, -1.0), min(up - down + half, 1.0)


def flipped(net: ArrayLike) -> float:
    """Two-sided p of net changes (host), if each host's change were as likely to have the other sign.

    Exact, over all signs. With at most one changed trial in each host it is McNemar's exact test; with more it stays
    valid, because the signs of one host go together.
    """
    sizes = np.abs(np.rint(np.asarray(net, dtype=np.float64)).astype(np.int64))
    sizes = sizes[sizes > 0]
    chances = np.ones(1)
    for size in sizes:
        step = np.zeros(2 * size + 1)
        step[0] = step[-1] = 0.5
        chances = np.convolve(chances, step)
    sums = np.arange(len(chances)) - sizes.sum()
    return float(min(chances[np.abs(sums) >= abs(float(np.sum(net))) - 0.5].sum(), 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for as many tests as there are (Holm 1979); NaN stays, and is not counted."""
    values = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    adjusted = values.copy()
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * (len(order) - np.arange(len(order)))), 1.0)
    return adjusted.tolist()


def shifted(differences: ArrayLike, hosts: ArrayLike) -> tuple[float, float, float, float, int]:
    """Median over hosts of their mean difference, its 95 % interval, Wilcoxon's signed-rank p, number of hosts.

    The interval is between order statistics (:func:`analysis.statistics.intervals.median`); NaN with fewer than six
    hosts, whose extremes do not hold the median often enough.
    """
    values = np.asarray(differences, dtype=np.float64)
    _, place = np.unique(np.asarray(hosts), return_inverse=True)
    if not len(values):
        return np.nan, np.nan, np.nan, np.nan, 0
    from scipy.stats import wilcoxon  # slow to import, and only needed here

    means = np.bincount(place, values) / np.bincount(place)
    value, low, high = median(means)
    p = float(wilcoxon(means).pvalue) if np.any(means != 0.0) else 1.0
    return (value, low, high, p, len(means)) if len(means) >= _FEWEST else (value, np.nan, np.nan, p, len(means))
