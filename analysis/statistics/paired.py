"""Differences of recall between samples that share lenses or hosts, by a bootstrap of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals import TABLE_LEVEL, exact

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Outcomes with weights, and the units that are resampled together."""

    hits: Floats
    """(item) 1 if found, else 0"""
    weights: Floats
    units: Mapping[str, NDArray[np.int64]]
    """Place of each item among the units of a kind, such as lenses and hosts"""


@dataclass(frozen=True)
class Resampled:
    """Weighted recall, and that of each bootstrap replicate."""

    value: float
    replicates: Floats

    def minus(self, other: Resampled) -> tuple[float, float, float]:
        """Difference and its 95 % percentile interval; both come from the same resamples."""
        tail = 100.0 * (1.0 - TABLE_LEVEL) / 2.0
        low, high = np.nanpercentile(self.replicates - other.replicates, [tail, 100.0 - tail])
        return self.value - other.value, float(low), float(high)


class PairedBootstrap:
    """Resamples units of several kinds, each kind independently of the others; an item has the product of its units'
    counts as its weight (Owen 2007, "The pigeonhole bootstrap": never too narrow for crossed factors)."""

    def __init__(self, sizes: Mapping[str, int], replicates: int, rng: np.random.Generator) -> None:
        self.counts = {
            kind: rng.multinomial(size, np.full(size, 1.0 / size), replicates).astype(np.float64)
            for kind, size in sizes.items()
        }

    def recall(self, sample: Sample) -> Resampled:
        """Weighted share of hits, and its replicates; NaN without any weight."""
        weight = np.asarray(sample.weights, dtype=np.float64)
        drawn = np.broadcast_to(weight, (len(next(iter(self.counts.values()))), len(weight)))
        for kind, place in sample.units.items():
            drawn = drawn * self.counts[kind][:, place]
        with np.errstate(invalid="ignore", divide="ignore"):
            value = float(weight @ sample.hits / weight.sum()) if weight.sum() > 0 else float("nan")
            return Resampled(value, drawn @ sample.hits / drawn.sum(axis=1))


def not_narrower(bias: tuple[float, float, float], lenses: int) -> tuple[float, float, float]:
    """A difference whose interval is at least as wide as what no change in so many lenses allows.

    Where no decision changes all resamples agree, which says nothing about changes rarer than one in the number of
    lenses: the Clopper-Pearson bound of none is the least half-width.
    """
    value, low, high = bias
    least = exact(0, lenses)[1]
    return value, min(low, value - least), max(high, value + least)
