"""Diagnostic: how much does completeness depend on assumptions about PSF, sources and lenses? In paired trials.

The experiment `sensitivity` draws from the grid's own prior and hosts, and changes one parameter at a time by a map of
the drawn value: host, lens, source and noise of a trial stay. So a range is one around the prior that the completeness
was measured with. The changes are also weighted to other priors, where the draws cover them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import Field

from analysis.comparisons import trialpairs
from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import (
    Drawing,
    Finding,
    Gate,
    Measure,
    Outcome,
    Point,
    Status,
    decide,
    missing,
    not_measured,
    reason,
)
from analysis.results.reweighting import Weights
from analysis.statistics.completeness import marginal_of
from analysis.statistics.contrasts import largest_by_noise, mean_change
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.thresholds import Threshold, why_not
from lake.tables.trials import BASELINE

NAME = "sensitivity"
"""Of the experiment, too."""
FIGURES = {
    "sensitivity/changes": Drawing(
        "Change of completeness when one assumption changes", "assumption", "change of completeness (points)", "bars"
    )
}
REFERENCE = {
    "psf_plus_10": -0.52, "psf_minus_10": 0.54, "re_plus_30": 0.15, "re_minus_30": -0.24,
    "colour_plus_0.2": -0.64, "colour_minus_0.2": 0.61, "q_low_minus_0.2": 0.28, "q_low_plus_0.2": -0.25,
}  # fmt: skip
"""Mean changes of the reference system (points): 385 cells x 100 injections, other data and another prior."""
_WORDS = {
    "psf": ("PSF", " %"),
    "re": ("source radius", " %"),
    "colour": ("source colour", " mag"),
    "q_low": ("least axis ratio", ""),
}
_RULE = (
    "PASS if the systematic of all assumptions (largest change of each, both directions, added in quadrature) is at "
    "most the half-width of the statistical 95 % interval of completeness at {at}; otherwise WARN"
)


class Params(DiagnosticParams):
    """At which threshold the cells are compared, and under which other priors."""

    sensitivity_threshold: str = "p0.5"
    """Threshold at which the cells and the gate are judged; mean changes are measured at all measurable ones."""
    sensitivity_priors: tuple[str, ...] = ("v1", "anchored")
    """Priors that the changes are weighted to as well."""
    sensitivity_min_support: float = Field(0.95, gt=0, le=1)
    """Least share of such a prior that the trials must cover."""
    sensitivity_permutations: int = Field(500, ge=100)
    """Permutations behind what noise alone does to the largest change in a cell."""


@dataclass(frozen=True)
class Judged:
    """Trials in pairs, and what they are compared with."""

    wide: pd.DataFrame
    """:func:`analysis.comparisons.trialpairs.of_experiment`"""
    thresholds: Sequence[Threshold]
    weights: Mapping[str, pd.Series | str]
    """By prior, the weight of each trial (`trial_id`), or why it has none"""

    @property
    def points(self) -> Mapping[str, float]:
        """The measurable thresholds by name."""
        return trialpairs.measurable(self.thresholds)


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The perturbations of one finder; not measured without their trials."""
    wide = trialpairs.of_experiment(subject.trials, NAME)
    if BASELINE not in trialpairs.variants(wide):
        return _refused((), math.nan, params.sensitivity_threshold, "there are no scored trials")
    judged = Judged(wide, subject.thresholds, _weights(subject, params))
    half = _half_width(subject.completeness, params.sensitivity_threshold)
    return judge(judged, half, params, np.random.default_rng(subject.seed))


def judge(judged: Judged, half_width: float, params: Params, rng: np.random.Generator) -> Outcome:
    """Mean changes at every threshold; cells, systematic, figure and gate at one. `half_width` (points) is that of the
    statistical interval of the completeness."""
    at = params.sensitivity_threshold
    measures = [*_completeness(judged), *_mean_changes(judged), *_weighted(judged)]
    shown = {m.name.split("/")[1]: m for m in measures if m.name.endswith(f"/change/{at}") and m.n}
    if not shown:
        why = _unpaired(measures, at) if at in judged.points else why_not(judged.thresholds, at)
        return _refused(measures, half_width, at, why)
    cells = tuple(_cells(judged, at, params, rng))
    systematic = _systematic(judged, at)
    points = tuple(
        Point("sensitivity/changes", "completeness", place, m.value, m.low, m.high, m.n, label(name))
        for place, (name, m) in enumerate(shown.items())
    )
    gate = _gate(systematic, half_width, at, [label(name) for name in REFERENCE if name not in shown])
    finding = _finding(shown, {m.name: m for m in (*measures, *cells, systematic)}, gate, at, params)
    return Outcome(NAME, (*measures, *cells, systematic), (gate,), findings=(finding,), points=points)


def label(variant: str) -> str:
    """A perturbation in words: `psf_plus_10` is `PSF +10 %`."""
    name, size = _parameter(variant), variant.rpartition("_")[2]
    if name not in _WORDS:
        return variant.replace("_", " ")
    words, unit = _WORDS[name]
    return f"{words} {'+' if '_plus_' in variant else '-'}{size}{unit}"


def _parameter(variant: str) -> str | None:
    """The parameter of `psf_plus_10`: `psf`; None for a variant that is no perturbation in either direction."""
    name = variant.partition("_plus_")[0].partition("_minus_")[0]
    return None if name == variant else name


def _weights(subject: Subject, params: Params) -> dict[str, pd.Series | str]:
    rows = subject.trials
    own = rows[(rows["experiment"] == NAME) & (rows["variant"] == BASELINE)]
    return {prior: _of_prior(subject.trial_weights, own, prior, params) for prior in params.sensitivity_priors}


def _of_prior(
    weigh: Callable[[pd.DataFrame, str], Weights | str], rows: pd.DataFrame, prior: str, params: Params
) -> pd.Series | str:
    found = weigh(rows, prior)
    if isinstance(found, str):
        return found
    refused = found.refusal("the prior of the grid", params.sensitivity_min_support)
    return refused or pd.Series(found.values, index=rows["trial_id"].to_numpy())


def _perturbations(wide: pd.DataFrame) -> list[str]:
    """Variants of the experiment: those of the reference in its order, then others."""
    found = [name for name in trialpairs.variants(wide) if name != BASELINE]
    order = list(REFERENCE)
    return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


def _completeness(judged: Judged) -> Iterator[Measure]:
    own = trialpairs.scored_in(judged.wide, BASELINE)
    for at, threshold in judged.points.items():
        what = "trials of the baseline above the threshold"
        yield trialpairs.share(f"sensitivity/completeness/{at}", own, BASELINE, threshold, what)


def _mean_changes(judged: Judged) -> Iterator[Measure]:
    for name in _perturbations(judged.wide):
        both = trialpairs.scored_in(judged.wide, BASELINE, name)
        stated = f"; the reference system had {REFERENCE[name]:+.2f} points" if name in REFERENCE else ""
        drawn = " of what the prior draws" if _parameter(name) else ""
        how = f"mean change of paired trials, hosts as clusters; {label(name)}{drawn}{stated}"
        for at, threshold in judged.points.items():
            found = mean_change(trialpairs.changes(both, name, threshold), [both["galaxy_id", BASELINE]])
            yield trialpairs.in_points(f"sensitivity/{name}/change/{at}", found, how)


def _weighted(judged: Judged) -> Iterator[Measure]:
    """The changes under other priors, at every threshold."""
    for prior, weights in judged.weights.items():
        for name in _perturbations(judged.wide):
            if isinstance(weights, str):
                yield missing(f"sensitivity/{name}/{prior}", weights)
                continue
            both = trialpairs.scored_in(judged.wide, BASELINE, name)
            own = weights.reindex(both.index).fillna(0.0).to_numpy()
            how = f"mean change of paired trials weighted to the prior '{prior}', hosts as clusters"
            for at, threshold in judged.points.items():
                found = mean_change(trialpairs.changes(both, name, threshold), [both["galaxy_id", BASELINE]], own)
                yield trialpairs.in_points(f"sensitivity/{name}/{prior}/{at}", found, how)


def _cells(judged: Judged, at: str, params: Params, rng: np.random.Generator) -> Iterator[Measure]:
    """Largest change in a cell and standard deviation over cells, each beside what noise alone does."""
    tails = [50.0 * (1.0 - TABLE_LEVEL), 100.0 - 50.0 * (1.0 - TABLE_LEVEL)]
    for name in _perturbations(judged.wide):
        both = trialpairs.scored_in(judged.wide, BASELINE, name)
        if both.empty:
            continue
        change = trialpairs.changes(both, name, judged.points[at])
        means = pd.Series(change).groupby(both["bin"].to_numpy()).mean()
        noise = largest_by_noise(change, both["bin"], both["galaxy_id", BASELINE], params.sensitivity_permutations, rng)
        seen = (float(means.abs().max()), float(means.std(ddof=0)))
        words = ("largest change in a cell, either sign", "standard deviation of the changes in cells")
        for kind, value, null, what in zip(("largest", "cell_std"), seen, noise, words, strict=True):
            p = float((1 + (null >= value - 1e-12).sum()) / (1 + len(null)))
            how = f"{what}; {len(means)} cells; as large or larger in {p:.3f} of permutations of trials over cells"
            yield Measure(
                f"sensitivity/{name}/{kind}/{at}", trialpairs.POINTS * value, n=len(both), unit="points", method=how
            )
            low, high = trialpairs.POINTS * np.percentile(null, tails)
            how = f"{what} if it were the same everywhere: mean and 95 % range of permutations of trials over cells"
            mean = trialpairs.POINTS * float(null.mean())
            yield Measure(f"sensitivity/{name}/{kind}_by_noise/{at}", mean, low, high, len(both), "points", how)


def _systematic(judged: Judged, at: str) -> Measure:
    """Largest change of each assumption in both directions, added in quadrature; the larger of the two sums."""
    by_parameter: dict[str, list[float]] = {}
    for name in _perturbations(judged.wide):
        both, parameter = trialpairs.scored_in(judged.wide, BASELINE, name), _parameter(name)
        if len(both) and parameter is not None:
            change = float(trialpairs.changes(both, name, judged.points[at]).mean())
            by_parameter.setdefault(parameter, [0.0]).append(change)
    up, down = (sum(end(found) ** 2 for found in by_parameter.values()) for end in (max, min))
    how = "largest change of each assumption, added in quadrature, the larger of both directions; noise adds to it"
    value = trialpairs.POINTS * math.sqrt(max(up, down))
    return Measure(f"sensitivity/systematic/{at}", value, n=len(judged.wide), unit="points", method=how)


def _half_width(completeness: pd.DataFrame, at: str) -> float:
    """Of the 95 % interval of the grid's completeness, in points; NaN where there is none."""
    found = marginal_of(completeness, at)
    return math.nan if found is None else trialpairs.POINTS * (found.high - found.low) / 2.0


def _gate(systematic: Measure, half_width: float, at: str, lacking: Sequence[str]) -> Gate:
    """What is not measured could only add to the systematic: enough for WARN, not for PASS."""
    rule = _RULE.format(at=at)
    if math.isnan(half_width):
        return _no_gate(half_width, at, "that has no interval")
    status: Status = "WARN" if systematic.value > half_width else "PASS"
    if status == "PASS" and lacking:
        return _no_gate(half_width, at, f"not measured: {', '.join(lacking)}")
    return decide("sensitivity/systematic", systematic, half_width, rule, status)


def _unpaired(measures: Sequence[Measure], at: str) -> str:
    """Why no change is measured at a threshold that is."""
    reasons = (reason(m) for m in measures if m.name.endswith(f"/change/{at}"))
    return next(reasons, "no perturbation was made").partition(";")[0]


def _refused(measures: Sequence[Measure], half_width: float, at: str, why: str) -> Outcome:
    """Measures, if there are any, and no verdict, with the reason."""
    said = Finding(f"How much completeness at {at} depends on PSF, sources and lenses is not measured: {why}.")
    held = tuple(measures) or (missing("sensitivity/completeness", why),)
    return Outcome(NAME, held, (_no_gate(half_width, at, why),), findings=(said,))


def _no_gate(half_width: float, at: str, why: str) -> Gate:
    return not_measured("sensitivity/systematic", half_width, f"{_RULE.format(at=at)}; {why}")


def _finding(
    shown: Mapping[str, Measure], known: Mapping[str, Measure], gate: Gate, at: str, params: Params
) -> Finding:
    name, most = max(shown.items(), key=lambda item: abs(item[1].value))
    ends = f"[{most.low:+.1f}, {most.high:+.1f}]"
    if all(m.value == 0.0 for m in shown.values()):
        return Finding(f"No change of an assumption moves completeness at {at}: {ends} points, {most.n:,} trials.")
    moves = f"Completeness at {at} changes most with {label(name)}, by {most.value:+.1f} {ends}"
    largest, noise = (known[f"sensitivity/{name}/{kind}/{at}"] for kind in ("largest", "largest_by_noise"))
    beside = (
        f"its largest change in a cell is {largest.value:.0f} points, where noise alone gives "
        f"{noise.value:.0f} on average"
    )
    verdict = {
        "WARN": f"more than the statistical half-width of {gate.threshold:.1f} points: quote it beside the interval",
        "PASS": f"no more than the statistical half-width of {gate.threshold:.1f} points",
    }.get(gate.status, f"not judged ({gate.rule.rpartition('; ')[2]})")
    together = known[f"sensitivity/systematic/{at}"].value
    others = [(prior, known.get(f"sensitivity/{name}/{prior}/{at}")) for prior in params.sensitivity_priors]
    held = [f"{prior} {m.value:+.1f} [{m.low:+.1f}, {m.high:+.1f}]" for prior, m in others if m and m.n]
    elsewhere = f" Weighted to other priors that change is {', '.join(held)}." if held else ""
    return Finding(
        f"{moves} points; {beside}.{elsewhere} All that are measured, together: {together:.1f} points, {verdict}."
    )
