"""Metrics and curves of each generation, for `dvc metrics show` and `dvc plots show`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.thresholds import marginal_row, points, refused
from analysis.statistics import roc
from analysis.statistics.completeness import cells_at, interval_of
from analysis.statistics.intervals import TABLE_LEVEL, jeffreys
from analysis.statistics.thresholds import REFUSED

_ROC_POINTS = 200
_DIGITS = 6
_OUTCOMES = {"passed": ("PASS", "GO"), "warned": ("WARN", "BORDERLINE"), "failed": ("FAIL", "NO-GO")}
"""Statuses of gates, by the metric that counts them."""


def metrics(item: GenerationInputs, threshold_id: str) -> dict[str, float | int | str]:
    """Metrics of one generation, without those that could not be measured.

    Ranking on the test split, completeness at one threshold with the false-positive rate that it reaches, and gates
    by outcome.
    """
    found = {**_ranking(item.diagnostics), **_completeness(item, threshold_id)}
    gates = {f"gates_{name}": int(item.gates["status"].isin(statuses).sum()) for name, statuses in _OUTCOMES.items()}
    rounded = {name: round(v, _DIGITS) if isinstance(v, float) else v for name, v in found.items() if not pd.isna(v)}
    return {**rounded, **gates}


def curves(inputs: ReportInputs) -> Mapping[str, pd.DataFrame]:
    """Curves of all generations by file name, one row per point: `roc`, `completeness` and `epochs`."""
    threshold_id = inputs.params.headline_threshold_id
    epochs = inputs.training_epochs.sort_values(["generation", "epoch"])
    rocs = [_roc(item) for item in inputs.generations if not item.refusal]
    radii = [by_radius(item, threshold_id) for item in inputs.generations]
    found = {
        "roc": pd.concat(rocs) if rocs else pd.DataFrame(columns=["generation", "fpr", "tpr"]),
        "completeness": pd.concat([rows for rows in radii if len(rows)] or radii[:1]),
        "epochs": epochs[["generation", "epoch", "train_loss", "val_loss", "val_auc"]],
    }
    return {name: frame.round(_DIGITS) for name, frame in found.items()}


def _ranking(diagnostics: pd.DataFrame) -> dict[str, float | str]:
    rows = diagnostics.drop_duplicates("name").set_index("name")
    area = {"auc": "value", "auc_low": "low", "auc_high": "high"}
    rates = [name for name in rows.index if name.startswith("tpr_at_fpr/") and "unlisted" not in name]
    found = {name: rows[column]["auc"] for name, column in area.items()} | {name: rows["value"][name] for name in rates}
    how = rows["method"].astype(str)
    refused = {name: how[name] for name in ("auc", *rates) if how[name].startswith(REFUSED)}
    return {name: refused.get(name, float(value)) for name, value in found.items()}


def _completeness(item: GenerationInputs, threshold_id: str) -> dict[str, float | int | str]:
    row, point = marginal_row(item.completeness, threshold_id), points(item.thresholds).get(threshold_id)
    if point is not None and point.status == REFUSED:
        return {"threshold": threshold_id, "completeness": str(point.reason)}
    if row is None or point is None or refused(point):
        return {"threshold": threshold_id}
    low, high, _ = interval_of(row)
    return {
        "threshold": threshold_id,
        "completeness": float(row["completeness"]),
        "completeness_low": low,
        "completeness_high": high,
        "completeness_unlisted_low": float(row["unlisted_low"]),
        "completeness_unlisted_high": float(row["unlisted_high"]),
        "fpr_reached": float(row["fpr_reached"]),
    }


def _roc(item: GenerationInputs) -> pd.DataFrame:
    """At most some hundred points: the rates of the sample on a logarithmic axis that begins at one false positive."""
    curve = roc.roc_curve(item.scores["label"], item.scores["score"])
    rates = np.geomspace(1.0 / int((item.scores["label"] == 0).sum()), 1.0, _ROC_POINTS)
    place = np.searchsorted(curve.fpr, rates, side="right") - 1
    frame = pd.DataFrame({"generation": item.name, "fpr": curve.fpr[place], "tpr": curve.tpr[place]})
    return frame.drop_duplicates(ignore_index=True)


def by_radius(item: GenerationInputs, threshold_id: str) -> pd.DataFrame:
    """Completeness over all seeings, depths and magnitudes, with its Jeffreys interval."""
    cells = cells_at(item.completeness, threshold_id)
    point = points(item.thresholds).get(threshold_id)
    sums = cells.head(0) if refused(point) else cells
    sums = sums.groupby("theta_e_arcsec", as_index=False)[["detected", "n"]].sum()
    low, high = jeffreys(sums["detected"], sums["n"], TABLE_LEVEL)
    shares = sums["detected"] / sums["n"].where(sums["n"] > 0)
    reached = np.nan if point is None else point.fpr_reached
    rows = sums.assign(generation=item.name, threshold=threshold_id, completeness=shares, low=low, high=high)
    return rows.assign(fpr_reached=reached)
