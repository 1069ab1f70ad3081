"""Diagnostic: what does the Poisson noise of the arc change?

The same trials with and without that noise, at the finder's own clip range and at others, and with so high a gain that
the answers without noise must come back.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from analysis.comparisons import trials
from analysis.comparisons.trials import Comparison, compared
from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, decide, missing, not_measured
from lake.tables.trials import BASELINE

_ARCS, _NOISY, _HIGH, _CLIPPED = "bright_arcs", "poisson", "high_gain", "poisson_"

FIGURES = {
    "poisson/change": Drawing(
        "Change of bright arcs found, from Poisson noise", "source magnitude", "change (points)", reference=0.0
    )
}

_GAIN = "poisson/high_gain"


class Params(DiagnosticParams):
    """Poisson noise."""

    high_gain_score: float = Field(1e-3, gt=0)
    """Largest change of a score (logit) that counts as rounding where the gain is so high that noise is negligible."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """Noise against none at each clip range; the gain at which nothing may change."""
    clips = [
        name.removeprefix(_CLIPPED) for name in trials.variants(subject.trials, _ARCS) if name.startswith(_CLIPPED)
    ]
    befores = {"own_clip": (BASELINE, _NOISY)} | {clip: (clip, f"{_CLIPPED}{clip}") for clip in clips}
    found = {
        name: compared(f"poisson/{name}", subject.trials, _ARCS, after, params.paired_threshold, before)
        for name, (before, after) in befores.items()
    }
    moved, gate = _recovered(subject, params)
    measures = [measure for one in found.values() for measure in one.measures()]
    points = [
        point for name, one in found.items() if one.refused is None for point in one.points("poisson/change", name)
    ]
    text = _said(found, moved, params.paired_threshold)
    return Outcome("poisson", (*measures, moved), (gate,), findings=(Finding(text),), points=tuple(points))


def _recovered(subject: Subject, params: Params) -> tuple[Measure, Gate]:
    """Largest change of a score at the high gain; FAIL where it is more than rounding, or a decision changes."""
    limit = params.high_gain_score
    rule = f"at a gain without noise no score changes by {limit:g} or more, and no trial changes sides at the threshold"
    both = trials.pairs(subject.trials, _ARCS, BASELINE, _HIGH)
    if both.empty:
        why = trials.lacking(subject.trials, _ARCS, _HIGH) or "no trial was scored in both"
        return missing(_GAIN, why), not_measured(_GAIN, limit, f"{rule}; {why}")
    largest = float((both["score_after"] - both["score_before"]).abs().max())
    sides = [both[f"probability_{when}"] > params.paired_threshold for when in ("before", "after")]
    crossed = int((sides[0] != sides[1]).sum())
    how = f"largest change of a score; {crossed} trials change sides"
    measure = Measure(_GAIN, largest, n=len(both), method=how)
    passed = largest < limit and not crossed
    return measure, decide(_GAIN, measure, limit, rule, "PASS" if passed else "FAIL")


def _said(found: dict[str, Comparison], moved: Measure, threshold: float) -> str:
    own = found["own_clip"]
    if own.refused is not None:
        return f"The effect of Poisson noise is {own.words}."
    text = f"Poisson noise of the arc changes the share of bright arcs found at p > {threshold:g} by {own.words}."
    others = "; ".join(f"{name} {one.words}" for name, one in found.items() if name != "own_clip")
    text += f" With other clip ranges it changes by: {others}." if others else ""
    known = not np.isnan(moved.value)
    return text + (
        f" At a gain so high that the noise is negligible, scores (logits) change by at most {moved.value:.1g}."
        if known
        else ""
    )
