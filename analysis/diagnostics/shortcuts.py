"""Diagnostic: do the data offer shortcuts?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.diagnostics.trivial import FITTED, Floats, fit_score, lacking_class, logistic, require_classes
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, Status, decide, gate_below, plotted, unmeasured
from analysis.statistics.roc import auc_measure
from lake.sky.imaging import Imaging

_SEEN = ("core", "radial profile")
_FIGURE = "shortcuts/auc"
_GATES = (
    ("shortcut/core_only", "AUC of a classifier given only the core"),
    ("shortcut/radial_profile", "AUC of a classifier given only the radial profile"),
    ("shortcut/core_brightness", "difference of mean cores"),
    ("shortcut/normalisation", "Cohen d of the annulus median and MAD"),
)
"""Gates and what they are about."""
FIGURES = {
    _FIGURE: Drawing("Linear classifiers given only the core or the radial profile", "given", "AUC", reference=0.5)
}


class Params(DiagnosticParams):
    """The allowed differences between classes."""

    core_brightness_tolerance: float = Field(0.10, gt=0)
    """Allowed relative difference of core brightness between classes."""
    core_auc_max: float = Field(0.55, gt=0.5, lt=1)
    """Largest AUC of a classifier given only the core."""
    profile_auc_max: float = Field(0.60, gt=0.5, lt=1)
    """Largest AUC of a classifier given only the radial profile."""
    normalisation_d_max: float = Field(0.1, gt=0)
    """Largest Cohen d of the normalisation statistics between classes."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The shortcuts of the training and test rows."""
    rows = subject.learned
    if (why := lacking_class(rows["label"].to_numpy(), rows["split"].to_numpy())) is not None:
        said = "Shortcuts between lenses and negatives are not measured"
        return unmeasured(
            "shortcuts", why, "shortcut/core_only_auc", {name: (0.0, rule) for name, rule in _GATES}, said
        )
    return shortcuts(subject.features, rows["label"].to_numpy(), rows["split"].to_numpy(), subject.imaging, params)


def shortcuts(features: pd.DataFrame, labels: ArrayLike, split: ArrayLike, imaging: Imaging, params: Params) -> Outcome:
    """The shortcut gates: core brightness, core-only AUC, radial-profile AUC, Cohen d of normalisation statistics.

    Real lens galaxies are brighter than random ones, so a WARN on survey data says what the network may lean on;
    on simulated training sets with matched hosts it is a fault of the set.
    """
    y, where = np.asarray(labels), np.asarray(split)
    train, test = where == "train", where == "test"
    require_classes(y, train, test)
    core = features[[f"trivial/core_mean_{band}" for band in imaging.bands]].to_numpy(float)
    profile = features[[name for name in features.columns if name.startswith("profile/")]].to_numpy(float)
    gates, measures = [], []
    for name, values, limit in (
        ("core_only", core, params.core_auc_max),
        ("radial_profile", profile, params.profile_auc_max),
    ):
        scores = fit_score(logistic(), np.arcsinh(values * 100), y, train, test)
        measure = auc_measure(f"shortcut/{name}_auc", y[test], scores, FITTED)
        seen = name.removesuffix("_only").replace("_", " ")
        rule = f"AUC of a logistic classifier given only the {seen} < {limit:g}"
        measures.append(measure)
        gates.append(gate_below(f"shortcut/{name}", measure, limit, rule, miss="WARN"))
    more, more_gates = _class_differences(features, y, imaging, params)
    points = [plotted(one, _FIGURE, "a linear classifier", place, _SEEN[place]) for place, one in enumerate(measures)]
    said = (Finding(_said(measures, more, more_gates)),)
    return Outcome("shortcuts", (*measures, *more), (*gates, *more_gates), findings=said, points=tuple(points))


def _said(areas: Sequence[Measure], differences: Sequence[Measure], gates: Sequence[Gate]) -> str:
    """The finding, in words."""
    parts = [
        f"the {seen} alone with AUC {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"
        for seen, one in zip(_SEEN, areas, strict=True)
    ]
    text = f"A linear classifier tells lenses from negatives by {' and by '.join(parts)}"
    return (
        f"{text}. Their mean cores differ by {100 * differences[0].value:.0f} %, the statistics of their annulus by a "
        f"Cohen d of at most {gates[-1].value:.2f}. Real lens galaxies are brighter than random ones: this says what a "
        "network may lean on, not that it does."
    )


def cohen_d(a: Floats, b: Floats) -> float:
    """Difference of the means over the pooled standard deviation."""
    pooled = ((len(a) - 1) * np.var(a, ddof=1) + (len(b) - 1) * np.var(b, ddof=1)) / (len(a) + len(b) - 2)
    return float((np.mean(a) - np.mean(b)) / np.sqrt(pooled)) if pooled > 0 else 0.0


def _class_differences(
    features: pd.DataFrame, y: NDArray[np.int_], imaging: Imaging, params: Params
) -> tuple[list[Measure], list[Gate]]:
    band = imaging.reference_band
    core = features[f"trivial/core_mean_{band}"].to_numpy(float)
    positive, negative = core[y == 1].mean(), core[y == 0].mean()
    n, how = len(y), f"{band} band, means"
    ratio = Measure("shortcut/core_brightness_difference", abs(positive / negative - 1.0), n=n, method=how)
    limit = params.core_brightness_tolerance
    rule = f"|mean core of positives / negatives - 1| < {limit:g}"
    gates = [decide("shortcut/core_brightness", ratio, limit, rule, "PASS" if ratio.value < limit else "WARN")]
    names = [name for name in features.columns if name.startswith("annulus0/")]
    d = {name: cohen_d(features.loc[y == 1, name].to_numpy(), features.loc[y == 0, name].to_numpy()) for name in names}
    measures = [Measure(f"shortcut/cohen_d/{name.split('/')[1]}", value, n=n) for name, value in d.items()]
    largest, limit = max(abs(value) for value in d.values()), params.normalisation_d_max
    rule = f"largest |Cohen d| of the annulus median and MAD between classes < {limit:g}"
    status: Status = "PASS" if largest < limit else "WARN"
    gates.append(decide("shortcut/normalisation", Measure("", largest), limit, rule, status))
    return [ratio, *measures], gates
