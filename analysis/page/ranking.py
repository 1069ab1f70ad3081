"""Section on ranking: ROC curves, scores, and the paired tests of every two finders."""

from __future__ import annotations

import pandas as pd

from analysis.figures.curves import roc_figure, score_histograms
from analysis.figures.strata import strata_figure
from analysis.page.answer import first
from analysis.reporting.compare import paired_auc_tests
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.sources import of_models
from analysis.reporting.thresholds import points
from analysis.reporting.views import Shown, TableView, interval, number
from analysis.statistics import roc


def paired_auc_view(inputs: ReportInputs) -> TableView | None:
    """Paired DeLong tests between generations."""
    refused = {item.name: item.refusal for item in inputs.generations if item.refusal}
    tests = paired_auc_tests({item.name: item.scores for item in inputs.generations}, refused)
    rows = []
    for row in tests.to_dict("records"):
        if refused.keys() & {row["a"], row["b"]}:
            rows.append([f"{row['b']} − {row['a']}", *["—"] * 5, row["verdict"]])
            continue
        difference = interval(row["difference"], row["low"], row["high"], 4)
        z, p, objects = f"{row['z']:+.2f}", f"{row['p_value']:.2g}", f"{row['objects']:,}"
        pair = f"{row['b']} − {row['a']}"
        rows.append([pair, difference, number(row["standard_error"], 2), z, p, objects, row["verdict"]])
    caption = (
        "Paired DeLong tests of the AUC on the same objects. A difference below two standard errors is called "
        "indistinguishable, whatever its sign."
    )
    headers = ("pair", "difference in AUC", "standard error", "z", "p", "objects", "verdict")
    return TableView(caption, headers, rows) if rows else None


def ranking_figures(inputs: ReportInputs) -> list[Shown]:
    """ROC with bands and the trivial baseline, if there are lenses; score histograms with the headline thresholds."""
    scores = {item.name: item.scores for item in inputs.generations if not item.refusal and len(item.scores)}
    base = inputs.baseline
    baseline = roc.roc_curve(base["label"], base["score"]) if len(base) else None
    marks = {
        item.name: {name: point.threshold for name, point in points(item.thresholds).items() if point.measurable}
        for item in inputs.generations
    }
    caption = (
        "ROC on the test split. Bands: 95 % interval of the true-positive rate, including the "
        "uncertainty of the threshold at that rate, where at least ten negatives are above it. Dashed: a "
        "classifier trained on flux, colours, size and core brightness."
    )
    ranked = {name: (rows["label"], rows["score"]) for name, rows in scores.items() if rows["label"].nunique() > 1}
    source = of_models("scores", "generation, galaxy_id, label, score, probability", scores, "split = 'test'")
    held = [rows[["label", "score", "probability"]].assign(generation=name) for name, rows in scores.items()]
    data = pd.concat(held) if held else pd.DataFrame()
    curves = [Shown(roc_figure(ranked, baseline), caption, "roc", data, source)] if ranked else []
    words = "Scores of listed lenses and negatives; dashed: thresholds."
    histograms = [Shown(score_histograms(scores, marks), words, "scores", data, source)] if scores else []
    return [*curves, *histograms]


def strata(inputs: ReportInputs) -> Shown | None:
    """ROC and precision-recall by Tractor type for the finder shown first; None where strata or lenses are missing."""
    item = first(inputs)
    if item.refusal or "type_bin" not in item.scores:
        return None
    held = {"all": item.scores} | {str(name): rows for name, rows in item.scores.groupby("type_bin", observed=True)}
    held = {name: rows for name, rows in held.items() if rows["label"].nunique() > 1}
    if not held:
        return None
    recall, at = _tier_a(item, inputs.params.headline_threshold_id)
    caption = (
        f"ROC and precision-recall of {item.name} by Tractor type of the galaxy (lenses + negatives). Precision is "
        f"that of this sample, with its share of lenses, not of the sky.{at}"
    )
    data = item.scores[["type_bin", "label", "score"]]
    source = of_models("scores", "generation, galaxy_id, label, score", [item.name], "split = 'test'")
    return Shown(strata_figure(held, recall, item.name), caption, "strata", data, source)


def _tier_a(item: GenerationInputs, threshold_id: str) -> tuple[float | None, str]:
    """Recall of the confirmed lenses at a threshold, and what it is in words; None where it has no value."""
    point = points(item.thresholds).get(threshold_id)
    tier = item.scores["tier"] if "tier" in item.scores else pd.Series("", index=item.scores.index)
    lenses = item.scores[(item.scores["label"] == 1) & (tier == "A")]
    if lenses.empty or point is None or not point.measurable:
        return None, ""
    words = f" Dotted: recall of {len(lenses):,} Tier A lenses at {threshold_id}."
    return float((lenses["probability"] > point.threshold).mean()), words
