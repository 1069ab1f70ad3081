"""Coverage of the interval of weighted injections in simulations: the table of docs/coverage.md."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import stats

from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.weighted import effective_number, weighted_share

SCATTERS = (0.5, 1.0, 1.5)
BINS = ((2.0, 6.0, "2-6"), (6.0, 15.0, "6-15"), (15.0, np.inf, "more"))
"""Of the effective number of hosts that hold the rarer outcome, as rows of the table have them."""
LEAST = 5
"""Settings that a row needs."""


class Setting(NamedTuple):
    """Hosts used some times each, and how their outcomes and weights are drawn."""

    hosts: int
    uses: int
    completeness: float
    within: float
    """Correlation of the variate behind the outcome within a host"""
    scatter: float
    """Of log weights, half of whose variance is the host's"""
    along: float
    """Correlation of log weight and variate"""


SETTINGS = [
    Setting(*each)
    for each in product(
        (50, 100, 200, 500), (1, 2, 5), (0.02, 0.05, 0.1, 0.3, 0.5, 0.8, 0.95),
        (0.0, 0.4, 0.8), SCATTERS, (-0.7, -0.35, 0.0, 0.35, 0.7),
    )
]  # fmt: skip


def _normal(rng: np.random.Generator, setting: Setting, shared: float) -> np.ndarray:
    """Standard normal numbers (host, use), of whose variance a part is shared within hosts."""
    own = rng.normal(size=(setting.hosts, setting.uses))
    return np.sqrt(shared) * rng.normal(size=(setting.hosts, 1)) + np.sqrt(1.0 - shared) * own


def sample(rng: np.random.Generator, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes and weights (host, use); the weighted mean of the outcome is the completeness of the setting."""
    own = _normal(rng, setting, setting.within)
    log_weight = setting.scatter * (setting.along * own + np.sqrt(1.0 - setting.along**2) * _normal(rng, setting, 0.5))
    # Under the weights the variate is shifted by the covariance of it and the log weight.
    cut = stats.norm.isf(setting.completeness) + setting.scatter * setting.along
    return own > cut, np.exp(log_weight)


def coverage(rng: np.random.Generator, setting: Setting, samples: int) -> tuple[float, float]:
    """Share of samples whose interval holds the truth; median effective number of hosts with the rarer outcome."""
    names, held, rarer = np.repeat(np.arange(setting.hosts), setting.uses), 0, []
    for _ in range(samples):
        found, weights = sample(rng, setting)
        made = weighted_share(names, found.ravel().astype(float), weights.ravel(), 0.5, None, TABLE_LEVEL)
        held += made.low <= setting.completeness <= made.high
        rarer.append(min(effective_number((weights * each).sum(axis=1)) for each in (found, ~found)))
    return held / samples, float(np.median(rarer))


def table(parts: list[list[Setting]], samples: int) -> list[tuple[str, float, int, float, float, float]]:
    """Rows: hosts with the rarer outcome, scatter; settings, the coverage that a tenth is below, median, highest.

    Each part of the settings has a seed of its own, so that parts can be run side by side.
    """
    found = defaultdict(list)
    for seed, settings in enumerate(parts):
        rng = np.random.default_rng(seed)
        for setting in settings:
            share, rarer = coverage(rng, setting, samples)
            for low, high, name in BINS:
                if low <= rarer < high:
                    found[name, setting.scatter].append(share)
    rows = [(name, scatter, found[name, scatter]) for _, _, name in BINS for scatter in SCATTERS]
    return [
        (name, scatter, len(held), float(np.quantile(held, 0.1)), float(np.median(held)), max(held))
        for name, scatter, held in rows
        if len(held) >= LEAST
    ]
