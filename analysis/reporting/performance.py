"""Sections on ranking, calibration and completeness."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.completeness import heat_map
from analysis.reporting.compare import INDISTINGUISHABLE, fixing_of, paired_completeness
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.sources import of_cells
from analysis.reporting.thresholds import (
    INTERVALS,
    NO_GRID,
    best_interval,
    headline,
    marginal_row,
    points,
    rate,
    rates,
    refused,
    shown,
)
from analysis.reporting.views import (
    NOT_MEASURED,
    Shown,
    TableView,
    measure,
    measured,
    number,
    percent,
    reason_for,
    reasons,
    worded,
)
from analysis.statistics.completeness import ALL, MARGINAL, cells_at
from analysis.statistics.paired import PairedShares
from lake.sky.imaging import Imaging

_CELL = [
    *("generation", "theta_e_arcsec", "psf_fwhm_nea_arcsec_low", "psf_fwhm_nea_arcsec_high", "depth_mag_low"),
    *("depth_mag_high", "n", "detected", "hosts", "completeness", "host_clustered_95_low", "host_clustered_95_high"),
    *("joint_95_low", "joint_95_high", "jeffreys_95_low", "jeffreys_95_high"),
]
"""Columns of a cell, with every interval of which the picture shows the most complete one."""
PROBE = "realism/injections_against_listed_lenses/probe_auc"
"""The measure given with every completeness figure."""
TEXTURE_PROBE = "realism/injections_against_listed_lenses/texture_probe_auc"
"""The same in texture features, which every finder has."""


def headline_view(inputs: ReportInputs) -> TableView:
    """One row per generation: the numbers a reader takes away, each with what it depends on."""
    threshold = inputs.params.headline_threshold_id
    rows = [
        [
            item.name,
            headline(item, threshold),
            *(_recall(item, group, threshold) for group in ("all", "tier_A")),
            *(measured(item.diagnostics, name) for name in ("auc", "trivial/auc")),
            probe(item),
        ]
        for item in inputs.generations
    ]
    headers = (
        *("finder", f"completeness, {threshold}", f"recall of listed lenses, {threshold}"),
        *(f"Tier A recall, {threshold}", "AUC", "AUC, trivial features", "realism gate: probe AUC"),
    )
    return TableView(_headline_caption(inputs, threshold), headers, rows)


def probe(item: GenerationInputs) -> str:
    """AUC of the realism probe in the finder's embedding; without one, that it is not measured, and the AUC in texture
    features, which is another measure."""
    row, said = measure(item.diagnostics, PROBE), measured(item.diagnostics, PROBE)
    texture = measure(item.diagnostics, TEXTURE_PROBE)
    if row is None or pd.notna(row["value"]) or texture is None:
        return said
    return f"{NOT_MEASURED} ({measured(item.diagnostics, TEXTURE_PROBE)} in texture features)"


def marginal_view(item: GenerationInputs, imaging: Imaging) -> TableView:
    """Marginal completeness per threshold and source-magnitude bin."""
    marginals = item.completeness[item.completeness["cell"] == MARGINAL]
    bins = [ALL, *sorted(set(marginals["source_mag_bin"]) - {ALL})]
    named = points(item.thresholds)
    rows = []
    for threshold_id in dict.fromkeys([*marginals["threshold_id"], *named]):
        whole = marginal_row(marginals, threshold_id)
        reason = refused(named.get(threshold_id))
        if whole is None or reason is not None:
            rows.append([threshold_id, reason or NO_GRID, rate(item, threshold_id), *["—"] * (len(bins) + 3)])
            continue
        cells = [marginal_row(marginals, threshold_id, name) for name in bins]
        shares = ["—" if cell is None else best_interval(cell) for cell in cells]
        counted = f"{int(whole['detected']):,} / {int(whole['n']):,}"
        hosts = number(None if pd.isna(whole["hosts"]) else int(whole["hosts"]))
        value = number(float(whole["threshold"]), 5)
        sky = whole.reindex(["completeness", "field_clustered_95_low", "field_clustered_95_high"])
        rows.append(
            [
                threshold_id,
                value,
                rate(item, threshold_id),
                counted,
                hosts,
                *shares,
                "—" if sky.isna().any() else percent(*sky),
            ]
        )
    failed = int(marginals.loc[marginals["source_mag_bin"] == ALL, "failed"].max())
    caption = (
        f"{item.name}: marginal completeness, sum of detected over sum of scored; {INTERVALS}. FPR: on test "
        f"negatives. {failed:,} failed injections enter no denominator. For the sky: all magnitudes, with the interval "
        "of completeness over other fields of the sky (bricks, or the declared fields of a set, are clusters), not "
        "over these alone. —: no scored injection of that magnitude, no such threshold, or fields not known."
    )
    mags = [f"source {imaging.reference_band} {name}" if name != ALL else "all magnitudes" for name in bins]
    return TableView(
        caption, ("threshold", "probability >", "FPR reached", "detected / scored", "hosts", *mags, "for the sky"), rows
    )


def identity_view(inputs: ReportInputs) -> TableView:
    """What each completeness figure refers to: grid, prior, weighting, finder, realism gate."""
    rows = []
    for item in inputs.generations:
        for grid, group in item.completeness.groupby("grid_id"):
            facts = "; ".join(f"{key} {value}" for key, value in inputs.grids.get(str(grid), {}).items())
            first = group.iloc[0]
            empty = int(((group["source_mag_bin"] == ALL) & (group["n"] == 0)).sum() / group["threshold_id"].nunique())
            which = item.name, item.checkpoint_id, grid_words(first), str(first["prior"]), str(first["weighting_id"])
            rows.append([*which, facts or "—", str(empty), probe(item)])
    headers = ("finder", "checkpoint", "grid", "prior", "weighting", "grid's facts", "empty cells", "probe AUC")
    return TableView("What every completeness figure refers to", headers, rows)


def grid_words(row: pd.Series) -> str:
    """The name of a grid, and its identity."""
    return f"{row['grid_name']} ({row['grid_id']})"


def heat_maps(inputs: ReportInputs) -> list[Shown]:
    """One heat map per generation at the headline threshold, on one colour scale."""
    threshold, band = inputs.params.headline_threshold_id, inputs.imaging.reference_band
    models = [item for item in inputs.generations if shown(item, threshold)]
    caption = (
        f"Completeness (%) at threshold {threshold} ({rates(models, threshold)}) as a function of Einstein radius, "
        f"psfsize and depth in {band} for all source magnitudes. Small: 95 % interval, injections (n) and hosts (h.). "
        "Hatched: no scored injection."
    )
    cells = [cells_at(item.completeness, threshold) for item in models]
    top = max((float(rows["completeness"].max()) for rows in cells if len(rows)), default=0.0)
    found = []
    for item in (item for item, rows in zip(models, cells, strict=True) if len(rows)):
        first = item.completeness.iloc[0]
        at = f"{threshold} ({rate(item, threshold)}), prior {first['prior']}, grid {grid_words(first)}"
        title = f"{item.name}, {at}\nrealism probe AUC {probe(item)}"
        picture = heat_map(item.completeness, threshold, inputs.imaging, title, top)
        source = of_cells([item.name], threshold)
        data, name = cells_at(item.completeness, threshold).filter(_CELL), f"completeness-cells-{item.name}"
        found.append(Shown(picture, caption, name, data, source, folded=item.name != inputs.headline))
    return found


def paired_completeness_view(inputs: ReportInputs) -> TableView | None:
    """Every pair of generations on the same injections, each at its own thresholds."""
    rows = []
    for a, b in itertools.combinations(inputs.generations, 2):
        for name in a.completeness.get("threshold_id", pd.Series(dtype=str)).unique():
            test = compared(a, b, name)
            if test is None:
                continue
            verdict = INDISTINGUISHABLE if test.indistinguishable else "differs"
            change = f"{100 * test.difference:+.2f} pp"
            change += "" if pd.isna(test.low) else f" [{100 * test.low:+.2f}, {100 * test.high:+.2f}]"
            reached = f"{rate(b, name)}; {rate(a, name)}"
            counted = f"{test.n:,}", change, test.only_a, test.only_b
            rows.append([f"{b.name} − {a.name}", name, reached, *counted, f"{test.mcnemar_p:.2g}", verdict])
    headers = (
        *("pair", "threshold", "FPR reached by each", "injections", "change", "only first", "only second"),
        *("McNemar p (exact)", "verdict"),
    )
    caption = (
        "Completeness of two finders on the same injections; intervals by host, with the uncertainty of derived "
        "thresholds. Below two standard errors a change is called indistinguishable, whatever its sign. McNemar's test "
        "takes injections as independent and thresholds as exact."
    )
    return TableView(caption, headers, rows) if rows else None


def compared(a: GenerationInputs, b: GenerationInputs, threshold_id: str) -> PairedShares | None:
    """Completeness of b minus that of a on the same injections, each at its own threshold of a name.

    None where they have no grid in common, or completeness of one is not shown.
    """
    if a.injections.empty or b.injections.empty or set(a.injections["grid_id"]) != set(b.injections["grid_id"]):
        return None
    first, second = (marginal_row(item.completeness, threshold_id) for item in (a, b))
    if first is None or second is None or not (shown(a, threshold_id) and shown(b, threshold_id)):
        return None
    fixing = fixing_of(a.thresholds, a.fixing, b.fixing, threshold_id)
    return paired_completeness(a.injections, b.injections, first["threshold"], second["threshold"], fixing)


def metric_view(inputs: ReportInputs, caption: str, prefixes: tuple[str, ...], folded: bool = False) -> TableView:
    """Every measure under some prefixes: one row per name, one column per generation."""
    found = dict.fromkeys(name for item in inputs.generations for name in item.diagnostics.get("name", ()))
    names = [name for name in found if any(f"{name}/".startswith(f"{p}/") for p in prefixes)]
    return measures_view(inputs, caption, names, folded)


def _named(measures: pd.DataFrame, names: Sequence[str]) -> Mapping[str, Mapping[Any, Any]]:
    """The first row of each of these names that a finder's measures hold."""
    if measures.empty:
        return {}
    return {str(row["name"]): row for row in reversed(measures[measures["name"].isin(names)].to_dict("records"))}


def measures_view(inputs: ReportInputs, caption: str, names: Sequence[str], folded: bool = True) -> TableView:
    """Some measures: one row per name, one column per generation."""
    known = {item.name: _named(item.diagnostics, names) for item in inputs.generations}
    why, rows = {item.name: reasons(item.diagnostics) for item in inputs.generations}, []
    for name in names:
        held = {model: of_model[name] for model, of_model in known.items() if name in of_model}
        n = {model: "—" if pd.isna(row["n"]) or not row["n"] else f"{int(row['n']):,}" for model, row in held.items()}
        values = {
            model: worded(of_model.get(name) or reason_for(name, why[model]), digits=4)
            for model, of_model in known.items()
        }
        how = {model: str(row["method"] or "") for model, row in held.items()}
        how = {model: "" if words == values[model] else words for model, words in how.items()}
        rows.append([name, *values.values(), _of_each(n), _of_each(how)])
    headers = ("quantity", *(item.name for item in inputs.generations), "n", "how")
    return TableView(caption, headers, rows, folded)


def _of_each(words: Mapping[str, str]) -> str:
    """The word that all finders share, or the word of each."""
    models: dict[str, list[str]] = {}
    for model, word in words.items():
        models.setdefault(word, []).append(model)
    if len(models) == 1:
        return next(iter(models))
    return "; ".join(f"{', '.join(names)}: {word or '—'}" for word, names in models.items())


def _recall(item: GenerationInputs, group: str, threshold: str) -> str:
    """The recall behind the leakage guard where it was measured, else that of the whole split."""
    guarded = measured(item.diagnostics, f"lens_recall/{group}/{threshold}", as_percent=True)
    if guarded != NOT_MEASURED:
        return guarded
    tier = "" if group == "all" else f"{group}/"
    return measured(item.diagnostics, f"recall/{tier}{threshold}", as_percent=True)


def _headline_caption(inputs: ReportInputs, threshold: str) -> str:
    held = [item.completeness for item in inputs.generations if len(item.completeness)]
    priors = sorted({str(prior) for rows in held for prior in rows["prior"]})
    grids = sorted({grid_words(rows.iloc[0]) for rows in held})
    sizes = ""
    if inputs.generations:
        labels = inputs.generations[0].scores["label"].to_numpy()
        sizes = f" ({int(np.sum(labels == 1)):,} listed lenses, {int(np.sum(labels == 0)):,} negatives)"
    return (
        f"Ranking metrics on the test split{sizes}. Completeness: threshold {threshold}, with the "
        "false-positive rate that it reaches on test negatives; prior "
        f"{', '.join(priors) or 'none'}, grid {', '.join(grids) or 'none'}, all source magnitudes; {INTERVALS}."
    )
