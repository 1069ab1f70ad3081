"""Section on calibration: reliability of all objects and by stratum, and the calibrators of every finder."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from analysis.figures.curves import reliability_figure
from analysis.figures.reliability import reliability_by_stratum
from analysis.figures.style import Picture
from analysis.page.answer import first
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.sources import of_figures, of_models
from analysis.reporting.views import Shown, TableView, measured, number
from analysis.results.discoveries import CALIBRATOR
from analysis.statistics.calibration import Reliability, reliability
from analysis.statistics.calibrators import METHODS
from analysis.statistics.intervals import TABLE_LEVEL

RAW, SHOWN = "calibration/reliability", f"calibrated/{CALIBRATOR}/reliability"
"""Figures of `figure_points`: of raw probabilities, and of those of the calibrator that is shown."""
_STRATUM = r"^stratum/([^/]+)/(.+)/calibration/ece$"
"""Measures that name the strata with a calibration error of their own."""


def figure(inputs: ReportInputs) -> Shown | None:
    """Reliability curves of every generation."""
    tested = {item.name: item.scores for item in inputs.generations if not item.refusal and len(item.scores)}
    curves = curves_of(tested, inputs.params.calibration_bins)
    if not curves:
        return None
    words = "Reliability of raw probabilities. Error bars: Jeffreys 95 %. Below: objects per bin."
    source = of_models("scores", "generation, galaxy_id, label, probability", tested, "split = 'test'")
    return Shown(reliability_figure(curves), words, "reliability", _rows(curves), source)


def curves_of(tested: Mapping[str, pd.DataFrame], bins: int) -> dict[str, Reliability]:
    """Reliability of the raw probabilities of each finder's test objects (`label`, `probability`)."""
    return {name: reliability(rows["label"], rows["probability"], bins, TABLE_LEVEL) for name, rows in tested.items()}


def by_stratum(inputs: ReportInputs) -> Shown | None:
    """Reliability of the finder shown first by stratum, raw and calibrated; None where no stratum has enough lenses."""
    item = first(inputs)
    picture, points = strata_picture(item), stratified(item)
    if picture is None:
        return None
    words = (
        f"Reliability of {item.name} by stratum of the test split. Top: raw probabilities; bottom: those of the "
        f"calibrator {CALIBRATOR} at the split's share of lenses. Strata with too few lenses or negatives are left "
        "out. Error bars: Jeffreys 95 %."
    )
    source = of_figures([item.name], [f"{RAW}/", f"{SHOWN}/"])
    return Shown(picture, words, "reliability-strata", points, source)


def stratified(item: GenerationInputs) -> pd.DataFrame:
    """Rows of `figure_points` with a finder's reliability by stratum."""
    return item.points[item.points["figure"].astype(str).str.startswith((f"{RAW}/", f"{SHOWN}/"))]


def strata_picture(item: GenerationInputs) -> Picture | None:
    """Reliability of a finder by stratum, raw and calibrated."""
    points = stratified(item)
    return None if points.empty else reliability_by_stratum({"raw": RAW, CALIBRATOR: SHOWN}, points)


def calibrators_view(inputs: ReportInputs) -> TableView | None:
    """Every calibrator of every finder: its map, its fold, where it holds, and how well on the test split."""
    rows = [row for item in inputs.generations for row in _calibrators(item)]
    caption = (
        "Calibrators map a finder's logit s, whose logistic is p, to a probability P. They are fitted on a fold that "
        "is not tested (where all lenses are, each part of them is measured without itself), and their probabilities "
        "hold where lenses are as frequent as in that fold. Log loss, ECE and slope are measured on the test split, "
        "converted to its share of lenses. Rows with 'none' are of raw probabilities."
    )
    headers = (
        *("finder", "calibrator", "map", "lenses + negatives of the fold", "holds at a lens share of"),
        *("log loss (nats)", "ECE", "Cox slope"),
    )
    return TableView(caption, headers, rows) if rows else None


def _calibrators(item: GenerationInputs) -> list[list[str]]:
    if item.calibrations.empty:
        return []
    rows = [[item.name, "none", "p", "—", "—", *_quality(item, "calibration")]]
    for one in item.calibrations.sort_values("method").to_dict("records"):
        counts = f"{one['lenses']:,} + {one['negatives']:,}"
        held = "—" if pd.isna(one["holds_at"]) else f"{100 * one['holds_at']:.1f}\u00a0%"
        quality = _quality(item, f"calibrated/{one['method']}")
        rows.append([item.name, str(one["method"]), _map(one), counts, held, *quality])
    return rows


def strata_view(inputs: ReportInputs) -> TableView | None:
    """ECE and MCE of the finder shown first in every stratum, raw and by every calibrator; None without strata."""
    item = first(inputs)
    kinds = {"none": "calibration", **{name: f"calibrated/{name}" for name in METHODS}}
    found = item.diagnostics["name"].astype(str).str.extract(_STRATUM).dropna().drop_duplicates()
    rows = [
        [*stratum, *(_errors(item, "/".join(stratum), kind) for kind in kinds.values())] for stratum in found.values
    ]
    caption = (
        f"ECE and MCE of {item.name} by stratum of the test split: of raw probabilities (none), and of those of each "
        "calibrator at the split's share of lenses. Strata with too few lenses or negatives are left out."
    )
    return TableView(caption, ["stratum", "value", *kinds], rows, folded=True) if rows else None


def _errors(item: GenerationInputs, stratum: str, kind: str) -> str:
    ece, mce = (measured(item.diagnostics, f"stratum/{stratum}/{kind}/{name}") for name in ("ece", "mce"))
    return ece if ece == mce else f"{ece}, {mce}"


def _map(one: Mapping[Hashable, Any]) -> str:
    """The map in symbols, or why there is none."""
    if pd.notna(one["reason"]):
        return str(one["reason"])
    if pd.notna(one["steps"]):
        return "steps (table `calibrations`)"
    a, b, c = (number(float(one[key]), 3) for key in "abc")
    if one["method"] == "beta":
        return f"logit P = {c} + {a} ln p − {b} ln(1 − p)"
    sum_ = f"{c} − {a[1:]}" if a.startswith("-") else f"{c} + {a}"
    return f"logit P = {a} s" if one["method"] == "temperature" else f"logit P = {sum_} s"


def _quality(item: GenerationInputs, prefix: str) -> list[str]:
    return [measured(item.diagnostics, f"{prefix}/{name}") for name in ("log_loss", "ece", "cox_slope")]


def _rows(curves: Mapping[str, Reliability]) -> pd.DataFrame:
    parts = []
    for name, curve in curves.items():
        edges = {"probability_low": curve.edges[:-1], "probability_high": curve.edges[1:], "n": curve.count}
        shares = {"predicted": curve.predicted, "observed": curve.observed, "low": curve.low, "high": curve.high}
        parts.append(pd.DataFrame({**edges, **shares}).assign(generation=name))
    return pd.concat(parts)
