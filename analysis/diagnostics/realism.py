"""Diagnostic: can injections be told from real lenses, and is it their renderer, their hosts or their population?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits

from analysis.comparisons import populations as held
from analysis.comparisons.ladder import GAPS, RUNGS, Climbed, climbed
from analysis.comparisons.populations import EMBEDDING, TEXTURE, Population, Populations
from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.fitted.frechet import frechet_excess
from analysis.fitted.probe import Groups, probe
from analysis.records import Drawing, Finding, Measure, Outcome, Point, gate_below, missing, not_measured, reason

UNTOUCHED = True
PAIRS = {
    "injections_against_listed_lenses": (held.INJECTIONS, held.LISTED),
    "injections_against_bare_hosts": (held.INJECTIONS, held.BARE_HOSTS),
    "bare_hosts_against_listed_lenses": (held.BARE_HOSTS, held.LISTED),
    "tier_a_against_tier_b": (held.TIER_A, held.TIER_B),
    "matched_injections_against_listed_lenses": (held.MATCHED_INJECTIONS, held.LISTED),
    "injections_against_matched_negatives": (held.INJECTIONS, held.MATCHED_NEGATIVES),
    "matched_injections_against_matched_negatives": (held.MATCHED_INJECTIONS, held.MATCHED_NEGATIVES),
}
"""Groups that are told apart. The first pair decides the gate; the others are controls."""
HEADLINE = next(iter(PAIRS))
_HOSTS = 2
"""Fewest galaxies that a group shows: a fold of the probe leaves out whole ones."""
_SAID = {EMBEDDING: "embedding of the network", TEXTURE: "texture features"}
FIGURES = {
    "realism/ladder": Drawing(
        "How well a linear probe tells injections from the same real lenses, by how alike they were made",
        "what the injections share with the lenses",
        "AUC of the probe",
        reference=0.5,
    )
}


class Params(DiagnosticParams):
    """The linear probe."""

    probe_gate_auc: float = Field(0.85, gt=0.5, lt=1)
    """Linear-probe AUC above which injections differ from real lenses (a realism gap)."""
    probe_folds: int = Field(5, ge=2)
    """Folds of the linear probe, whole hosts apart."""
    probe_components: int = Field(20, ge=1)
    """Principal components kept before the probe; at most one fewer than the objects of the smaller group."""
    probe_permutations: int = Field(1000, ge=1)
    """Label permutations behind the p-values of probes and distances."""
    probe_bootstrap: int = Field(1000, ge=1)
    """Resamples (whole hosts) behind the probe's interval."""
    probe_source_mag_max: float = 24.0
    """Only injections at least this bright (reference band, AB mag) enter the probe."""
    probe_injections: int = Field(500, ge=2)
    """Injections of the grid that the probe tells from listed lenses."""
    probe_matched: int = Field(200, ge=2)
    """Injections, and negatives, whose galaxies are drawn to follow the hosts of lenses."""
    ladder_lenses: int = Field(1000, ge=2)
    """Most lenses of a simulated survey that are rendered again for each rung of the ladder."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """Injections against listed lenses in the finder's embedding, with controls, texture and the ladder."""
    groups = subject.described
    with threadpool_limits(1):  # many small problems: threads that wait for each other make them ten times slower
        return probed(groups, params, np.random.default_rng(subject.seed))


def probed(groups: Populations, params: Params, rng: np.random.Generator) -> Outcome:
    """All pairs in the embedding, the headline pair in texture features too, the ladder, and the gate."""
    least = 2 * params.probe_folds
    measures: list[Measure] = []
    for name, pair in PAIRS.items():
        why = groups.why_not(pair, EMBEDDING, least, _HOSTS)
        if why is None:
            measures += linear_probe(name, groups.of(pair[0]), groups.of(pair[1]), EMBEDDING, params, rng)
        elif name == HEADLINE:
            measures.append(missing(f"realism/{name}/probe_auc", why))
    injected, real = PAIRS[HEADLINE]
    if groups.why_not((injected, real), TEXTURE, least, _HOSTS) is None:
        measures += linear_probe(HEADLINE, groups.of(injected), groups.of(real), TEXTURE, params, rng)
    ladder = climbed(groups, params, rng)
    limit, what = params.probe_gate_auc, f"linear-probe AUC of {HEADLINE.replace('_', ' ')} in the {_SAID[EMBEDDING]}"
    rule = f"{what} < {limit:g}; above, injections differ from lenses by their arcs or their hosts"
    first = next(m for m in measures if m.name == f"realism/{HEADLINE}/probe_auc")
    if np.isnan(first.value):
        gate = not_measured("realism/linear_probe", limit, f"{rule}; {reason(first)}")
    else:
        gate = gate_below("realism/linear_probe", first, limit, rule)
    points = tuple(_points(ladder))
    found = (Finding(_said(measures, first, ladder)),)
    return Outcome("realism", (*measures, *_rungs(ladder), *_gaps(ladder)), (gate,), findings=found, points=points)


def linear_probe(
    name: str, a: Population, b: Population, space: str, params: Params, rng: np.random.Generator
) -> list[Measure]:
    """Separate b from a: scaled, projected on principal components, logistic regression in folds of whole hosts.

    `probe_auc` pools the out-of-fold scores; its interval resamples hosts, `probe_p` permutes labels by host.
    `frechet_excess` is the Frechet distance in the principal components minus its mean under permuted labels. The
    projection is fitted without labels, on both groups. In texture features the AUC and its p alone are measured, as
    `texture_probe_auc` and `texture_probe_p`. DataError if a feature is not finite.
    """
    groups = Groups.of((a.spaces[space], b.spaces[space]), (a.hosts, b.hosts), params.probe_components)
    found = probe(groups, params.probe_folds, params.probe_permutations, params.probe_bootstrap, rng)
    group, n = f"realism/{name}", len(groups.labels)
    sizes = f"{groups.values.shape[1]} components; {len(a)} + {len(b)} objects"
    how = f"{_SAID[space]}, {sizes}; folds and bootstrap by host"
    by_chance = f"permuted by host, mean under the null {found.null_auc:.3f}"
    stem = "texture_probe" if space == TEXTURE else "probe"
    measures = [
        Measure(f"{group}/{stem}_auc", found.auc, found.low, found.high, n, "", how),
        Measure(f"{group}/{stem}_p", found.p, n=n, method=by_chance),
    ]
    if space == TEXTURE:
        return measures
    distance = frechet_excess(groups, params.probe_permutations, rng)
    over = f"over the permutation mean {distance.chance:.3g}"
    return [
        *measures,
        Measure(f"{group}/frechet_excess", distance.value, n=n, method=over),
        Measure(f"{group}/frechet_p", distance.p, n=n, method="permuted by host"),
    ]


def _rungs(ladder: Climbed) -> Iterator[Measure]:
    for name, rung in RUNGS.items():
        what = f"realism/ladder/{name}"
        if name not in ladder.rungs:
            yield missing(f"{what}/probe_auc", ladder.absent[name])
            continue
        one = ladder.rungs[name]
        how = f"{rung.words}; folds, bootstrap and permutations keep each lens together"
        yield Measure(f"{what}/probe_auc", one.auc, one.low, one.high, one.n, "", how)
        by_chance = f"permuted by lens, mean under the null {one.null_auc:.3f}"
        yield Measure(f"{what}/probe_p", one.p, n=one.n, method=by_chance)


def _gaps(ladder: Climbed) -> Iterator[Measure]:
    for name, gap in GAPS.items():
        what, n = f"realism/ladder/gap/{name}", ladder.lenses
        if name in ladder.gaps:
            yield Measure(
                what, *ladder.gaps[name], n, "", f"difference of AUC: {gap.words}; lenses and hosts resampled"
            )
        else:
            needed = next(one for one in (gap.of, gap.minus) if one in ladder.absent)
            yield missing(what, ladder.absent[needed])


def _points(ladder: Climbed) -> Iterator[Point]:
    for place, (name, rung) in enumerate(RUNGS.items()):
        if name in ladder.rungs:
            one = ladder.rungs[name]
            yield Point("realism/ladder", "injections", place, one.auc, one.low, one.high, one.n, rung.label)


def _said(measures: list[Measure], first: Measure, ladder: Climbed) -> str:
    """The finding, in one sentence."""
    texture = next((m for m in measures if m.name.endswith("texture_probe_auc")), None)
    if np.isnan(first.value):
        also = "" if texture is None else f"; on texture features alone its AUC is {_figures(texture)}"
        return f"The probe of the embedding is not measured, because {first.method.partition(': ')[2]}{also}."
    beside = "" if texture is None else f" ({texture.value:.2f} on texture features alone)"
    told = f"A linear probe tells injections from listed lenses with AUC {_figures(first)}{beside}"
    if len(ladder.gaps) < len(GAPS):
        why = next(iter(ladder.absent.values()))
        return f"{told}; how much of this is renderer, hosts or population is not measured, because {why}."
    parts = [f"{gap.label} {_interval(*ladder.gaps[name])}" for name, gap in GAPS.items() if gap.of_the_whole]
    whole = ladder.rungs[tuple(RUNGS)[-1]].auc - 0.5
    part = f"Against lenses whose truth is known the AUC lies {whole:.2f} above chance"
    return f"{told}. {part}, of which {', '.join(parts)}."


def _figures(one: Measure) -> str:
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
