"""How many injections a wanted interval needs, from the interval that the tables hold (`intervals.clustered`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
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
    rows = pd.DataFrame({"y": np.asarray(found, np.float64), "host": np.asarray(hosts), "cell": np.asarray(cells)})
    size = rows.groupby("cell")["y"].transform("size")
    p = rows.groupby("cell")["y"].transform("mean")
    rows = rows.assign(residual=rows["y"] - p, spread=p * (1.0 - p), size=size)[size > 1]
    each = rows.groupby(["cell", "host"]).agg(
        n=("y", "size"), total=("residual", "sum"), squares=("residual", lambda x: float((x * x).sum())),
        spread=("spread", "first"), size=("size", "first"),
    )  # fmt: skip
    pairs = each["n"] * (each["n"] - 1)
    variance = (pairs * each["spread"] * each["size"] / (each["size"] - 1)).sum()
    if not variance > 0.0:
        return float("nan")
    products = each["total"] ** 2 - each["squares"] + pairs * each["spread"] / (each["size"] - 1)
    return float(products.sum() / variance)
