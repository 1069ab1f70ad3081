"""Diagnostic: does the finder see real arcs as well as injected ones, both moved into the same hosts of the grid?

Galaxies are subtracted from real lenses and from injections with like arcs (SNR, radius, area, colour) on stamps of
like seeing and depth, and what is left is moved into the same hosts. So both bring the noise of their stamps and what
the model of the galaxy missed. How much that changes by itself is measured too: the injection that was moved is
rendered into the same host. Where lenses' parameters are known they are rendered there as well: that difference from
the injections is no morphology, but parameters that the matching did not make alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import logit

from analysis.comparisons.arcs import AlikeArcs
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, Point, gate_within, not_measured, unmeasured
from analysis.statistics.changes import shifted
from analysis.statistics.intervals import exact, median
from analysis.statistics.paired import PairedBootstrap, Resampled, Sample, not_narrower
from analysis.statistics.thresholds import Threshold, why_not

UNTOUCHED = True
KINDS = {
    "real_arc": "real arcs, moved",
    "moved_injection": "injected arcs like them, moved",
    "same_injection": "the same injections rendered into the host",
    "residual": "what is left of a galaxy that is no lens, moved",
    "bare": "bare hosts",
    "same_lens": "arcs rendered from the lenses' true parameters",
}
"""What is added to a host, by the name of its column of probabilities; the last one where the truth is known."""
Floats = NDArray[np.float64]
_CONTRASTS = {
    "change": ("real_arc", "moved_injection"),
    "moving": ("moved_injection", "same_injection"),
    "moving_real_arcs": ("real_arc", "same_lens"),
    "unmatched_parameters": ("same_lens", "same_injection"),
}
"""Kinds that are compared in the same hosts: the arcs; what moving changes, for injections and for real arcs; and what
is left of parameters, with one renderer for both."""
_JUDGED = next(iter(_CONTRASTS))
_POINTS = 100.0
FIGURES = {
    "transplants/detected": Drawing(
        "Real and injected arcs that are alike, in the same hosts",
        "what is added to the host",
        "detected",
        percent=True,
    )
}


class Params(AlikeArcs):
    """Arcs of real lenses in other hosts."""

    transplant_tiers: tuple[str, ...] = ("A",)
    """Tiers of the listed lenses whose arcs are moved."""
    transplant_lenses: int = Field(500, ge=2)
    """Most lenses whose arcs are moved."""
    transplant_hosts: int = Field(2, ge=1)
    """Hosts that each arc is moved into."""
    transplant_least: int = Field(20, ge=2)
    """Fewest lenses with an arc."""
    transplant_threshold: str = "p0.5"
    """Threshold that the gate judges."""
    transplant_points: float = Field(10.0, gt=0)
    """Largest difference in detection between real and injected arcs (points)."""
    transplant_pool: int = Field(400, ge=2)
    """Injections, each in another host, that real arcs are matched with."""
    transplant_replicates: int = Field(2000, ge=100)
    """Resamples (lenses) behind the intervals."""


@dataclass(frozen=True)
class Transplants:
    """What the finder says of arcs in other hosts."""

    rows: pd.DataFrame
    """A row per lens and host: `lens`, `host`, and a column of probabilities for each of `KINDS`; the last one is NaN
    for lenses whose truth is not known, and left out where none is"""
    without_arc: int
    """Lenses left out because no arc is found on their residuals"""
    unmatched: int
    """Lenses left out because no injection has such an arc"""
    flux_kept: tuple[float, ...] = ()
    """Light that the subtraction left of each arc, over the true one, where that is known"""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """Detection of real arcs against model arcs."""
    found = subject.transplants(params)
    if isinstance(found, str):
        return _refused(found, params)
    return compared(found, subject.thresholds, params, np.random.default_rng(subject.seed))


def compared(found: Transplants, points: Sequence[Threshold], params: Params, rng: np.random.Generator) -> Outcome:
    """Shares detected at each measurable threshold, and differences of real from model arcs in the same hosts."""
    lenses = found.rows["lens"].nunique() if len(found.rows) else 0
    if lenses < params.transplant_least:
        return _refused(f"{lenses} lenses have an arc to move, fewer than {params.transplant_least}", params)
    if _JUDGED not in _contrasts(found.rows):
        return _refused("the finder scored no pair of moved arcs", params)
    measures = list(_kept(found))
    drawn: list[Point] = []
    for point in points:
        if point.measurable:
            shares, differences = _at(found.rows, point, params.transplant_replicates, rng)
            measures += [*shares.values(), *differences]
            drawn += [
                Point("transplants/detected", point.threshold_id, place, m.value, m.low, m.high, m.n, kind)
                for place, (kind, m) in enumerate(shares.items())
            ]
    measures += list(_scores(found.rows))
    judged = f"transplants/{_JUDGED}/{params.transplant_threshold}"
    difference = next((m for m in measures if m.name == judged), None)
    why = _untold({m.name: m for m in measures}, params)
    lacking = why_not(points, params.transplant_threshold)
    gate = _gate(difference, params, why, lacking)
    finding = Finding(f"{_said(difference, measures, params, lacking)}{why and f' This is not judged, because {why}.'}")
    return Outcome("transplants", tuple(measures), (gate,), findings=(finding,), points=tuple(drawn))


def _at(
    rows: pd.DataFrame, point: Threshold, replicates: int, rng: np.random.Generator
) -> tuple[dict[str, Measure], list[Measure]]:
    """Shares of each kind, and differences, at one threshold; lenses are resampled."""
    units = np.unique(rows["lens"], return_inverse=True)[1].astype(np.int64)
    count, at = int(units.max()) + 1, point.threshold_id
    bootstrap = PairedBootstrap({"lens": count}, replicates, rng)
    shares: dict[str, Measure] = {}
    for kind in _held(rows):
        made = np.asarray(rows[kind].notna(), dtype=np.float64)
        own = _share(bootstrap, rows[kind], made, units, point)
        lenses, n = len(np.unique(units[made > 0])), int(made.sum())
        low, high = exact(own.value * lenses, lenses) if lenses else (np.nan, np.nan)
        how = f"{KINDS[kind]}; Clopper-Pearson with the number of lenses"
        shares[kind] = Measure(f"transplants/detected/{kind}/{at}", own.value, low, high, n, "", how)
    differences = []
    for name, pair in _contrasts(rows).items():
        made = np.asarray(rows[list(pair)].notna().all(axis=1), dtype=np.float64)
        first, second = (_share(bootstrap, rows[kind], made, units, point) for kind in pair)
        lenses = len(np.unique(units[made > 0]))
        value, low, high = (_POINTS * one for one in not_narrower(first.minus(second), lenses))
        how = f"{KINDS[pair[0]]}, minus {KINDS[pair[1]]}; bootstrap of lenses"
        measured = Measure(f"transplants/{name}/{at}", value, low, high, int(made.sum()), "points", how)
        differences.append(measured)
    return shares, differences


def _share(
    bootstrap: PairedBootstrap, values: pd.Series, weights: Floats, units: NDArray[np.int64], point: Threshold
) -> Resampled:
    hits = np.asarray(values > point.threshold, dtype=np.float64)
    return bootstrap.recall(Sample(hits, weights, {"lens": units}))


def _held(rows: pd.DataFrame) -> list[str]:
    """Kinds that were made for at least one lens."""
    return [kind for kind in KINDS if kind in rows and rows[kind].notna().any()]


def _contrasts(rows: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Contrasts of kinds that were made."""
    return {name: pair for name, pair in _CONTRASTS.items() if set(pair) <= set(_held(rows))}


def _scores(rows: pd.DataFrame) -> Iterator[Measure]:
    """Median difference of logits, host by host."""
    for name, pair in _contrasts(rows).items():
        made = rows[rows[list(pair)].notna().all(axis=1)]
        first, second = (logit(made[kind].clip(1e-12, 1 - 1e-12)) for kind in pair)
        value, low, high, p, n = shifted((first - second).to_numpy(), made["lens"].to_numpy())
        how = f"median over lenses, {KINDS[pair[0]]}, minus {KINDS[pair[1]]}; Wilcoxon p {p:.2g}"
        yield Measure(f"transplants/{name}/score", value, low, high, n, "logit", how)


def _kept(found: Transplants) -> Iterator[Measure]:
    n = found.rows["lens"].nunique()
    no_arc = "lenses left out: no arc is found on the residual"
    yield Measure("transplants/without_arc", float(found.without_arc), n=n, method=no_arc)
    no_pair = "lenses left out: no injection has such an arc on such a stamp"
    yield Measure("transplants/unmatched", float(found.unmatched), n=n, method=no_pair)
    if found.flux_kept:
        how = "light left of each arc by the subtraction, over the true one, within 0.6-3.5 arcsec; median over lenses"
        yield Measure("transplants/flux_kept", *median(found.flux_kept), len(found.flux_kept), "", how)


def _untold(measures: Mapping[str, Measure], params: Params) -> str:
    """Why equal detection of both kinds of arcs says nothing: neither is found more often than bare hosts."""
    at = params.transplant_threshold
    bare, *arcs = (measures.get(f"transplants/detected/{kind}/{at}") for kind in ("bare", *_CONTRASTS[_JUDGED]))
    if bare is None or any(one is None or bare.high < one.low for one in arcs):
        return ""
    return f"{_POINTS * bare.value:.0f} % of the hosts are detected without an arc, not told from those with one"


def _gate(difference: Measure | None, params: Params, untold: str, lacking: str) -> Gate:
    """PASS where the whole interval lies within the tolerance, WARN where none of it does."""
    name, limit = "transplants/injected_arcs", params.transplant_points
    rule = (
        f"|detection of real arcs minus that of injected ones, both moved| at {params.transplant_threshold} <= "
        f"{limit:g} points with the whole 95 % interval; beyond, completeness of injections is not that of real arcs"
    )
    if difference is None:
        return not_measured(name, limit, f"{rule}; {lacking}")
    if untold:
        return not_measured(name, limit, f"{rule}; {untold}")
    return gate_within(name, difference, limit, rule, "WARN")


def _refused(why: str, params: Params) -> Outcome:
    gates = {"transplants/injected_arcs": (params.transplant_points, "real against injected arcs")}
    return unmeasured("transplants", why, f"transplants/{_JUDGED}", gates, "Real arcs in other hosts are not measured")


def _said(difference: Measure | None, measures: list[Measure], params: Params, lacking: str) -> str:
    """The finding, in one sentence."""
    if difference is None:
        return f"Real arcs in other hosts are not judged, because {lacking}."
    by_name, at = {m.name: m for m in measures}, params.transplant_threshold
    real, injected, nothing = (
        f"{_POINTS * by_name[f'transplants/detected/{kind}/{at}'].value:.0f} %"
        for kind in ("real_arc", "moved_injection", "residual")
    )
    moving = by_name[f"transplants/moving/{at}"]
    told = (
        f"Moved into the same hosts, {real} of real arcs and {injected} of injected arcs like them (SNR, radius, area, "
        f"colour, seeing, depth; {difference.n} pairs) are detected at {at} ({nothing} of the residuals of galaxies "
        f"that are no lenses): a difference of {_figures(difference)} points; moving an injected arc changes its "
        f"detection by {_figures(moving)} points"
    )
    left = by_name.get(f"transplants/unmatched_parameters/{at}")
    if left is None:
        return f"{told}."
    return f"{told}; the pairs' true parameters in one renderer differ by {_figures(left)}, which is no morphology."


def _figures(one: Measure) -> str:
    return f"{one.value:+.1f} [{one.low:+.1f}, {one.high:+.1f}]"
