"""Coverage of the host-clustered interval in simulations: the table of docs/statistics.md."""

from __future__ import annotations

import numpy as np
from scipy import stats

from analysis.statistics.intervals import TABLE_LEVEL, ClusterSums, clustered

RATES, CORRELATIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5), (0.0, 0.3, 0.5, 0.6)
HOSTS, USES = (20, 50, 100, 200, 500), (1, 2, 3, 5)
BINS = ((0.0, 2.0), (2.0, 6.0), (6.0, 15.0), (15.0, 1000.0))
"""Of the expected number of hosts that are found, rate x hosts, as rows of the table have them."""


def outcomes(uses: int, rate: float, correlation: float) -> np.ndarray:
    """Probabilities of 0 to `uses` detections in one host, whose rate scatters as a beta distribution."""
    k = np.arange(uses + 1)
    if correlation == 0:
        return stats.binom.pmf(k, uses, rate)
    size = (1 - correlation) / correlation
    return stats.betabinom.pmf(k, uses, rate * size, (1 - rate) * size)


def coverage(rng, rate: float, correlation: float, hosts: int, uses: int, samples: int) -> float:
    """Share of samples whose host-clustered interval holds the rate; samples that are alike are computed once."""
    k = np.arange(uses + 1)
    drawn = rng.multinomial(hosts, outcomes(uses, rate, correlation), samples)
    found, count = np.unique(np.stack([drawn @ k, drawn @ k**2]), axis=1, return_counts=True)
    size = np.full(found.shape[1], float(hosts))
    sums = ClusterSums(size, found[1], uses * found[0], size * uses**2)
    low, high = clustered(found[0], size * uses, sums, TABLE_LEVEL)
    return float(count[(low <= rate) & (rate <= high)].sum() / samples)


def once(rate: float, hosts: int) -> float:
    """Exact coverage where each host is used once, by summing over the binomial distribution."""
    k, n = np.arange(hosts + 1.0), np.full(hosts + 1, float(hosts))
    low, high = clustered(k, n, ClusterSums(n, k, k, n), TABLE_LEVEL)
    return float(stats.binom.pmf(k, hosts, rate)[(low <= rate) & (rate <= high)].sum())


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
