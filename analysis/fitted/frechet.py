"""Distances between the distributions of two groups in a feature space, valid for fewer objects than dimensions.

The Frechet distance of few objects in many dimensions measures their number. Here it is taken in the leading principal
components, minus its mean under permuted labels; the kernel distance beside it is unbiased by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.fitted.probe import Groups, Ints, dealt, p_value, principal
from analysis.statistics.intervals import TABLE_LEVEL

Floats = NDArray[np.float64]

_PARTS = 20
"""Groups of hosts that the jackknife leaves out, one at a time."""


@dataclass(frozen=True)
class Distance:
    """A distance between two groups."""

    value: float
    """Frechet: the distance minus its mean under permuted labels; kernel: the unbiased estimate"""
    p: float
    """Share of permutations with at least this distance, counting the observed one"""
    chance: float
    """Mean under permuted labels"""


@dataclass(frozen=True)
class Sample:
    """One group of objects."""

    features: ArrayLike
    """(object, feature)"""
    hosts: ArrayLike
    """The galaxy that each was made from"""


def frechet(a: Floats, b: Floats) -> float:
    """Frechet distance of two Gaussians fitted to the rows (in a space of fewer dimensions than rows)."""
    cov_a, cov_b = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    root = np.sqrt(np.maximum(np.real(np.linalg.eigvals(cov_a @ cov_b)), 0.0)).sum()
    shift = a.mean(axis=0) - b.mean(axis=0)
    return float(shift @ shift + np.trace(cov_a + cov_b) - 2.0 * root)


def frechet_excess(groups: Groups, permutations: int, rng: np.random.Generator) -> Distance:
    """Frechet distance of the groups in their components, in units of the scaled features, minus its mean under
    permuted labels."""
    values = groups.values * groups.spread

    def distance(labels: Ints) -> float:
        return frechet(values[labels == 0], values[labels == 1])

    null = np.array([distance(groups.permuted(rng)) for _ in range(permutations)])
    value = distance(groups.labels)
    return Distance(float(value - null.mean()), p_value(null, value), float(null.mean()))


def kernel_distance(groups: Groups, features: ArrayLike, permutations: int, rng: np.random.Generator) -> Distance:
    """Squared maximum mean discrepancy with the cubic kernel (x.y / d + 1)^3 of scaled ``features`` (object, feature).

    The unbiased estimator (Gretton et al. 2012, eq. 3), known as KID for this kernel (Binkowski et al. 2018): 0 on
    average for equal distributions, whatever the number of objects.
    """
    values = np.asarray(features, dtype=np.float64)
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    kernel = (scaled @ scaled.T / scaled.shape[1] + 1.0) ** 3
    np.fill_diagonal(kernel, 0.0)
    labels = np.stack([groups.labels, *(groups.permuted(rng) for _ in range(permutations))]).astype(np.float64)
    second, total = labels.sum(axis=1), kernel.sum()
    first = labels.shape[1] - second
    half = labels @ kernel
    within, across = (half * labels).sum(axis=1), (half * (1.0 - labels)).sum(axis=1)
    other = total - within - 2.0 * across
    found = within / (second * (second - 1)) + other / (first * (first - 1)) - 2.0 * across / (first * second)
    return Distance(float(found[0]), p_value(found[1:], float(found[0])), float(found[1:].mean()))


def frechet_ratio(
    real: Sample, injected: Sample, negative: Sample, components: int, permutations: int, rng: np.random.Generator
) -> tuple[float, float, float] | str:
    """FD(real, injected) / FD(real, negative) and its 95 % interval, or why it has no value.

    All three lie in the same principal components. Both distances are without their mean under permuted labels, which
    is as large as the distance where objects are few. The interval is that of a jackknife of groups of hosts, on the
    logarithm; 0 where injections and real lenses do not differ.
    """
    samples = (real, injected, negative)
    values = [np.asarray(one.features, dtype=np.float64) for one in samples]
    least = min(len(one) for one in values)
    if least < _PARTS:
        return f"the smallest of the three groups has {least} objects, fewer than {_PARTS}"
    ends = np.cumsum([len(one) for one in values])[:-1]
    parts = np.split(principal(np.concatenate(values), min(components, least // 2 - 1)), ends)
    chance = []
    for other in (1, 2):
        chance.append(frechet_excess(_of_pair(samples, parts, other), permutations, rng))
    if chance[1].value <= 0.0 or chance[1].p > 1.0 - TABLE_LEVEL:
        return f"real lenses and negatives do not differ (p {chance[1].p:.2g})"
    folds = [_parts_of(one) for one in samples]
    left_out = [[part[fold != number] for part, fold in zip(parts, folds, strict=True)] for number in range(_PARTS)]
    null = [one.chance for one in chance]
    sizes = [len(part) for part in parts]
    above, below = (np.array([_excess(held, k, null[k - 1], sizes) for held in left_out]) for k in (1, 2))
    return _ratio(chance[0].value, chance[1].value, above, below)


def _of_pair(samples: tuple[Sample, ...], parts: list[Floats], other: int) -> Groups:
    """The real lenses and another sample, in components that are already those of all three."""
    labels = np.repeat([0, 1], [len(parts[0]), len(parts[other])])
    names = np.concatenate([np.asarray(samples[place].hosts).astype(str) for place in (0, other)])
    values = np.concatenate([parts[0], parts[other]])
    return Groups(values, np.ones(values.shape[1]), labels, np.unique(names, return_inverse=True)[1])


def _parts_of(sample: Sample) -> Ints:
    """Part of each object, whole hosts together."""
    hosts = np.unique(np.asarray(sample.hosts).astype(str), return_inverse=True)[1]
    return dealt(np.zeros(len(hosts), dtype=np.int64), hosts, _PARTS)


def _excess(held: list[Floats], other: int, chance: float, sizes: list[int]) -> float:
    """Distance of a jackknife sample without its chance part, which goes with 1/n + 1/m."""
    rate = (1.0 / len(held[0]) + 1.0 / len(held[other])) / (1.0 / sizes[0] + 1.0 / sizes[other])
    return frechet(held[0], held[other]) - chance * rate


def _ratio(above: float, below: float, aboves: Floats, belows: Floats) -> tuple[float, float, float] | str:
    """The ratio with the jackknife interval of its value; a negative excess counts as 0."""
    from scipy.stats import t

    ratios = aboves / np.where(belows > 0.0, belows, np.nan)
    if not np.isfinite(ratios).all():
        return "without some of the hosts, real lenses and negatives do not differ"
    value = above / below
    error = np.sqrt((_PARTS - 1) / _PARTS * np.square(ratios - ratios.mean()).sum())
    half = float(t.ppf((1.0 + TABLE_LEVEL) / 2.0, _PARTS - 1)) * float(error)
    return max(value, 0.0), max(value - half, 0.0), max(value + half, 0.0)
