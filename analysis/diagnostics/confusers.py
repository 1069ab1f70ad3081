"""Diagnostic: which kinds of galaxies does the finder mistake for lenses?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Measure, Outcome, Point, gate_below, missing, plotted, unmeasured
from analysis.results.untouched import FEWEST, NEGATIVE
from analysis.statistics.intervals import difference, share
from analysis.statistics.thresholds import Threshold

UNTOUCHED = True
_BY_KIND = "confusers/fpr_by_category"
_BY_TYPE = "confusers/fpr_by_type"
FIGURES = {
    _BY_KIND: Drawing(
        "Negatives above the threshold by confuser category", "category", "false-positive rate", percent=True
    ),
    _BY_TYPE: Drawing("Negatives above the threshold by Tractor type", "type", "false-positive rate", percent=True),
}
RANDOM, LOOK_ALIKE = "random", "all"
"""Names of the negatives drawn at random (N1), and of confusers of any category (N2)."""
_BEFOREHAND = ("fixed", "not selective")


class Params(DiagnosticParams):
    """How much more often confusers are mistaken for lenses."""

    confuser_threshold: str = "p0.5"
    """Threshold at which the gate compares confusers with random negatives."""
    confuser_excess_max: float = Field(0.05, gt=0, lt=1)
    """Largest excess of the false-positive rate of confusers over that of random negatives."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The untouched negatives of the test split."""
    held = subject.untouched
    if (why := held.refusal((NEGATIVE,))) is not None:
        return _nothing(why, params)
    objects = held.objects
    return confuser_rates(objects[objects["label"] == 0], subject.thresholds, params)


def confuser_rates(negatives: pd.DataFrame, thresholds: Sequence[Threshold], params: Params) -> Outcome:
    """False-positive rates by confuser category, by Tractor type, and by both at the thresholds chosen beforehand.

    `negatives`: `probability`, `confuser_category` (null for those drawn at random), `type_bin`. Some negatives may be
    lenses that no list knows; they are in these rates.
    """
    groups = dict(_groups(negatives))
    points = [point for point in thresholds if point.measurable]
    if "confuser_category" not in negatives.columns or LOOK_ALIKE not in groups:
        return _nothing("no negative of the test split is a confuser by catalogue", params)
    measures = [
        share(f"confuser_fpr/{name}/{point.threshold_id}", _above(group, point), len(group))
        for point in points
        for name, group in groups.items()
        if name.count("/") < 2 or point.status in _BEFOREHAND
    ]
    excess = _excess(groups, points, params)
    rule = (
        f"false-positive rate of confusers minus that of random negatives at {params.confuser_threshold} below "
        f"{params.confuser_excess_max:g}"
    )
    gate = gate_below("confusers", excess, params.confuser_excess_max, rule, miss="WARN")
    findings = (_finding(measures, excess, params),)
    return Outcome("confusers", (*measures, excess), (gate,), findings=findings, points=tuple(_points(measures)))


def _groups(negatives: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Negatives by what they are: category, type, and both."""
    if "confuser_category" in negatives.columns:
        kinds = negatives["confuser_category"]
        yield RANDOM, negatives[kinds.isna()]
        if kinds.notna().any():
            yield LOOK_ALIKE, negatives[kinds.notna()]
        yield from ((str(name), group) for name, group in negatives.groupby(kinds))
        for (name, type_), group in negatives.groupby([kinds, "type_bin"], observed=True):
            yield f"{name}/type/{type_}", group
    yield from ((f"type/{name}", group) for name, group in negatives.groupby("type_bin", observed=True))


def _above(group: pd.DataFrame, point: Threshold) -> int:
    return int((group["probability"] > point.threshold).sum())


def _excess(groups: dict[str, pd.DataFrame], points: Sequence[Threshold], params: Params) -> Measure:
    """Rate of confusers minus that of random negatives."""
    name = f"confuser_fpr/excess/{params.confuser_threshold}"
    point = next((one for one in points if one.threshold_id == params.confuser_threshold), None)
    confusers, others = groups[LOOK_ALIKE], groups[RANDOM]
    if point is None:
        return missing(name, f"there is no threshold {params.confuser_threshold}")
    if min(len(confusers), len(others)) < FEWEST:
        return missing(name, f"fewer than {FEWEST} confusers, or random negatives")
    counts = [(_above(group, point), len(group)) for group in (confusers, others)]
    return difference(name, counts[0], counts[1], "confusers minus random negatives, Newcombe")


def _points(measures: Sequence[Measure]) -> Iterator[Point]:
    places: dict[str, dict[str, int]] = {_BY_KIND: {}, _BY_TYPE: {}}
    for each in measures:
        what, at = each.name.removeprefix("confuser_fpr/").rsplit("/", 1)
        figure, label = (_BY_TYPE, what.removeprefix("type/")) if what.startswith("type/") else (_BY_KIND, what)
        if "/" not in label and np.isfinite(each.value):
            held = places[figure]
            words = "all confusers" if label == LOOK_ALIKE else label.replace("_", " ")
            yield plotted(each, figure, at, float(held.setdefault(label, len(held))), words)


def _finding(measures: Sequence[Measure], excess: Measure, params: Params) -> Finding:
    at = params.confuser_threshold
    if not np.isfinite(excess.value):
        return Finding(f"Confusers are not compared with random negatives: {excess.method}.")
    rates = {
        one.name.split("/")[1]: one for one in measures if one.name.endswith(f"/{at}") and one.name.count("/") == 2
    }
    special = {name: one for name, one in rates.items() if name not in (RANDOM, LOOK_ALIKE)}
    worst = max(special, key=lambda name: special[name].value)
    kinds = {RANDOM: rates[RANDOM], LOOK_ALIKE: rates[LOOK_ALIKE], worst: special[worst]}
    words = {
        RANDOM: "random negatives",
        LOOK_ALIKE: "confusers",
        worst: f"confusers of the category {worst.replace('_', ' ')}",
    }
    said = [
        f"{100 * one.value:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}] of {one.n:,} {words[name]}"
        for name, one in kinds.items()
    ]
    reading = "more often" if excess.low > 0 else "less often" if excess.high < 0 else "not measurably more often"
    return Finding(
        f"Above {at} are {', '.join(said)}: confusers are taken for lenses {reading} "
        f"(difference {100 * excess.value:+.1f} [{100 * excess.low:+.1f}, {100 * excess.high:+.1f}] points)."
    )


def _nothing(why: str, params: Params) -> Outcome:
    measure = f"confuser_fpr/excess/{params.confuser_threshold}"
    gates = {"confusers": (params.confuser_excess_max, "confusers against random negatives")}
    return unmeasured("confusers", why, measure, gates, "Confusers are not measured")
