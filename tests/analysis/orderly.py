"""The most settings that one orderly interval can hold within 93 to 97 %, at all rates and correlations of a design.

A design is a number of hosts and of uses of each. An interval is orderly if it holds the estimate, neither end falls if
more injections are found with the same spread over hosts, and it is no narrower if as many are found with more spread.
Spread is the design effect seen (:func:`spread`): how far finds crowd into few hosts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from tests.analysis.severaluses import BAR, CORRELATIONS, cells

_LEAST = 1e-6
"""Outcomes less probable at every rate are left out, and count against the interval: as missed where coverage must not
be low, as held where it must not be high."""


class Outcomes(NamedTuple):
    """Outcomes of a design, told apart by the number found and the sum of its squares over hosts."""

    estimate: np.ndarray
    spread: np.ndarray
    chance: np.ndarray
    """(rate, correlation, outcome)"""


class Held(NamedTuple):
    """The best interval found, by the rates that it misses, and how many settings are within the bar at most."""

    most: int
    missed: np.ndarray
    """(rate, outcome)"""
    outcomes: Outcomes


def spread(hosts: int, uses: int, found: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Variance of the number found in a host over the binomial one; below all others where all outcomes agree."""
    agree = (found == 0) | (found == hosts * uses)
    binomial = np.where(agree, 1.0, found * (1.0 - found / (hosts * uses)))
    return np.where(agree, -1.0, np.round((squares - found**2 / hosts) / binomial, 9))


def outcomes_of(hosts: int, uses: int, rates: tuple[float, ...]) -> Outcomes:
    """Those that have some probability at one of the rates."""
    each = [cells(hosts, uses, rate, 1e-8) for rate in rates]
    step = hosts * uses**2 + 1
    names = np.unique(np.concatenate([one.found * step + one.squares for one in each]))
    chance = np.zeros((len(rates), len(CORRELATIONS), len(names)))
    for row, one in zip(chance, each, strict=True):
        row[:, np.searchsorted(names, one.found * step + one.squares)] = one.chance
    likely = chance.max(axis=(0, 1)) > _LEAST
    found, squares = names[likely] // step, names[likely] % step
    return Outcomes(found / (hosts * uses), spread(hosts, uses, found, squares), chance[:, :, likely])


def ordered(estimate: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Pairs (2, pairs) of outcomes of which the second has no smaller estimate and no less spread, without those that
    follow from others. No two outcomes are alike in both."""
    pairs = []
    for first in range(len(estimate)):
        then = np.nonzero((estimate >= estimate[first]) & (spread >= spread[first]))[0]
        then = then[then != first]
        then = then[np.lexsort((spread[then], estimate[then]))]
        lowest = np.minimum.accumulate(np.r_[np.inf, spread[then]])[:-1]
        pairs += [(first, other) for other in then[spread[then] < lowest]]
    return np.array(pairs).T


def most_orderly(hosts: int, uses: int, rates: tuple[float, ...], seconds: float = 60.0) -> Held:
    """By integer programming over the rates that each outcome misses; coverage is nowhere below the bar."""
    found = outcomes_of(hosts, uses, rates)
    shape, settings = (len(rates), len(found.estimate)), len(rates) * len(CORRELATIONS)
    above = found.estimate < np.array(rates)[:, None] - 1e-12  # the rate may be above the upper end
    below = found.estimate > np.array(rates)[:, None] + 1e-12
    name = np.arange(shape[0] * shape[1]).reshape(shape)
    first, then = _implied(found, above, below, name)
    count = name.size
    order = _sparse([first, then], [1.0, -1.0], count + settings)
    chance = np.zeros((settings, count + settings))
    for row, each in enumerate(found.chance.reshape(settings, -1)):
        chance[row, name[row // len(CORRELATIONS)]] = each
    left_out = 1.0 - chance.sum(axis=1)
    at_least = chance.copy()
    at_least[np.arange(settings), count + np.arange(settings)] = 1.0 - BAR[1]
    solved = milp(
        np.r_[np.zeros(count), np.ones(settings)],
        constraints=[
            LinearConstraint(order, ub=0.0),
            LinearConstraint(csr_array(at_least), lb=1.0 - BAR[1]),
            LinearConstraint(csr_array(chance), ub=1.0 - BAR[0] - left_out),
        ],
        bounds=Bounds(0.0, np.r_[(above | below).ravel().astype(float), np.ones(settings)]),
        integrality=np.ones(count + settings),
        options={"time_limit": seconds},
    )
    missed = np.zeros(shape) if solved.x is None else np.round(solved.x[:count]).reshape(shape)
    return Held(settings - int(np.ceil((solved.mip_dual_bound or 0.0) - 1e-4)), missed > 0.5, found)


def _implied(found: Outcomes, above: np.ndarray, below: np.ndarray, name: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of which the first can be missed only if the second is: a farther rate, or an outcome farther from it."""
    rising = ordered(found.estimate, found.spread)
    less, more = ordered(found.estimate, np.where(found.spread < 0.0, np.inf, -found.spread))
    pairs = [(name[:-1][both], name[1:][both]) for both in [above[:-1] & above[1:]]]
    pairs += [(name[1:][both], name[:-1][both]) for both in [below[:-1] & below[1:]]]
    for row, up, down in zip(name, above, below, strict=True):
        lower, higher = rising[:, up[rising].all(axis=0)]
        pairs.append((row[higher], row[lower]))
        pairs.append((row[less[both]], row[more[both]]) if (both := down[less] & down[more]).any() else (row[:0],) * 2)
    return tuple(np.concatenate(each) for each in zip(*pairs, strict=True))


def _sparse(places: list[np.ndarray], values: list[float], width: int) -> csr_array:
    """One row for each pair of places."""
    rows = np.tile(np.arange(len(places[0])), len(places))
    data = np.repeat(values, len(places[0]))
    return csr_array((data, (rows, np.concatenate(places))), shape=(len(places[0]), width))
