"""Diagnostic: where do injections lie in the finder's feature space, beside real lenses and negatives?

The reference's experiment (D01) is here as it was run, with its injections of source magnitude 19.0 and Einstein radius
1.5 arcsec, which no prior draws; the grid's injections stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field
from scipy.special import expit
from threadpoolctl import threadpool_limits

from analysis.comparisons import populations as held
from analysis.comparisons.populations import EMBEDDING, Population, Populations
from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.fitted.embedding import placed
from analysis.fitted.frechet import Sample, frechet_excess, frechet_ratio, kernel_distance
from analysis.fitted.probe import Groups, probe
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, Point, gate_below, missing, not_measured, reason
from analysis.statistics.intervals import median

UNTOUCHED = True
GROUPS = {
    "tier_a": held.TIER_A,
    "listed_lenses": held.LISTED,
    "injections": held.INJECTIONS,
    "low_offset": held.LOW_OFFSET,
    "high_offset": held.HIGH_OFFSET,
    "negatives": held.NEGATIVES,
}
"""Groups whose median scores are measured."""
_PICTURED = (held.NEGATIVES, held.INJECTIONS, held.LOW_OFFSET, held.HIGH_OFFSET, held.LISTED)
_RATIO, _GATE = "realism/frechet_ratio", "feature_space/manifold"
FIGURES = {
    "feature_space/umap": Drawing(
        "UMAP of the finder's embedding: a picture, whose distances between groups mean nothing",
        "first coordinate",
        "second coordinate",
        kind="scatter",
        apart=True,
    ),
    "feature_space/distance": Drawing(
        "Frechet distance of injections from listed lenses along the network, over that of permuted labels",
        "block of the network",
        "excess Frechet distance",
        reference=0.0,
    ),
}


class Params(DiagnosticParams):
    """Distances in the feature space, and the reference's bright arcs."""

    feature_least: int = Field(20, ge=2)
    """Fewest objects of a group."""
    feature_components: int = Field(20, ge=1)
    """Principal components in which Frechet distances and probes are taken."""
    feature_permutations: int = Field(1000, ge=1)
    """Label permutations behind each distance."""
    feature_per_group: int = Field(200, ge=2)
    """Bright arcs of each range of source offsets, and negatives."""
    feature_source_mag: float = 19.0
    """Source magnitude of the bright arcs (reference band); the reference's, outside every prior."""
    feature_theta_e_arcsec: float = Field(1.5, gt=0)
    """Einstein radius of the bright arcs (arcsec)."""
    feature_low_offset: tuple[float, float] = (0.1, 0.3)
    """Source offsets over theta_E of the first group of bright arcs."""
    feature_high_offset: tuple[float, float] = (0.7, 1.0)
    """The same of the second group."""
    feature_ratio_max: float = Field(2.0, gt=0)
    """FD(real, injected) / FD(real, negative) above which injections lie far from lenses in the feature space."""
    feature_pictured: int = Field(150, ge=2)
    """Objects of each group in the picture of the embedding."""
    feature_neighbours: int = Field(15, ge=2)
    """Neighbours of each object that the picture tries to keep."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """Distances, scores and the picture."""
    groups = subject.described
    with threadpool_limits(1):  # many small problems: threads that wait for each other make them ten times slower
        return examined(groups, params, np.random.default_rng(subject.seed), subject.seed)


def examined(groups: Populations, params: Params, rng: np.random.Generator, seed: int) -> Outcome:
    """All that is measured in the feature space; what a finder does not show is not measured."""
    spaces = (*groups.blocks, EMBEDDING)
    distances = [m for space in spaces for m in _distances(groups, space, params, rng)]
    ratio = _ratio(groups, params, rng)
    bright = [m for name in ("low_offset", "high_offset") for m in _bright(groups, name, params, rng)]
    medians = [_median(groups, name) for name in GROUPS]
    points = (*_pictured(groups, params, seed), *_along(spaces, distances))
    measures = (*distances, ratio, *bright, *medians)
    return Outcome("feature_space", measures, (_gate(ratio, params),), findings=_said(measures), points=points)


def _distances(groups: Populations, space: str, params: Params, rng: np.random.Generator) -> Iterator[Measure]:
    """Frechet excess and kernel distance of injections from listed lenses in one space."""
    name, pair = f"feature_space/{space.replace(' ', '_')}", (held.INJECTIONS, held.LISTED)
    if (why := groups.why_not(pair, space, params.feature_least)) is not None:
        yield missing(f"{name}/frechet_excess", why)
        return
    a, b = (groups.of(one) for one in pair)
    both, n = _together(a, b, space, params), len(a) + len(b)
    distance = frechet_excess(both, params.feature_permutations, rng)
    how = f"in {both.values.shape[1]} principal components, over the mean of permuted labels ({distance.chance:.3g})"
    yield Measure(f"{name}/frechet_excess", distance.value, n=n, method=how)
    yield Measure(f"{name}/frechet_p", distance.p, n=n, method="permuted by host")
    features = np.concatenate([a.spaces[space], b.spaces[space]])
    kernel = kernel_distance(both, features, params.feature_permutations, rng)
    yield Measure(f"{name}/kid", kernel.value, n=n, method="unbiased MMD^2, cubic kernel of all scaled features")
    yield Measure(f"{name}/kid_p", kernel.p, n=n, method="permuted by host")


def _together(a: Population, b: Population, space: str, params: Params) -> Groups:
    return Groups.of((a.spaces[space], b.spaces[space]), (a.hosts, b.hosts), params.feature_components)


def _ratio(groups: Populations, params: Params, rng: np.random.Generator) -> Measure:
    names = (held.LISTED, held.INJECTIONS, held.NEGATIVES)
    if (why := groups.why_not(names, EMBEDDING, params.feature_least)) is not None:
        return missing(_RATIO, why)
    real, injected, negative = (Sample(groups.of(one).spaces[EMBEDDING], groups.of(one).hosts) for one in names)
    sizes = params.feature_components, params.feature_permutations
    found = frechet_ratio(real, injected, negative, *sizes, rng)
    n = sum(len(groups.of(one)) for one in names)
    if isinstance(found, str):
        return missing(_RATIO, found, n=n)
    how = "FD(listed lenses, injections) / FD(listed lenses, negatives), each over its permutation mean; jackknife"
    return Measure(_RATIO, *found, n, "", how)


def _gate(ratio: Measure, params: Params) -> Gate:
    limit = params.feature_ratio_max
    rule = (
        f"FD(real, injected) / FD(real, negative) < {limit:g}; above, injections lie far from lenses in the "
        "feature space"
    )
    if np.isnan(ratio.value):
        return not_measured(_GATE, limit, f"{rule}; {reason(ratio)}")
    return gate_below(_GATE, ratio, limit, rule)


def _bright(groups: Populations, name: str, params: Params, rng: np.random.Generator) -> Iterator[Measure]:
    """The reference's probe and distance of bright arcs from listed lenses."""
    low, high = getattr(params, f"feature_{name}")
    where = f"source magnitude {params.feature_source_mag:g}, theta_E {params.feature_theta_e_arcsec:g} arcsec"
    said = f"{where}, source offset {low:g}-{high:g} theta_E: outside every prior"
    pair = (GROUPS[name], held.LISTED)
    if (why := groups.why_not(pair, EMBEDDING, params.feature_least)) is not None:
        yield missing(f"feature_space/{name}/probe_auc", why)
        return
    both = _together(groups.of(pair[0]), groups.of(pair[1]), EMBEDDING, params)
    found = probe(both, 5, params.feature_permutations, params.feature_permutations, rng)
    n = len(both.labels)
    yield Measure(f"feature_space/{name}/probe_auc", found.auc, found.low, found.high, n, "", f"linear probe; {said}")
    yield Measure(f"feature_space/{name}/probe_p", found.p, n=n, method="permuted by host")
    distance = frechet_excess(both, params.feature_permutations, rng)
    yield Measure(f"feature_space/{name}/frechet_excess", distance.value, n=n, method=said)
    yield Measure(f"feature_space/{name}/frechet_p", distance.p, n=n, method="permuted by host")


def _median(groups: Populations, name: str) -> Measure:
    """Median probability of a group, with its interval by order statistics."""
    what = f"feature_space/median_probability/{name}"
    if GROUPS[name] not in groups.groups or not len(groups.of(GROUPS[name])):
        why = groups.absent.get(GROUPS[name], f"there are no {GROUPS[name]}")
        return missing(what, why)
    values = expit(groups.of(GROUPS[name]).scores)
    middle, low, high = median(values)
    if np.isnan(middle):
        return missing(what, "the finder gave no finite score", n=len(values))
    return Measure(what, middle, low, high, len(values), "", "median, interval by order statistics")


def _pictured(groups: Populations, params: Params, seed: int) -> Iterator[Point]:
    """Coordinates of the picture, group by group."""
    if groups.why_not((held.LISTED, held.INJECTIONS), EMBEDDING, params.feature_least) is not None:
        return
    parts = {name: groups.of(name) for name in _PICTURED if groups.why_not((name,), EMBEDDING, 1) is None}
    shown = {name: one.spaces[EMBEDDING][: params.feature_pictured] for name, one in parts.items()}
    places = placed(np.concatenate(list(shown.values())), params.feature_components, params.feature_neighbours, seed)
    series = np.repeat(list(shown), [len(one) for one in shown.values()])
    for name, (x, y) in zip(series, places, strict=True):
        yield Point("feature_space/umap", str(name), float(x), float(y))


def _along(spaces: tuple[str, ...], measures: list[Measure]) -> Iterator[Point]:
    """The distance along the network."""
    by_name = {one.name: one for one in measures}
    for place, space in enumerate(spaces):
        one = by_name[f"feature_space/{space.replace(' ', '_')}/frechet_excess"]
        if not np.isnan(one.value):
            yield Point("feature_space/distance", "injections", place, one.value, n=one.n, label=space)


def _said(measures: tuple[Measure, ...]) -> tuple[Finding, ...]:
    """The finding, in one sentence."""
    by_name = {one.name: one for one in measures}
    ratio, medians = by_name[_RATIO], [by_name[f"feature_space/median_probability/{name}"] for name in GROUPS]
    scores = ", ".join(
        f"{GROUPS[name].replace(', ', ' with ')} {one.value:.2g}"
        for name, one in zip(GROUPS, medians, strict=True)
        if not np.isnan(one.value)
    )
    told = f"Median probabilities are {scores}" if scores else "No group was scored"
    if np.isnan(ratio.value):
        why = ratio.method.partition(": ")[2]
        return (Finding(f"{told}; the distance from real lenses is not measured, because {why}."),)
    figures = f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
    return (
        Finding(
            f"In the finder's embedding injections lie {figures} times as far from listed lenses as "
            f"negatives do (Frechet distance). {told}."
        ),
    )
