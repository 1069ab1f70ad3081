"""Time the statistics at the size of the full survey: `python -m benchmarks.analysis`."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from analysis.statistics.bootstrap import RankingReplicates, resample_ranking
from analysis.statistics.intervals import jeffreys
from analysis.statistics.roc import delong, delong_paired, partial_auc
from analysis.statistics.thresholds import threshold_at_fpr

POSITIVES, NEGATIVES = 1_432, 134_149
PIXELS = 14_000
"""HEALPix pixels (nside 128) of that many objects."""


def _intervals(draws: RankingReplicates) -> list[tuple[float, float]]:
    return [draws.accelerated(name, 0.95) for name in draws.names]


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Best wall-clock time of a few runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    rng = np.random.default_rng(0)
    labels = np.r_[np.ones(POSITIVES, int), np.zeros(NEGATIVES, int)]
    scores = rng.normal(size=len(labels)) + 2.5 * labels
    other = scores + 0.3 * rng.normal(size=len(labels))
    clusters = rng.integers(0, PIXELS, len(labels))
    sample = (labels, scores, (0.001, 0.01))
    n = rng.integers(1, 500, 385 * 20)
    k = rng.binomial(n, 0.04)
    rows = {
        "DeLong AUC, 136k": lambda: delong(labels, scores, 0.95),
        "paired DeLong, 2 x 136k": lambda: delong_paired(labels, scores, other, 0.95),
        "partial AUC, 136k": lambda: partial_auc(labels, scores, 0.01),
        "threshold at FPR 1e-4, 134k": lambda: threshold_at_fpr(scores[labels == 0], 1e-4),
        "bootstrap with BCa, 136k, 10,000 replicates": lambda: _intervals(resample_ranking(*sample, 10_000, rng)),
        "the same of HEALPix clusters": lambda: _intervals(resample_ranking(*sample, 10_000, rng, clusters)),
        "Jeffreys, 7,700 cells": lambda: jeffreys(k, n, 0.95),
    }
    for name, work in rows.items():
        print(f"{name:45s} {seconds(work, 1 if '10,000' in name or 'HEALPix' in name else 3) * 1e3:10.2f} ms")


if __name__ == "__main__":
    main()
