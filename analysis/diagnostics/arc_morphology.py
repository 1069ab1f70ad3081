"""Diagnostic: do injected arcs look like real ones, once their galaxies are subtracted and both seen equally well?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from pydantic import Field
from threadpoolctl import threadpool_limits

from analysis.comparisons.arcs import (
    INJECTED,
    MATCHED,
    PAINTED,
    RADIUS,
    REAL,
    RENDERED,
    SNR,
    AlikeArcs,
    ArcStamps,
    measured_arcs,
    seen,
)
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, Point, gate_below, unmeasured
from analysis.statistics.changes import holm
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.roc import delong
from lake.sky.imaging import Imaging

UNTOUCHED = True
FIGURES = {
    "arc_morphology/delta": Drawing(
        "Real arcs against injected ones that are alike",
        "feature",
        "Cliff's delta (real above injected)",
        reference=0.0,
    )
}
_GATE = "arc_morphology/largest"
_SIGNIFICANT = 0.05
_ALIKE = "SNR, radius, area, colour, seeing and depth"


class Params(AlikeArcs):
    """Arcs of real lenses against injected ones."""

    morphology_arcs: int = Field(400, ge=2)
    """Injections, each in another host, that real arcs are matched with."""
    morphology_least: int = Field(20, ge=2)
    """Fewest matched pairs."""
    morphology_delta_max: float = Field(0.33, gt=0, le=1)
    """Cliff's delta above which a feature differs (0.33: a medium effect, Romano et al. 2006)."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """Features of matched pairs of arcs."""
    found = subject.arcs(params)
    if isinstance(found, str):
        return _refused(found, params)
    with threadpool_limits(1):  # many small problems: threads that wait for each other make them ten times slower
        return compared(found, subject.imaging, params)


def compared(stamps: ArcStamps, imaging: Imaging, params: Params) -> Outcome:
    """Effect sizes of all features on matched pairs; of the renderer alone where the truth is known."""
    arcs = {
        name: measured_arcs(images, stamps.sky_annulus_px, imaging) if len(images) else pd.DataFrame()
        for name, images in stamps.groups.items()
    }
    arcs |= {name: arcs[name].assign(**held) for name, held in stamps.conditions.items()}
    pairs, why = _pairs(arcs, params)
    if why is not None:
        return _refused(why, params)
    real, injected = pairs
    effects = list(_effects(real, injected, "delta", f"{len(real)} pairs alike in {_ALIKE}"))
    control = list(_of_renderer(arcs, params))
    largest = max((m for m in effects if m.name.endswith("/delta")), key=lambda m: abs(m.value))
    points = [
        Point("arc_morphology/delta", series, place, m.value, m.low, m.high, m.n, m.name.split("/")[1])
        for series, held in (("matched injections", effects), ("the renderer alone", control))
        for place, m in enumerate(m for m in held if m.name.endswith(("/delta", "/renderer_delta")))
    ]
    shares = list(_shares(arcs))
    finding = Finding(_said(effects, control, largest, params))
    measures = (*shares, *effects, *control)
    gate = _gate(largest, params)
    return Outcome("arc_morphology", measures, (gate,), findings=(finding,), points=tuple(points))


def _pairs(arcs: dict[str, pd.DataFrame], params: Params) -> tuple[tuple[pd.DataFrame, ...], str | None]:
    """Real and injected arcs, pair by pair, or why there are none."""
    held = [seen(arcs[name]) if len(arcs[name]) else arcs[name] for name in (REAL, INJECTED)]
    for name, one in zip((REAL, INJECTED), held, strict=True):
        if len(one) < params.morphology_least:
            return (), f"{len(one)} {name} arcs are found, fewer than {params.morphology_least}"
    chosen = params.pairs(held[0], held[1])
    if len(chosen) < params.morphology_least:
        return (), f"{len(chosen)} pairs are alike in {_ALIKE}, fewer than {params.morphology_least}"
    return tuple(one.iloc[chosen[:, side]] for side, one in enumerate(held)), None


def _effects(real: pd.DataFrame, injected: pd.DataFrame, kind: str, how: str) -> Iterator[Measure]:
    """Cliff's delta (DeLong) and Holm-corrected p of each feature, and of the matched properties."""
    from scipy.stats import mannwhitneyu

    features = [name for name in real.columns if name not in MATCHED]
    labels = np.repeat([1, 0], [len(real), len(injected)])
    tested = [float(mannwhitneyu(real[name], injected[name]).pvalue) for name in features]
    for name, p in zip(features, holm(tested), strict=True):
        area = delong(labels, np.r_[real[name], injected[name]], TABLE_LEVEL)
        value, low, high = (2.0 * one - 1.0 for one in (area.auc, area.low, area.high))
        yield Measure(
            f"arc_morphology/{name}/{kind}", value, low, high, len(labels), "", f"Cliff's delta, DeLong; {how}"
        )
        method = f"Mann-Whitney, Holm over {len(features)} features"
        yield Measure(f"arc_morphology/{name}/{kind}_p_holm", p, n=len(labels), method=method)


def _of_renderer(arcs: dict[str, pd.DataFrame], params: Params) -> Iterator[Measure]:
    """The same lenses as painted and as rendered by us into their own hosts."""
    if not {PAINTED, RENDERED} <= set(arcs) or arcs[PAINTED].empty:
        return
    both = arcs[PAINTED].index.isin(seen(arcs[PAINTED]).index) & arcs[RENDERED].index.isin(seen(arcs[RENDERED]).index)
    if both.sum() >= params.morphology_least:
        how = f"{both.sum()} lenses as painted and rendered again into their own hosts"
        yield from _effects(arcs[PAINTED][both], arcs[RENDERED][both], "renderer_delta", how)


def _shares(arcs: dict[str, pd.DataFrame]) -> Iterator[Measure]:
    for name in (REAL, INJECTED):
        found = seen(arcs[name])
        for column, unit in ((SNR, ""), (RADIUS, "arcsec")):
            method = "median of found arcs, before matching"
            yield Measure(
                f"arc_morphology/{name}/{column}", float(found[column].median()), n=len(found), unit=unit, method=method
            )


def _gate(largest: Measure, params: Params) -> Gate:
    limit, feature = params.morphology_delta_max, largest.name.split("/")[1]
    ends = sorted((abs(largest.low), abs(largest.high)))
    size = Measure(_GATE, abs(largest.value), 0.0 if largest.low < 0.0 < largest.high else ends[0], ends[1], largest.n)
    rule = f"largest |Cliff's delta| of a feature ({feature}) < {limit:g}; above, injected arcs look unlike real ones"
    return gate_below(_GATE, size, limit, rule, miss="WARN")


def _refused(why: str, params: Params) -> Outcome:
    gates = {_GATE: (params.morphology_delta_max, "largest |Cliff's delta| of a feature")}
    return unmeasured("arc_morphology", why, "arc_morphology/pairs", gates, "The morphology of arcs is not measured")


def _said(effects: list[Measure], control: list[Measure], largest: Measure, params: Params) -> str:
    """The finding, in one sentence."""
    tested = [m for m in effects if m.name.endswith("/delta_p_holm")]
    differ = sum(m.value < _SIGNIFICANT for m in tested)
    figures = f"{largest.value:+.2f} [{largest.low:+.2f}, {largest.high:+.2f}]"
    feature = largest.name.split("/")[1].replace("_", " ")
    told = (
        f"Of {len(tested)} features of arcs alike in {_ALIKE} ({largest.n // 2} pairs), {differ} differ "
        f"between real and injected ones; most of all {feature}, Cliff's delta {figures}"
    )
    deltas = [abs(m.value) for m in control if m.name.endswith("/renderer_delta")]
    return f"{told}; the renderer alone changes none by more than {max(deltas):.2f}." if deltas else f"{told}."
