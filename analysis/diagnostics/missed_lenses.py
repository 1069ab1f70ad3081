"""Diagnostic: which listed lenses does the finder miss, and how do they differ from those it finds?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import scipy
from pydantic import Field

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
    missing,
    not_measured,
    plotted,
    unmeasured,
)
from analysis.results.testlenses import lens_rows, programmes, properties
from analysis.results.untouched import LENS
from analysis.statistics.changes import holm
from analysis.statistics.intervals import TABLE_LEVEL, share
from analysis.statistics.roc import delong
from lake.sky.imaging import Imaging

UNTOUCHED = True
_COMPARED, _SCATTER = "missed_lenses/properties", "missed_lenses/magnitude"
FIGURES = {
    _COMPARED: Drawing(
        "Chance that a missed lens has the larger value than a found one",
        "property",
        "chance",
        percent=True,
        reference=0.5,
    ),
    _SCATTER: Drawing(
        "Probability of each listed test lens over its magnitude",
        "magnitude in the reference band",
        "probability",
        "scatter",
    ),
}
TABLE = "test_lenses"
"""Key of the rows of that table among the arrays."""
_SHOWN = 700


class Params(DiagnosticParams):
    """When missed lenses are compared with those that are found."""

    missed_threshold: str = "p0.5"
    """Threshold below which a lens counts as missed."""
    missed_least: int = Field(5, ge=3)
    """Missed lenses, and found ones, below which their properties are not compared."""
    missed_p: float = Field(0.05, gt=0, lt=1)
    """p-value (Holm) below which a property differs."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The untouched listed lenses of the test split."""
    held = subject.untouched
    if (why := held.refusal((LENS,))) is not None:
        return _nothing(why, params)
    lenses = held.objects[held.objects["label"] == 1]
    point = next((one for one in subject.thresholds if one.threshold_id == params.missed_threshold), None)
    rows = lens_rows(lenses, subject.listed, subject.imaging, point)
    rows["anchor"] = programmes(rows["name"], rows["reference"], params.anchor_lenses)
    return missed_lenses(rows, subject.imaging, params)


def missed_lenses(rows: pd.DataFrame, imaging: Imaging, params: Params) -> Outcome:
    """Properties of missed against found lenses, from rows of `test_lenses`, which are handed on among the arrays.

    For each property the chance that a missed lens has the larger value (the AUC of the property, 0.5 for no
    difference) with DeLong's interval, and the p-value of the Mann-Whitney test, by Holm over all properties.
    """
    missed = rows["missed"].fillna(False).to_numpy(bool)
    if rows.empty or rows["missed"].isna().all():
        why = (
            "no listed lens of the test split has a score" if rows.empty else f"no threshold {params.missed_threshold}"
        )
        return _nothing(why, params, rows)
    count = share(f"missed_lenses/missed/{params.missed_threshold}", int(missed.sum()), len(rows))
    compared = list(_compared(rows, missed, imaging, params))
    adjusted = holm([p for _, p in compared])
    tests = [
        Measure(
            f"{each.name}/p",
            p,
            n=each.n,
            method="Mann-Whitney, Holm over the properties" if np.isfinite(p) else each.method,
        )
        for (each, _), p in zip(compared, adjusted, strict=True)
    ]
    words = {f"missed_lenses/{name}": word for name, word in properties(imaging).items()}
    differs = {
        words[each.name]: each.value
        for (each, _), p in zip(compared, adjusted, strict=True)
        if np.isfinite(p) and p < params.missed_p
    }
    few = min(int(missed.sum()), int((~missed).sum())) < params.missed_least
    gate = _gate(differs, few, params)
    said = _finding(count, differs, few, params)
    points = (*_points([each for each, _ in compared], words), *_scatter(rows, imaging))
    measures = (count, *(each for each, _ in compared), *tests)
    return Outcome("missed_lenses", measures, (gate,), {TABLE: rows}, findings=(said,), points=points)


def _compared(
    rows: pd.DataFrame, missed: np.ndarray, imaging: Imaging, params: Params
) -> Iterator[tuple[Measure, float]]:
    for column in properties(imaging):
        name, values = f"missed_lenses/{column}", pd.to_numeric(rows[column]).to_numpy(float)
        known = np.isfinite(values)
        sizes = [int((known & part).sum()) for part in (missed, ~missed)]
        if min(sizes) < params.missed_least:
            counts = f"{sizes[0]:,} missed and {sizes[1]:,} found lenses"
            why = f"only {counts} have a value, fewer than {params.missed_least} of one kind"
            yield missing(name, why), np.nan
            continue
        area = delong(missed[known].astype(int), values[known], TABLE_LEVEL)
        p = scipy.stats.mannwhitneyu(values[known & missed], values[known & ~missed]).pvalue
        how = "chance that a missed lens has the larger value; DeLong"
        yield Measure(name, area.auc, area.low, area.high, sum(sizes), "", how), float(p)


def _gate(differs: dict[str, float], few: bool, params: Params) -> Gate:
    rule = f"properties that differ between missed and found lenses at Holm p < {params.missed_p:g}; WARN if any does"
    if few:
        return not_measured("missed_lenses", 0.0, f"{rule}; fewer than {params.missed_least} missed, or found")
    status: Status = "WARN" if differs else "PASS"
    return Gate("missed_lenses", status, float(len(differs)), np.nan, np.nan, 0.0, rule)


def _points(compared: Sequence[Measure], words: dict[str, str]) -> Iterator[Point]:
    shown = [each for each in compared if np.isfinite(each.value)]
    for x, each in enumerate(shown):
        yield plotted(each, _COMPARED, "missed against found", float(x), words[each.name])


def _scatter(rows: pd.DataFrame, imaging: Imaging) -> Iterator[Point]:
    magnitude = pd.to_numeric(rows[f"mag_{imaging.reference_band}"]).to_numpy(float)
    tiers = rows["tier"].fillna("none").to_numpy()
    for index in np.flatnonzero(np.isfinite(magnitude))[:_SHOWN]:
        probability = float(rows["probability"].iloc[index])
        yield Point(_SCATTER, f"Tier {tiers[index]}", float(magnitude[index]), probability)


def _finding(count: Measure, differs: dict[str, float], few: bool, params: Params) -> Finding:
    missed = round(count.value * count.n)
    said = f"{missed:,} of {count.n:,} listed test lenses are missed at {params.missed_threshold}"
    if few:
        return Finding(f"{said}, too few to compare with those that are found.")
    parts = [
        f"{'larger' if chance > 0.5 else 'smaller'} {word} (chance {chance:.2f})" for word, chance in differs.items()
    ]
    how = (
        f"they have {', '.join(parts)}; chance: that a missed lens has the larger value"
        if parts
        else "none of their properties differs measurably"
    )
    return Finding(
        f"{said}; {how}, by Mann-Whitney tests with Holm's correction. The table test_lenses names each lens."
    )


def _nothing(why: str, params: Params, rows: pd.DataFrame | None = None) -> Outcome:
    measure = f"missed_lenses/missed/{params.missed_threshold}"
    gates = {"missed_lenses": (0.0, "missed against found lenses")}
    found = unmeasured("missed_lenses", why, measure, gates, "Missed lenses are not compared with found ones")
    return found if rows is None else replace(found, arrays={TABLE: rows})
