"""Diagnostic: why is the recall of lenses not the completeness of injections? One thing at a time.

Each term is a change of completeness, in points, when one thing is made as it is in lenses; positive terms close a gap
in which lenses are found more often than injections. Terms are measured one at a time, and they overlap: their sum need
not be the gap, and what is left is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from analysis.comparisons import trialpairs
from analysis.diagnostics.gap_terms import NAME, Judged, Params, terms, unknown
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Measure, Outcome, Point
from analysis.statistics.completeness import Marginal, marginal_of
from analysis.statistics.thresholds import why_not

__all__ = ["FIGURES", "Params", "conclude"]

FIGURES = {
    "gap_budget/terms": Drawing(
        "Why lenses and injections are not found equally often: what completeness gains by one change at a time",
        "what is changed",
        "change of completeness (points)",
        "bars",
        reference=0.0,
    )
}
_TERMS = ("geometry", "visibility", "host", "morphology", "psf", "noise", "renderer")
_SUPPOSED = ("psf", "noise")
"""Assumptions about the images, which count in the sum only where the renderer's own error is not measured."""
_JOINTLY = "terms overlap, so their sum need not be the gap"


def conclude(subject: Subject, params: Params, others: Outcome) -> Outcome:
    """The gap, its terms, their sum and the remainder of one finder; what cannot be measured says why.

    `others` is what the other diagnostics found.
    """
    at, points = params.gap_threshold, trialpairs.measurable(subject.thresholds)
    if at not in points or subject.injections.empty:
        why = why_not(subject.thresholds, at) if at not in points else "there are no scored injections"
        refused = tuple(unknown(name, why) for name in ("gap", *_TERMS, "sum", "remainder"))
        return Outcome(NAME, refused, findings=(Finding(f"The gap is not measured: {why}."),))
    found, measures = marginal_of(subject.completeness, at), {m.name: m for m in others.measures}
    listed = _gap(measures, "gap", f"lens_recall/all/{at}", 100.0, found)
    of_true = _gap(measures, "gap_of_true", f"closure/true/{at}", 1.0, found)
    made = terms(Judged(subject, measures, params, at, points[at]))
    known = {m.name: m for m in made}
    total = _sum(made)
    rest = [_remainder("remainder", listed, total), _remainder("remainder_of_true", of_true, total)]
    joint = _together(measures, found, at)
    known |= {m.name: m for m in (listed, of_true, *made, total, *rest, joint)}
    shown = [known[f"{NAME}/{name}"] for name in ("gap", *_TERMS, "sum", "remainder")]
    return Outcome(NAME, tuple(known.values()), findings=(Finding(_words(known, at)),), points=tuple(_points(shown)))


def _gap(measures: Mapping[str, Measure], name: str, recall: str, scale: float, found: Marginal | None) -> Measure:
    """A recall minus the completeness of injections."""
    lenses = measures.get(recall)
    if lenses is None or math.isnan(lenses.value):
        return unknown(name, f"{recall} is not measured" if lenses is None else lenses.method)
    if found is None:
        return unknown(name, "the grid has no completeness at this threshold")
    c, c_low, c_high = 100.0 * found.value, 100.0 * found.low, 100.0 * found.high
    r, r_low, r_high = (scale * value for value in (lenses.value, lenses.low, lenses.high))
    low, high = r - c - math.hypot(r - r_low, c_high - c), r - c + math.hypot(r_high - r, c - c_low)
    how = f"recall ({recall}, {r:.1f} %) minus completeness of all injections ({c:.1f} %); Newcombe's interval"
    return Measure(f"{NAME}/{name}", r - c, low, high, lenses.n, "points", how)


def _sum(made: Sequence[Measure]) -> Measure:
    """The terms that count, added; their errors as if independent."""
    known = {m.name.rpartition("/")[2]: m for m in made if not math.isnan(m.value)}
    if "renderer" in known:
        known = {name: m for name, m in known.items() if name not in _SUPPOSED}
    if not known:
        return unknown("sum", "no term is measured")
    value, low, high = _added([(1.0, m) for m in known.values()])
    how = f"{', '.join(known)}; {_JOINTLY}; errors added as if independent"
    return Measure(f"{NAME}/sum", value, low, high, min(m.n for m in known.values()), "points", how)


def _remainder(name: str, gap: Measure, total: Measure) -> Measure:
    """What the terms leave."""
    if math.isnan(gap.value) or math.isnan(total.value):
        return unknown(name, next(m.method for m in (gap, total) if math.isnan(m.value)))
    value, low, high = _added([(1.0, gap), (-1.0, total)])
    how = f"gap minus sum; {_JOINTLY}; errors added as if independent"
    return Measure(f"{NAME}/{name}", value, low, high, gap.n, "points", how)


def _together(measures: Mapping[str, Measure], found: Marginal | None, at: str) -> Measure:
    """Injections weighted to all that is known of the lenses and their hosts, minus all with equal weights."""
    true, whole = (measures.get(f"closure/{name}/{at}") for name in ("true", "whole"))
    if found is None or true is None or whole is None or math.isnan(whole.value):
        return unknown("together", f"closure/whole/{at} is not measured")
    value = true.value + whole.value - 100.0 * found.value
    errors = [(whole.value - whole.low, whole.high - whole.value), (100.0 * (found.high - found.value),) * 2]
    low, high = (math.hypot(*(error[side] for error in errors)) for side in (0, 1))
    how = (
        f"geometry, visibility, sources and hosts of the lenses at once (closure/whole/{at}) minus all with "
        "equal weights; "
    )
    text = f"{how}errors added as if independent, though both come from the same injections"
    return Measure(f"{NAME}/together", value, value - low, value + high, whole.n, "points", text)


def _added(made: Sequence[tuple[float, Measure]]) -> tuple[float, float, float]:
    """Signed sum, and its interval with errors added in quadrature on each side."""
    value = sum(sign * m.value for sign, m in made)
    down = [m.value - m.low if sign > 0 else m.high - m.value for sign, m in made]
    up = [m.high - m.value if sign > 0 else m.value - m.low for sign, m in made]
    return value, value - math.hypot(*down), value + math.hypot(*up)


def _points(made: Sequence[Measure]) -> Iterator[Point]:
    held = [m for m in made if not math.isnan(m.value)]
    for place, m in enumerate(held):
        yield Point("gap_budget/terms", "completeness", place, m.value, m.low, m.high, m.n, m.name.rpartition("/")[2])


def _words(known: Mapping[str, Measure], at: str) -> str:
    def of(name: str) -> str:
        m = known[f"{NAME}/{name}"]
        if name == "psf":
            return f"within [{m.low:+.1f}, {m.high:+.1f}]"
        return f"{m.value:+.1f} [{m.low:+.1f}, {m.high:+.1f}]"

    held = [name for name in _TERMS if not math.isnan(known[f"{NAME}/{name}"].value)]
    lacking = [name for name in _TERMS if math.isnan(known[f"{NAME}/{name}"].value)]
    shown = "; ".join(f"{name} {of(name)}" for name in held) or "no term is measured"
    if math.isnan(known[f"{NAME}/gap"].value):
        text = f"The gap at {at} is not measured. Terms (points of completeness): {shown}."
    else:
        text = f"At {at} the recall of listed lenses minus the completeness of injections is {of('gap')} points. "
        text += f"What completeness gains, in points, by one change at a time: {shown}."
        if not math.isnan(known[f"{NAME}/sum"].value):
            text += f" Their sum is {of('sum')}, so {of('remainder')} points remain; terms overlap and need not add up."
    return text + (f" Not measured: {', '.join(lacking)}." if lacking else "")
