"""Coverage of the host-clustered interval in simulations: the table of docs/coverage.md."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from analysis.statistics.intervals import TABLE_LEVEL, ClusterSums, clustered, effective_counts

Bounds = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

RATES, CORRELATIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5), (0.0, 0.3, 0.5, 0.6)
HOSTS, USES = (20, 50, 100, 200, 500), (1, 2, 3, 5)
ONCE = (20, 28, 35, 50, 70, 100, 150, 200, 300, 500)
"""Numbers of hosts used once each, of the comparison with other intervals."""
FIELDS, FIELD_CORRELATIONS = (10, 20, 40), (0.0, 0.05, 0.1, 0.2)
BINS = ((0.0, 2.0), (2.0, 6.0), (6.0, 15.0), (15.0, 1000.0))
"""Of the expected number of hosts that are found, rate x hosts, as rows of the table have them."""


def outcomes(uses: int, rate: float, correlation: float) -> np.ndarray:
    """Probabilities of 0 to `uses` detections in one host, whose rate scatters as a beta distribution."""
    k = np.arange(uses + 1)
    if correlation == 0:
        return stats.binom.pmf(k, uses, rate)
    size = (1 - correlation) / correlation
    return stats.betabinom.pmf(k, uses, rate * size, (1 - rate) * size)


def _jeffreys(k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With the bounds of Clopper & Pearson where none or all are found."""
    low, high = (stats.beta.ppf(at, k + 0.5, n - k + 0.5) for at in (0.025, 0.975))
    exact, inside = _exact(k, n), (k > 0) & (k < n)
    return np.where(inside, low, exact[0]), np.where(inside, high, exact[1])


def hull(k: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """From the lower of the lower to the higher of the upper bounds under Jeffreys' and Laplace's priors, 0 < k < n."""
    k, n = np.asarray(k, float), np.asarray(n, float)
    low, high = ([stats.beta.ppf(at, k + prior, n - k + prior) for prior in (0.5, 1.0)] for at in (0.025, 0.975))
    return np.minimum(*low), np.maximum(*high)


def independent(k: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Limits of k of n independent hosts, 0 < k < n, from their definition, one by one."""
    k, n = np.broadcast_arrays(np.asarray(k, float), np.asarray(n, float))
    low = [_lower_limit(*each) for each in zip(k.ravel(), n.ravel(), strict=True)]
    high = [1 - _lower_limit(of - each, of) for each, of in zip(k.ravel(), n.ravel(), strict=True)]
    return np.reshape(low, k.shape)[()], np.reshape(high, k.shape)[()]


def _lower_limit(k: float, n: float) -> float:
    """As few found have it, where misses of 7 % or the upper limits of none, one and two found allow; blended with that
    of the hull beyond half of the trials."""
    many, none = float(hull(k, n)[0]), 1 - 0.025 ** (1 / n)
    upper = [none, *(float(hull(j, n)[1]) if j < n else np.nan for j in (1, 2))]
    few = many
    for j in (2, 1, 0):
        start = upper[j - 1] if j else 0.0

        def excess(p: float, j: int = j) -> float:
            """P(X >= k) + P(X < j) - 7 %, of the binomial distribution with p."""
            return stats.beta.cdf(p, k, n - k + 1) + (stats.beta.sf(p, j, n - j + 1) if j else 0.0) - 0.07

        if j < n and start < k / n:
            reach = start if excess(start) > 0 else k / n
            if excess(start) <= 0 < excess(k / n):
                reach = optimize.brentq(excess, start, k / n, xtol=1e-13)
            few = min(reach, max(upper[j], few))
    part = 1 - max(2 * k / n - 1, 0) ** 2
    return part * few + (1 - part) * many


def _exact(k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tiny = 1e-300
    low, high = stats.beta.ppf(0.025, np.maximum(k, tiny), n - k + 1), stats.beta.ppf(0.975, k + 1, n - k + tiny)
    return np.where(k > 0, low, 0.0), np.where(k < n, high, 1.0)


def _wilson(k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z, p = stats.norm.isf(0.025), k / n
    middle, half = (p + z * z / 2 / n), z * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def _mid_p(k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By bisection; sums of the binomial distribution for fractional counts are incomplete beta functions."""

    def above(p: np.ndarray) -> np.ndarray:
        """P(X > k) + P(X = k) / 2, which rises with p."""
        beyond = np.where(k < n, stats.beta.cdf(p, k + 1, np.maximum(n - k, 1e-12)), 0.0)
        return (beyond + np.where(k > 0, stats.beta.cdf(p, np.maximum(k, 1e-12), n - k + 1), 1.0)) / 2

    found = []
    for at in (0.025, 0.975):
        low, high = np.zeros(k.shape), np.ones(k.shape)
        for _ in range(40):
            middle = (low + high) / 2
            below = above(middle) < at
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        found.append(low)
    return np.where(k > 0, found[0], 0.0), np.where(k < n, found[1], 1.0)


ALTERNATIVES: dict[str, Bounds] = {
    "Korn & Graubard": _exact,
    "mid-P": _mid_p,
    "Wilson": _wilson,
    "Jeffreys": _jeffreys,
}
"""Other intervals, on our effective counts: Clopper-Pearson's as Korn & Graubard (1998) have it, mid-P (Lancaster
1961), Wilson's (1927), and that of Jeffreys without Laplace's."""


def bounds(k: np.ndarray, n: np.ndarray, sums: ClusterSums, method: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Ours (None), or an alternative on the same effective counts, of which each limit has its own."""
    if method is None:
        return clustered(k, n, sums, TABLE_LEVEL)
    low, high = ALTERNATIVES[method](*effective_counts(k, n, sums, TABLE_LEVEL))
    return low[0], high[1]


def coverage(
    rng, rate: float, correlation: float, hosts: int, uses: int, samples: int, method: str | None = None
) -> float:
    """Share of samples whose host-clustered interval holds the rate; samples that are alike are computed once."""
    k = np.arange(uses + 1)
    drawn = rng.multinomial(hosts, outcomes(uses, rate, correlation), samples)
    found, count = np.unique(np.stack([drawn @ k, drawn @ k**2]), axis=1, return_counts=True)
    size = np.full(found.shape[1], float(hosts))
    sums = ClusterSums(size, found[1], uses * found[0], size * uses**2)
    low, high = bounds(found[0], size * uses, sums, method)
    return float(count[(low <= rate) & (rate <= high)].sum() / samples)


def once(rate: float, hosts: int, method: str | None = None) -> float:
    """Exact coverage where each host is used once, by summing over the binomial distribution."""
    return float(once_each(np.array([rate]), hosts, method)[0])


def once_each(rates: np.ndarray, hosts: int, method: str | None = None) -> np.ndarray:
    """The same at several rates."""
    k, n = np.arange(hosts + 1.0), np.full(hosts + 1, float(hosts))
    low, high = bounds(k, n, ClusterSums(n, k, k, n), method)
    held = (low[:, None] <= rates) & (rates <= high[:, None])
    return np.where(held, stats.binom.pmf(k[:, None], hosts, rates), 0.0).sum(axis=0)


def fields(samples: int, seed: int) -> list[tuple[int, float, float, float]]:
    """Coverage with unequal fields as clusters, of 20 to 160 injections each: fields, lowest, median and highest of the
    rates 1 to 50 % and correlations 0 to 0.2."""
    rng, rows = np.random.default_rng(seed), []
    for count in FIELDS:
        held = [_of_fields(rng, p, icc, count, samples) for p in RATES for icc in FIELD_CORRELATIONS]
        rows.append((count, min(held), float(np.median(held)), max(held)))
    return rows


def _of_fields(rng, rate: float, correlation: float, count: int, samples: int) -> float:
    size = rng.integers(20, 161, (samples, count))
    spread = (1 - correlation) / correlation if correlation else np.inf
    chance = rng.beta(rate * spread, (1 - rate) * spread, size.shape) if correlation else np.full(size.shape, rate)
    found = rng.binomial(size, chance)
    sums = ClusterSums(
        np.full(samples, float(count)), *((x * y).sum(axis=1) for x, y in ((found, found), (found, size), (size, size)))
    )
    low, high = clustered(found.sum(axis=1), size.sum(axis=1), sums, TABLE_LEVEL)
    return float(((low <= rate) & (rate <= high)).mean())


def within_reach(rate: float, hosts: int, bar: tuple[float, float] = (0.93, 0.97)) -> bool:
    """Whether any interval could cover within the bar: whether some run of counts has such a probability."""
    below = np.r_[0.0, stats.binom.cdf(np.arange(hosts + 1), hosts, rate)]
    runs = below[None, :] - below[:, None]
    return bool(((runs >= bar[0]) & (runs <= bar[1])).any())


def attainable(rates: np.ndarray, hosts: int, bar: tuple[float, float] = (0.93, 0.97)) -> float:
    """Largest share of rates, of those within reach, at which an interval with limits that rise with the number found,
    and that never covers less than the bar, is within it: by dynamic programming over rising runs of counts."""
    k = np.arange(hosts + 1)
    fewest = np.zeros((hosts + 1, hosts + 1))  # rates missed, by the first and the last count whose interval holds p
    reached = 0
    for p in np.sort(rates):
        below = np.r_[0.0, stats.binom.cdf(k, hosts, p)]
        runs = below[None, 1:] - below[:-1, None]
        inside = (runs >= bar[0]) & (runs <= bar[1])
        reached += inside.any()
        with_estimate = (k[:, None] <= np.ceil(hosts * p - 1e-9)) & (k[None, :] >= np.floor(hosts * p + 1e-9))
        cost = np.where(inside | ~inside.any(), 0.0, 1.0) + np.where((runs >= bar[0]) & with_estimate, 0.0, np.inf)
        fewest = np.minimum.accumulate(np.minimum.accumulate(fewest, axis=0), axis=1) + cost
    return 1.0 - float(fewest.min()) / reached


INVERTED = ("Sterne", "Blaker", "Sterne, mid-P")
"""Intervals of the rates that an exact test does not reject (Sterne 1954, Blaker 2000), which need whole counts."""


def inverted(rates: np.ndarray, hosts: int, method: str) -> np.ndarray:
    """Coverage at `rates` of the interval that spans the rates which the test accepts; each host is used once."""
    grid = np.unique(np.r_[rates, 1 - rates, np.geomspace(1e-4, 0.5, 400), 1 - np.geomspace(1e-4, 0.5, 400)])
    chance = stats.binom.pmf(np.arange(hosts + 1), hosts, grid[:, None])
    accepted = np.array([_p_values(each, method) for each in chance]) > 0.05
    first, last = accepted.argmax(axis=0), len(grid) - 1 - accepted[::-1].argmax(axis=0)
    at = np.searchsorted(grid, rates)[:, None]
    return np.where((first <= at) & (at <= last), chance[at[:, 0]], 0.0).sum(axis=1)


def _p_values(chance: np.ndarray, method: str) -> np.ndarray:
    """Of each count, given the probabilities of all: of what is no more likely, or of no larger a tail (Blaker)."""
    own = chance * (1 - 1e-9)
    if method == "Blaker":
        own = np.minimum(np.cumsum(chance), np.cumsum(chance[::-1])[::-1]) * (1 + 1e-12)
    order = np.argsort(own, kind="stable")
    total = np.cumsum(chance[order])[np.searchsorted(own[order], own * (1 + 2e-9), side="right") - 1]
    return total - (chance / 2 if method == "Sterne, mid-P" else 0.0)


def compared(samples: int, seed: int) -> list[tuple[str, str, float, float, float, float]]:
    """Rows of the comparison: expected hosts found, method; lowest coverage and share of settings within 93-97 %, of
    those that any interval can reach with one use per host, and of all settings with several."""
    rates = np.geomspace(0.01, 0.5, 200)
    reach = {m: np.array([within_reach(p, m) for p in rates]) for m in ONCE}
    rows = []
    for method in (None, *ALTERNATIVES):
        alone = {m: once_each(rates, m, method) for m in ONCE}
        for low, high in BINS:
            rng = np.random.default_rng(seed)  # the same samples for each
            mine = {m: (low <= rates * m) & (rates * m < high) for m in ONCE}
            held = np.concatenate([alone[m][mine[m]] for m in ONCE])
            can = np.concatenate([reach[m][mine[m]] for m in ONCE])
            many = np.array([
                coverage(rng, p, icc, m, u, samples, method)
                for p in RATES for m in HOSTS if low <= p * m < high for icc in CORRELATIONS for u in USES if u > 1
            ])  # fmt: skip
            inside = [np.mean((each >= 0.93) & (each <= 0.97)) for each in (held[can], many)]
            rows.append((f"{low:g}-{high:g}", method or "ours", held.min(), inside[0], many.min(), inside[1]))
    for method in INVERTED:
        alone = {m: inverted(rates, m, method) for m in ONCE}
        for low, high in BINS:
            mine = {m: (low <= rates * m) & (rates * m < high) for m in ONCE}
            held = np.concatenate([alone[m][mine[m]] for m in ONCE])
            can = np.concatenate([reach[m][mine[m]] for m in ONCE])
            inside = np.mean((held[can] >= 0.93) & (held[can] <= 0.97))
            rows.append((f"{low:g}-{high:g}", method, held.min(), inside, np.nan, np.nan))
    return rows


def table(samples: int, seed: int) -> list[tuple[str, float, float, float, float]]:
    """Rows of the table: expected hosts found, correlation; lowest, median and highest coverage of its settings."""
    rng, rows = np.random.default_rng(seed), []
    for low, high in BINS:
        settings = [(p, m) for p in RATES for m in HOSTS if low <= p * m < high]
        for correlation in CORRELATIONS:
            many = [coverage(rng, p, correlation, m, u, samples) for p, m in settings for u in USES if u > 1]
            rows.append((f"{low:g}-{high:g}", correlation, min(many), float(np.median(many)), max(many)))
        alone = [once(p, m) for p, m in settings]
        rows.append((f"{low:g}-{high:g}", np.nan, min(alone), float(np.median(alone)), max(alone)))
    return rows
