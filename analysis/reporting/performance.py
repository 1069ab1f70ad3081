"""Sections on ranking, calibration and completeness."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from analysis import roc
from analysis.calibration import reliability
from analysis.compare import INDISTINGUISHABLE, paired_auc_tests, paired_completeness
from analysis.completeness import ALL, MARGINAL
from analysis.figures.completeness import heat_map
from analysis.figures.curves import reliability_figure, roc_figure, score_histograms
from analysis.figures.style import Picture
from analysis.intervals import TABLE_LEVEL
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.views import NOT_MEASURED, TableView, interval, measure, measured, number, percent

PROBE = "realism/injections_against_listed_lenses/probe_auc"
"""The measure every completeness figure stands beside."""
_FEW = 2


def headline_view(inputs: ReportInputs) -> TableView:
    """One row per generation: the numbers a reader takes away, each with what it depends on."""
    threshold = inputs.params.headline_threshold_id
    rows = []
    for item in inputs.generations:
        marginal = marginal_row(item.completeness, threshold)
        rows.append(
            [
                item.name,
                measured(item.diagnostics, "auc"),
                measured(item.diagnostics, "trivial/auc"),
                measured(item.diagnostics, "tpr_at_fpr/0.01", as_percent=True),
                _tier_a_recall(item, threshold),
                "no grid" if marginal is None else best_interval(marginal),
                measured(item.diagnostics, PROBE),
            ]
        )
    headers = (
        "model",
        "AUC",
        "AUC, trivial features",
        "TPR at FPR 1 %",
        f"Tier A recall, {threshold}",
        f"completeness, {threshold}",
        "realism gate: probe AUC",
    )
    return TableView(_headline_caption(inputs, threshold), headers, rows)


def marginal_row(completeness: pd.DataFrame, threshold_id: str, source_mag_bin: str = ALL) -> pd.Series | None:
    """The marginal of one threshold and magnitude bin, or None."""
    if completeness.empty:
        return None
    chosen = (completeness["cell"] == MARGINAL) & (completeness["threshold_id"] == threshold_id)
    found = completeness[chosen & (completeness["source_mag_bin"] == source_mag_bin)]
    return found.iloc[0] if len(found) else None


def marginal_view(item: GenerationInputs) -> TableView:
    """Marginal completeness per threshold and source-magnitude bin."""
    marginals = item.completeness[item.completeness["cell"] == MARGINAL]
    bins = [ALL, *sorted(set(marginals["source_mag_bin"]) - {ALL})]
    rows = []
    for threshold_id, group in marginals.groupby("threshold_id", sort=False):
        whole = marginal_row(group, str(threshold_id))
        if whole is None:
            continue
        cells = [marginal_row(group, str(threshold_id), name) for name in bins]
        shares = ["—" if cell is None else best_interval(cell) for cell in cells]
        counts = f"{int(whole['detected']):,} / {int(whole['n']):,}"
        rows.append(
            [
                str(threshold_id),
                number(float(whole["threshold"]), 5),
                counts,
                number(None if pd.isna(whole["hosts"]) else int(whole["hosts"])),
                *shares,
            ]
        )
    failed = int(marginals.loc[marginals["source_mag_bin"] == ALL, "failed"].max())
    caption = (
        f"{item.name}: marginal completeness, sum of detected over sum of scored; 95 % intervals, host-clustered (h) "
        f"or Jeffreys (j). {failed:,} failed injections are in no denominator."
    )
    mags = [f"source r {name}" if name != ALL else "all magnitudes" for name in bins]
    return TableView(caption, ("threshold", "probability >", "detected / scored", "hosts", *mags), rows)


def identity_view(inputs: ReportInputs) -> TableView:
    """What each completeness figure refers to: grid, prior, weighting, model, realism gate."""
    rows = []
    for item in inputs.generations:
        for grid, group in item.completeness.groupby("grid_id"):
            facts = "; ".join(f"{key} {value}" for key, value in inputs.grids.get(str(grid), {}).items())
            first = group.iloc[0]
            empty = int(((group["source_mag_bin"] == ALL) & (group["n"] == 0)).sum() / group["threshold_id"].nunique())
            rows.append(
                [
                    item.name,
                    item.checkpoint_id,
                    str(grid),
                    str(first["prior"]),
                    str(first["weighting_id"]),
                    facts or "—",
                    str(empty),
                    measured(item.diagnostics, PROBE),
                ]
            )
    headers = ("model", "checkpoint", "grid", "prior", "weighting", "grid's facts", "empty cells", "probe AUC")
    return TableView("What every completeness figure below refers to", headers, rows)


def heat_maps(inputs: ReportInputs) -> list[Picture]:
    """One heat map per generation at the headline threshold, on one colour scale."""
    threshold = inputs.params.headline_threshold_id
    shown = {item.name: _shown_cells(item.completeness, threshold) for item in inputs.generations}
    top = max((float(rows["completeness"].max()) for rows in shown.values() if len(rows)), default=0.0)
    return [
        heat_map(item.completeness, threshold, _figure_title(item, threshold), top)
        for item in inputs.generations
        if len(shown[item.name])
    ]


def _shown_cells(rows: pd.DataFrame, threshold_id: str) -> pd.DataFrame:
    if rows.empty:
        return rows
    chosen = (rows["threshold_id"] == threshold_id) & (rows["source_mag_bin"] == ALL) & (rows["cell"] != MARGINAL)
    return rows[chosen]


def paired_completeness_view(inputs: ReportInputs) -> TableView | None:
    """Every pair of generations on the same injections, each at its own thresholds."""
    rows = []
    for a, b in itertools.combinations(inputs.generations, 2):
        if a.injections.empty or b.injections.empty or set(a.injections["grid_id"]) != set(b.injections["grid_id"]):
            continue
        for name in a.completeness["threshold_id"].unique():
            first, second = marginal_row(a.completeness, name), marginal_row(b.completeness, name)
            if first is None or second is None:
                continue
            test = paired_completeness(a.injections, b.injections, first["threshold"], second["threshold"])
            verdict = INDISTINGUISHABLE if test.indistinguishable else "differs"
            change = f"{100 * test.difference:+.2f} pp [{100 * test.low:+.2f}, {100 * test.high:+.2f}]"
            p_value = f"{test.mcnemar_p:.2g}"
            rows.append(
                [f"{b.name} − {a.name}", name, f"{test.n:,}", change, test.only_a, test.only_b, p_value, verdict]
            )
    headers = ("pair", "threshold", "injections", "change", "only first", "only second", "McNemar p (exact)", "verdict")
    caption = (
        "Completeness of two models on the same injections; intervals by host. Below two standard errors a change is "
        "called indistinguishable, whatever its sign. McNemar's test takes injections as independent."
    )
    return TableView(caption, headers, rows) if rows else None


def paired_auc_view(inputs: ReportInputs) -> TableView | None:
    """Paired DeLong tests between generations."""
    if len(inputs.generations) < _FEW:
        return None
    tests = paired_auc_tests({item.name: item.scores for item in inputs.generations})
    rows = [
        [
            f"{row['b']} − {row['a']}",
            interval(row["difference"], row["low"], row["high"], 4),
            f"{row['standard_error']:.4f}",
            f"{row['z']:+.2f}",
            f"{row['p_value']:.2g}",
            f"{row['objects']:,}",
            row["verdict"],
        ]
        for row in tests.to_dict("records")
    ]
    caption = (
        "Paired DeLong tests of the AUC on the same objects. A difference below two standard errors is called "
        "indistinguishable, whatever its sign."
    )
    return TableView(caption, ("pair", "difference in AUC", "standard error", "z", "p", "objects", "verdict"), rows)


def ranking_figures(inputs: ReportInputs) -> list[Picture]:
    """ROC with bands and the trivial baseline; score histograms with the headline thresholds."""
    found = {}
    for item in inputs.generations:
        labels = item.scores["label"].to_numpy()
        positives = int((labels == 1).sum())
        found[item.name] = (roc.roc_curve(labels, item.scores["score"]), positives, len(labels) - positives)
    base = inputs.baseline
    baseline = roc.roc_curve(base["label"], base["score"]) if len(base) else None
    first = inputs.generations[0].diagnostics
    names = [name for name in first["name"] if str(name).startswith("threshold/p")] if len(first) else []
    marks = {str(name).split("/")[1]: float(first.loc[first["name"] == name, "value"].iloc[0]) for name in names}
    return [roc_figure(found, baseline), score_histograms({i.name: i.scores for i in inputs.generations}, marks)]


def calibration_figure(inputs: ReportInputs) -> Picture:
    """Reliability curves of every generation."""
    return reliability_figure(
        {
            item.name: reliability(
                item.scores["label"], item.scores["probability"], inputs.calibration_bins, TABLE_LEVEL
            )
            for item in inputs.generations
        }
    )


def metric_view(inputs: ReportInputs, caption: str, prefixes: tuple[str, ...], folded: bool = False) -> TableView:
    """Every measure under some prefixes: one row per name, one column per generation."""
    names: list[str] = []
    for item in inputs.generations:
        for name in item.diagnostics.get("name", pd.Series(dtype=str)):
            if name not in names and any(name == p or name.startswith(f"{p}/") for p in prefixes):
                names.append(name)
    rows = []
    for name in names:
        row = next(found for item in inputs.generations if (found := measure(item.diagnostics, name)) is not None)
        n = "—" if pd.isna(row["n"]) or not row["n"] else f"{int(row['n']):,}"
        rows.append(
            [name, *(measured(i.diagnostics, name, digits=4) for i in inputs.generations), n, row["method"] or ""]
        )
    headers = ("quantity", *(item.name for item in inputs.generations), "n", "how")
    return TableView(caption, headers, rows, folded)


def best_interval(row: pd.Series) -> str:
    """A completeness with its host-clustered interval (h), or the Jeffreys one (j) where hosts are not known."""
    known = not (pd.isna(row["host_clustered_95_low"]) or pd.isna(row["host_clustered_95_high"]))
    kind, mark = ("host_clustered_95", "h") if known else ("jeffreys_95", "j")
    text = percent(row["completeness"], row[f"{kind}_low"], row[f"{kind}_high"])
    return text if text == "—" else f"{text}\u00a0{mark}"


def _tier_a_recall(item: GenerationInputs, threshold: str) -> str:
    """The recall behind the leakage guard where it was measured, else that of the whole split."""
    guarded = measured(item.diagnostics, f"lens_recall/tier_A/{threshold}", as_percent=True)
    if guarded != NOT_MEASURED:
        return guarded
    return measured(item.diagnostics, f"recall/tier_A/{threshold}", as_percent=True)


def _headline_caption(inputs: ReportInputs, threshold: str) -> str:
    priors = sorted({str(p) for item in inputs.generations for p in item.completeness.get("prior", [])})
    grids = sorted({str(g) for item in inputs.generations for g in item.completeness.get("grid_id", [])})
    sizes = ""
    if inputs.generations:
        labels = inputs.generations[0].scores["label"].to_numpy()
        sizes = f" ({int(np.sum(labels == 1)):,} listed lenses, {int(np.sum(labels == 0)):,} negatives)"
    return (
        f"Ranking metrics on the {inputs.reported_split} split{sizes}. Completeness: threshold {threshold}, prior "
        f"{', '.join(priors) or 'none'}, grid {', '.join(grids) or 'none'}, all source magnitudes; 95 % intervals, "
        "host-clustered (h) or Jeffreys (j)."
    )


def _figure_title(item: GenerationInputs, threshold: str) -> str:
    first = item.completeness.iloc[0]
    probe = measured(item.diagnostics, PROBE)
    return f"{item.name}, {threshold}, prior {first['prior']}, grid {first['grid_id']}; realism probe AUC {probe}"
