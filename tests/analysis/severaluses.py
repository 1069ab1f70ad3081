"""Coverage of intervals of hosts used several times: exactly, and the most that any interval can reach."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array, hstack

from analysis.statistics.intervals import TABLE_LEVEL, ClusterSums, clustered
from tests.analysis.coverage import BINS, outcomes

RATES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
HOSTS, USES, CORRELATIONS = (20, 35, 50, 100, 200, 500), (2, 3, 4, 5), (0.0, 0.2, 0.3, 0.5, 0.6)
BAR = (0.93, 0.97)
_LEAST, _WHOLE = 1e-6, 1e-3
"""Cells less probable are left out of the programme; more probable ones are missed whole or not at all."""


class Cells(NamedTuple):
    """Outcomes of hosts used equally often, told apart by what the intervals depend on."""

    found: np.ndarray
    """Injections found"""
    squares: np.ndarray
    """Sum over hosts of the square of the number found"""
    chance: np.ndarray
    """Probabilities (correlation, cell) at a rate"""


def law(hosts: int, uses: int, rate: float, correlation: float, least: float) -> tuple[np.ndarray, ...]:
    """Injections found, sum of squares and probability of every outcome likelier than `least`.

    The generating function of one host, to the power of their number, is transformed back within a window of sixteen
    standard deviations.
    """
    one, j = outcomes(uses, rate, correlation), np.arange(uses + 1)
    sizes, starts = [], []
    for value in (j, j**2):
        mean, spread = hosts * (one @ value), np.sqrt(hosts * (one @ value**2 - (one @ value) ** 2))
        window = 16 * spread + 10 * value[-1] + 8
        sizes.append(int(2 ** np.ceil(np.log2(min(window, hosts * value[-1] + 1)))))
        starts.append(0 if sizes[-1] > hosts * value[-1] else max(0, int(mean - sizes[-1] / 2)))
    turn = [np.exp(-2j * np.pi * np.outer(np.arange(n), value) / n) for n, value in zip(sizes, (j, j**2), strict=True)]
    chance = np.fft.ifft2(((turn[0] * one) @ turn[1].T) ** hosts).real
    at = np.nonzero(chance > least)
    k, squares = (start + (i - start) % n for i, start, n in zip(at, starts, sizes, strict=True))
    return k, squares, chance[at]


def cells(hosts: int, uses: int, rate: float, least: float = 1e-9) -> Cells:
    """Outcomes at a rate with their probabilities at each correlation."""
    laws = [law(hosts, uses, rate, correlation, least) for correlation in CORRELATIONS]
    step = hosts * uses**2 + 1
    names = np.unique(np.concatenate([k * step + squares for k, squares, _ in laws]))
    chance = np.zeros((len(laws), len(names)))
    for row, (k, squares, each) in zip(chance, laws, strict=True):
        row[np.searchsorted(names, k * step + squares)] = each
    return Cells(names // step, names % step, chance)


def exact_coverage(hosts: int, uses: int, rate: float) -> np.ndarray:
    """Of the host-clustered interval, at each correlation."""
    k, squares, chance = cells(hosts, uses, rate)
    size = np.full(len(k), float(hosts))
    sums = ClusterSums(size, squares.astype(float), uses * k.astype(float), size * uses**2)
    low, high = clustered(k, size * uses, sums, TABLE_LEVEL)
    return 1.0 - chance[:, (low > rate) | (high < rate)].sum(axis=1)


def _fewest_hosts(uses: int, most: int, squares: int) -> np.ndarray:
    """By number found and sum of squares."""
    fewest = np.full((most + 1, squares + 1), 10**6)
    fewest[0, 0] = 0
    for k in range(1, most + 1):
        for j in range(1, min(uses, k) + 1):
            fewest[k, j * j :] = np.minimum(fewest[k, j * j :], fewest[k - j, : squares + 1 - j * j] + 1)
    return fewest


def one_more(hosts: int, uses: int, k: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Pairs (2, pairs) of cells of which the second is the first with one more injection found."""
    fewest = _fewest_hosts(uses, int(k.max()), int(squares.max()))
    at = np.full((k.max() + 2, squares.max() + 2 * uses), -1)
    at[k, squares] = np.arange(len(k))
    pairs = []
    for j in range(uses):  # in a host of which j are found; the others hold the rest
        held = (k >= j) & (squares >= j * j)
        others = np.where(held, fewest[np.where(held, k - j, 0), np.where(held, squares - j * j, 0)], hosts)
        more = at[k + 1, squares + 2 * j + 1]
        pairs.append(np.stack([np.nonzero(kept := (others < hosts) & (more >= 0))[0], more[kept]]))
    return np.concatenate(pairs, axis=1)


def most_inside(hosts: int, uses: int, rate: float, rising: bool = True, seconds: float = 5.0) -> int:
    """The most correlations at which one interval can cover within the bar, and nowhere less: an upper bound.

    An outcome misses the rate or holds it, at all correlations alike, because the correlation is not known. With
    `rising`, the interval holds the estimate, and neither limit falls if one more injection is found: above the rate
    an outcome misses it if one with an injection less does, and mirrored below. Integer programming over the outcomes,
    at this rate alone; if it is stopped, the bound is what has been proven.
    """
    k, squares, chance = cells(hosts, uses, rate, 1e-8)
    likely = chance.max(axis=0) > _LEAST
    k, squares, chance = k[likely], squares[likely], chance[:, likely]
    rows, count = chance.shape
    left_out = 1.0 - chance.sum(axis=1)
    beyond = csr_array(np.diag(np.full(rows, 1.0 - BAR[1])))  # a correlation that is above the bar misses less
    constraints = [
        LinearConstraint(hstack([csr_array(chance), beyond]), lb=1.0 - BAR[1] - left_out),
        LinearConstraint(hstack([csr_array(chance), 0.0 * beyond]), ub=1.0 - BAR[0]),
    ]
    missable = np.ones(count)
    if rising:
        above, below = k > hosts * uses * rate + 1e-9, k < hosts * uses * rate - 1e-9
        missable = (above | below).astype(float)
        pairs = one_more(hosts, uses, k, squares)
        first, then = (
            np.concatenate([pairs[i][above[pairs].all(axis=0)], pairs[1 - i][below[pairs].all(axis=0)]]) for i in (0, 1)
        )
        row, ones = np.arange(len(first)), np.ones(len(first))
        at = np.r_[row, row], np.r_[first, then]
        constraints.append(
            LinearConstraint(coo_array((np.r_[ones, -ones], at), (len(first), count + rows)).tocsr(), ub=0.0)
        )
    found = milp(
        np.r_[np.full(count, 1e-9), np.ones(rows)],
        constraints=constraints,
        bounds=Bounds(0.0, np.r_[missable, np.ones(rows)]),
        integrality=np.r_[chance.max(axis=0) > _WHOLE, np.ones(rows, bool)],
        options={"time_limit": seconds},
    )
    return rows - int(np.ceil((found.mip_dual_bound or 0.0) - 1e-4))


def table() -> list[tuple[str, int, int | None, int | None, int, float]]:
    """Rows: expected hosts found; settings, those that any set of outcomes and any rising interval can hold within the
    bar (None above six hosts, where the programmes are long), those where ours is, and its lowest coverage."""
    rows = []
    for low, high in BINS[:3]:
        chosen = [(m, u, p) for m in HOSTS for u in USES for p in RATES if low <= m * p < high]
        held = np.concatenate([exact_coverage(*each) for each in chosen])
        most = [sum(most_inside(*each, rising) for each in chosen) if high <= 6.0 else None for rising in (False, True)]
        inside = int(((held >= BAR[0]) & (held <= BAR[1])).sum())
        rows.append((f"{low:g}-{high:g}", len(held), *most, inside, float(held.min())))
    return rows
