"""Shares of a sample whose strata are weighted to follow another population."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.contrasts import MeanChange, change_of_weights
from analysis.statistics.weighted import effective_number

Floats = NDArray[np.float64]
_GRIDDED = 12
"""A quantity with at most so many values in the sample is on a grid, and its bins reach half-way between values."""


@dataclass(frozen=True)
class Followed:
    """A sample weighted to follow a population in some quantities, stratum by stratum."""

    change: MeanChange
    """Of the share of hits, from equal weights to those"""
    covered: float
    """Share of the population in strata that hold some of the sample"""
    n_eff: float
    """Kish's effective number of the weighted sample"""
    weights: Floats
    variance: float
    """Of the share, because the population is known from so many objects"""


def follow(
    hits: ArrayLike, hosts: ArrayLike, sample: Sequence[ArrayLike], target: Sequence[ArrayLike], bins: int
) -> Followed:
    """What the share of `hits` would be if the sample followed a population in quantities of both.

    `sample` and `target` hold one array for each quantity. Strata are the products of `bins` quantiles of the target
    (or of the values of a gridded sample); what lies outside the target's range has no weight. Within a stratum the
    sample stays as it is. The interval has hosts as clusters, and counts the target's objects as a random sample.
    """
    y = np.asarray(hits, dtype=np.float64)
    frames = [[np.asarray(each, dtype=np.float64) for each in frame] for frame in (sample, target)]
    edges = [_edges(held, wanted, bins) for held, wanted in zip(frames[0], frames[1], strict=True)]
    ours, theirs = (_codes(frame, edges) for frame in frames)
    size = int(np.prod([len(each) + 1 for each in edges]))
    count, wanted = np.bincount(ours, minlength=size), np.bincount(theirs, minlength=size)
    weights = (wanted / np.maximum(count, 1))[ours].astype(np.float64)
    held = count[theirs] > 0
    rates = np.bincount(ours, y, minlength=size) / np.maximum(count, 1)
    of_target = float(rates[theirs[held]].var() / held.sum()) if held.any() else 0.0
    change = change_of_weights(y, hosts, weights, np.ones(len(y)), of_target)
    covered = float(held.mean()) if len(held) else 0.0
    return Followed(change, covered, effective_number(weights), weights, of_target)


def _codes(values: Sequence[Floats], edges: Sequence[Floats]) -> NDArray[np.int64]:
    """The stratum of each object."""
    places = [np.searchsorted(each, held, side="right") for each, held in zip(edges, values, strict=True)]
    return np.asarray(np.ravel_multi_index(places, [len(each) + 1 for each in edges]), dtype=np.int64)


def _edges(sample: Floats, target: Floats, bins: int) -> Floats:
    """Edges of the strata in one quantity: what lies outside the first and last has no target."""
    values = np.unique(sample)
    if len(values) <= _GRIDDED:
        return (values[1:] + values[:-1]) / 2.0
    edges = np.unique(np.quantile(target, np.arange(bins + 1) / bins))
    edges[-1] = np.nextafter(edges[-1], np.inf)
    return edges
