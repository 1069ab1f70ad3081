"""How many injections a wanted interval needs, from the interval that the tables hold (`intervals.clustered`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.statistics.intervals import TABLE_LEVEL, ClusterSums, clustered
from lake.errors import invalid

_MOST_HOSTS = 10**8


@dataclass(frozen=True)
class Sample:
    """Injections of a cell, and the interval that is expected from them."""

    injections: int
    hosts: int
    low: float
    high: float
    """95 % interval of the expected completeness"""


def expected(share: float, correlation: float, uses: int, hosts: int) -> Sample:
    """The interval of ``hosts`` with ``uses`` injections each, at the expected counts.

    ``correlation`` is that of two injections into one host (:func:`host_correlation`).
    """
    n = uses * hosts
    square = uses * share * (1.0 - share) * (1.0 + (uses - 1) * correlation) + (uses * share) ** 2
    sums = ClusterSums(*(np.array([float(hosts * one)]) for one in (1.0, square, uses * uses * share, uses * uses)))
    low, high = clustered([n * share], [n], sums, TABLE_LEVEL)
    return Sample(n, hosts, float(low[0]), float(high[0]))


def needed(width: float, share: float, correlation: float, uses: int) -> Sample:
    """The fewest hosts, each with ``uses`` injections, whose expected interval is at most ``width`` wide."""
    for name, value in (("width", width), ("completeness", share)):
        if not 0.0 < value < 1.0:
            raise invalid(name, "between 0 and 1 (100 %)", value)
    if not 0.0 <= correlation < 1.0:
        raise invalid("correlation", "at least 0 and below 1", correlation)
    few, many = 1, 2
    while (wide := expected(share, correlation, uses, many)).high - wide.low > width:
        few, many = many, 2 * many
        if many > _MOST_HOSTS:
            raise invalid("width", f"one that {_MOST_HOSTS:,} hosts reach", width)
    while many - few > 1:
        middle = (few + many) // 2
        found = expected(share, correlation, uses, middle)
        few, many = (middle, many) if found.high - found.low > width else (few, middle)
    return expected(share, correlation, uses, many)


def host_correlation(found: ArrayLike, hosts: ArrayLike, cells: ArrayLike) -> float:
    """Correlation of outcomes of injections into one host, within cells; NaN where no host serves twice in a cell.

    Mean product of the residuals of pairs over the variance, both pooled over cells. The mean that is taken from each
    cell makes residuals of independent outcomes correlated by -1 / (n - 1), which is added.
    """
    y = np.asarray(found, np.float64)
    cell = np.unique(np.asarray(cells), return_inverse=True)[1]
    n = np.bincount(cell).astype(np.float64)
    p = np.bincount(cell, y) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        spread, residual = p * (1.0 - p), y - p[cell]
        corrected = np.where(n > 1.0, spread / (n - 1.0), 0.0)
    host = np.unique(np.asarray(hosts), return_inverse=True)[1]
    hosts_of_all = int(host.max(initial=0)) + 1
    keys, each = np.unique(cell * hosts_of_all + host, return_inverse=True)
    of, uses = keys // hosts_of_all, np.bincount(each).astype(np.float64)
    pairs = uses * (uses - 1.0)
    variance = (pairs * corrected[of] * n[of]).sum()
    if not variance > 0.0:
        return float("nan")
    products = np.bincount(each, residual) ** 2 - np.bincount(each, residual**2) + pairs * corrected[of]
    return float(products.sum() / variance)
