"""Limits of a proportion from effective counts, which may be fractional and, at an uncertain threshold, several.

Arrays of counts are (rows, values): the values of an uncertain threshold, which have the probabilities `weights`; one
value of weight 1 where the threshold is known.

Many found: the hull of the equal-tailed intervals under the priors of Jeffreys and of Laplace. Few found: no interval
is equal-tailed then. A rate below the upper limit of "none found" can be missed on one side only, and an equal-tailed
interval, which allows 2.5 % of misses there, covers 97.5 % or more. So the lower limit of k found is raised to the rate
at which all misses together have the probability `MOST_MISSED`: k found or more, or so few that their upper limit lies
below. The upper limit of many found is its mirror image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIORS = (0.5, 1.0)
"""Both parameters of the beta priors of Jeffreys and of Laplace, whose intervals those of many found span."""
MOST_MISSED = 1.4
"""Most probable misses of the limits of few found, over 1 - level: 7 % where the level is 95 %."""
_FEW = 3
"""Numbers found, from none, whose upper limits the lower limits of few found take into account."""
_HALVINGS = 30
_STEP = 0.5**_HALVINGS
_NEWTON = 6
"""At most so many steps, after which nearly every quantile is within `_STEP`."""
_LAST = 2.0**-20
"""After a smaller step the next one, about its square, would be far below `_STEP`."""


def limits(k: Floats, n: Floats, weights: Floats, level: float) -> tuple[Floats, Floats]:
    """Lower and upper limits (rows) of k of n at `level`; counts (2, rows, values) for the lower and the upper limit.

    A lower limit is 0 where a value of the threshold finds none, an upper one 1 where one finds all.
    """
    low = np.where((k[0] <= 0.0).any(axis=1), 0.0, _lower(k[0], n[0], weights, level))
    high = np.where((k[1] >= n[1]).any(axis=1), 1.0, 1.0 - _lower(n[1] - k[1], n[1], weights, level))
    return low, high


def _lower(k: Floats, n: Floats, weights: Floats, level: float) -> Floats:
    """Those of few found up to half of the trials, from there gradually those of many; none above that of all found."""
    tail = (1.0 - level) / 2.0
    many = reduce(np.minimum, (_quantile(*_posterior(k, n, each), weights, tail) for each in PRIORS))
    few = 1.0 - np.maximum(2.0 * ((k / n) @ weights) - 1.0, 0.0) ** 2
    rows = (few > 0.0) & (k > 0.0).all(axis=1)
    many[rows] += few[rows] * (_of_few(k[rows], n[rows], weights, level, many[rows]) - many[rows])
    rows = np.asarray((n - k < 1.0).any(axis=1))  # where fractional counts may come out above all found
    many[rows] = np.minimum(many[rows], _quantile(n[rows], np.ones_like(n[rows]), weights, tail))
    return np.asarray(many)


def _of_few(k: Floats, n: Floats, weights: Floats, level: float, many: Floats) -> Floats:
    """Lower limits of few found: each as far as `MOST_MISSED` allows, or to the next upper limit, or `many` beyond."""
    most = MOST_MISSED * (1.0 - level)
    upper = [_upper_of(float(j), n, weights, level) for j in range(_FEW)]
    found = _quantile(k, n - k + 1.0, weights, most)
    rows = (found > upper[0]) & (many < upper[-1])
    beyond = many.copy()
    for j in range(_FEW - 1, 0, -1):
        reach = _reach(float(j), k[rows], n[rows], weights, most, upper[j - 1][rows])
        beyond[rows] = np.minimum(reach, np.maximum(upper[j][rows], beyond[rows]))
    return np.minimum(found, np.maximum(upper[0], beyond))


def _upper_of(j: float, n: Floats, weights: Floats, level: float) -> Floats:
    """Upper limit (rows) if j had been found."""
    under = (_posterior(np.minimum(j, n), n, prior) for prior in PRIORS)
    return np.asarray(reduce(np.maximum, (_quantile(*each, weights, (1.0 + level) / 2.0) for each in under)))


def _reach(j: float, k: Floats, n: Floats, weights: Floats, most: float, start: Floats) -> Floats:
    """The rate (rows), from `start`, at which k found or more, or fewer than j, have the probability `most`."""
    share = (k / n) @ weights
    low = np.minimum(start, share)
    rows = (_missed(j, k, n, weights, low) <= most) & (low < share)
    low[rows] = _crossing(j, k[rows], n[rows], weights, most, low[rows], share[rows])
    return low


def _missed(j: float, k: Floats, n: Floats, weights: Floats, p: Floats) -> Floats:
    """Probability (rows), at the rates p, of k found or more, or fewer than j."""
    at_least = scipy.special.betainc(k, n - k + 1.0, p[:, None])
    return np.asarray((at_least + 1.0 - scipy.special.betainc(j, _left(j, n), p[:, None])) @ weights)


def _left(j: float, n: Floats) -> Floats:
    return np.maximum(n - j + 1.0, 1e-9)


def _crossing(j: float, k: Floats, n: Floats, weights: Floats, most: float, low: Floats, high: Floats) -> Floats:
    """Where misses come to the probability `most`: the start of an interval of `_STEP` of the way from low to high.

    By Newton's method from the quantile under the mean parameters, in a quarter of the time of bisection.
    """
    b, left = n - k + 1.0, _left(j, n)
    x = np.clip(scipy.special.betaincinv(k @ weights, b @ weights, most), low, high)
    scale_k, scale_j = scipy.special.betaln(k, b), scipy.special.betaln(j, left)
    for _ in range(_NEWTON):
        slope = (_density(k, b, scale_k, x) - _density(j, left, scale_j, x)) @ weights
        step = (_missed(j, k, n, weights, x) - most) / np.where(slope > 0.0, slope, np.inf)
        x = np.clip(x - step, low, high)
        if (np.abs(step) < _LAST * x).all():
            break
    width = (high - low) * _STEP
    at = low + np.floor((x - low) / width) * width
    wrong = (_missed(j, k, n, weights, at) > most) | (_missed(j, k, n, weights, at + width) <= most)
    if wrong.any():
        at[wrong] = _halved(lambda p: _missed(j, k[wrong], n[wrong], weights, p) <= most, low[wrong], high[wrong])
    return at


def _posterior(k: Floats, n: Floats, prior: float) -> tuple[Floats, Floats]:
    """Parameters of the beta distribution of a proportion under Beta(prior, prior): k + prior and n - k + prior.

    Beta(1, n) at k = 0 and Beta(n, 1) at k = n, whose quantiles there are the bounds of Clopper & Pearson (Brown, Cai &
    DasGupta 2001, section 4.1.2: with Jeffreys' own, coverage drops where two to three successes are expected).
    """
    return np.where(k <= 0.0, 1.0, np.where(k >= n, n, k + prior)), np.where(
        k >= n, 1.0, np.where(k <= 0, n, n - k + prior)
    )


def _quantile(a: Floats, b: Floats, weights: Floats, at: float) -> Floats:
    """Of the mixture (rows) of beta distributions; the middle of an interval of 2**-30 if there are several."""
    if len(weights) == 1:
        return np.asarray(scipy.special.betaincinv(a[:, 0], b[:, 0], at), dtype=np.float64)
    low = np.floor(_near_quantile(a, b, weights, at) / _STEP) * _STEP
    wrong = (_mixed(a, b, weights, low) >= at) | (_mixed(a, b, weights, low + _STEP) < at)
    if wrong.any():
        ends = np.zeros(int(wrong.sum())), np.ones(int(wrong.sum()))
        low[wrong] = _halved(lambda p: _mixed(a[wrong], b[wrong], weights, p) < at, *ends)
    return low + _STEP / 2.0


def _mixed(a: Floats, b: Floats, weights: Floats, x: Floats) -> Floats:
    return np.asarray(scipy.special.betainc(a, b, x[:, None]) @ weights)


def _near_quantile(a: Floats, b: Floats, weights: Floats, at: float) -> Floats:
    """By Newton's method from the quantile under the mean parameters, in a third of the time of bisection."""
    x, scale = scipy.special.betaincinv(a @ weights, b @ weights, at), scipy.special.betaln(a, b)
    for _ in range(_NEWTON):
        density = _density(a, b, scale, x) @ weights
        step = (_mixed(a, b, weights, x) - at) / np.maximum(density, _STEP)
        x = np.minimum(np.maximum(x - step, _STEP / 2.0), 1.0 - _STEP / 2.0)
        if (np.abs(step) < _LAST).all():
            break
    return np.asarray(x)


def _density(a: Floats | float, b: Floats, scale: Floats, x: Floats) -> Floats:
    """Of beta distributions (rows, values) at x (rows); `scale` is the logarithm of their beta functions."""
    return np.asarray(np.exp((a - 1.0) * np.log(x)[:, None] + (b - 1.0) * np.log1p(-x)[:, None] - scale))


def _halved(below: Callable[[Floats], NDArray[np.bool_]], low: Floats, high: Floats) -> Floats:
    """The starts of the intervals of `_STEP` of the way from low to high where `below` ends, by bisection."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        still = below(middle)
        low, high = np.where(still, middle, low), np.where(still, high, middle)
    return low
