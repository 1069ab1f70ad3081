"""Sections on data, gates, training, candidates, history and provenance."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from analysis.figures.curves import training_figure
from analysis.figures.stamps import contact_sheet
from analysis.figures.style import webp
from analysis.reporting.declarations import gate_of
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.sources import of_models
from analysis.reporting.views import Link, Shown, TableView, counts, frame_view, number

_SPLITS = ("train", "val", "test")
_WORST_FIRST = ("FAIL", "NO-GO", "GO", "WARN", "BORDERLINE", "NOT MEASURED", "PASS")


def split_view(inputs: ReportInputs) -> TableView:
    """Counts per split: positives by tier, negatives by pool, pixels."""
    rows = []
    for split in _SPLITS:
        part = inputs.manifest[inputs.manifest["split"] == split]
        if part.empty:
            continue
        positives, negatives = (int((part["label"] == label).sum()) for label in (1, 0))
        tiers = [int((part["tier"] == tier).sum()) for tier in ("A", "B")]
        pools = [int((part["pool"] == pool).sum()) for pool in ("N1", "N2")]
        ratio = f"{negatives / positives:.1f}" if positives else "—"
        pixels = part["healpix_128"].nunique()
        rows.append([split, *counts(positives, *tiers, negatives, *pools), ratio, *counts(pixels)])
    headers = (
        "split", "positives", "Tier A", "Tier B", "negatives", "random (N1)", "confusers (N2)",
        "negatives per positive", "HEALPix pixels",
    )  # fmt: skip
    return TableView("Rows of the manifest per spatial split (HEALPix nside 128, NESTED)", headers, rows)


def strata_view(inputs: ReportInputs) -> TableView:
    """Positives and negatives per stratum and split."""
    rows = []
    for (type_bin, nobs), part in inputs.manifest.groupby(["type_bin", "nobs_z_bin"], observed=True):
        held = [part.loc[part["split"] == split, "label"] for split in _SPLITS]
        cells = [" + ".join(counts((labels == 1).sum(), (labels == 0).sum())) for labels in held]
        rows.append([str(type_bin), str(nobs), *cells])
    headers = ("type", "exposures in z", *(f"{split}: positives + negatives" for split in _SPLITS))
    return TableView("Strata", headers, rows, folded=True)


def ingest_view(inputs: ReportInputs) -> TableView:
    """Per stage: rows read = kept + rejected + quarantined, and the reasons."""
    table, outcomes = inputs.ingest_counts, ("kept", "rejected", "quarantined")
    rows = []
    for stage, part in table[table["outcome"].isin(outcomes)].groupby("stage", sort=False):
        sums = [int(part.loc[part["outcome"] == name, "rows"].sum()) for name in outcomes]
        rows.append([str(stage), *counts(part["source_file"].nunique(), sum(sums), *sums)])
    headers = ("stage", "inputs", "rows in", *outcomes)
    return TableView("Reconciliation: every row read is kept, rejected by a named cut, or quarantined", headers, rows)


def reason_views(inputs: ReportInputs) -> list[TableView]:
    """Rows that were lost, and rows and files that could not be used, by stage and reason."""
    lost = inputs.ingest_counts[inputs.ingest_counts["outcome"] != "kept"]
    summed = lost.groupby(["stage", "outcome", "reason"])["rows"].sum().reset_index()
    unusable = inputs.quarantine.groupby(["stage", "reason"]).size().reset_index(name="rows")
    return [
        frame_view("Rejections and quarantine by reason", summed),
        frame_view("Quarantine: rows and files that could not be used", unusable),
    ]


def gate_view(inputs: ReportInputs) -> TableView:
    """Every decision with its rule, worst first."""
    rows = []
    for item in inputs.generations:
        for gate in item.gates.to_dict("records"):
            bounds = "" if pd.isna(gate["low"]) else f" [{number(gate['low'])}, {number(gate['high'])}]"
            measured, limit = number(gate["value"]) + bounds, number(gate["threshold"])
            asked = gate_of(str(gate["name"]))
            failed = asked is not None and gate["status"] in ("FAIL", "NO-GO", "GO", "WARN", "BORDERLINE")
            words = ("—" if asked is None else asked.question, asked.consequence if asked and failed else "—")
            rows.append([gate["status"], item.name, gate["name"], words[0], measured, limit, gate["rule"], words[1]])
    rows.sort(key=lambda row: (_WORST_FIRST.index(row[0]), row[2], row[1]))
    headers = ("decision", "model", "gate", "question", "measured", "threshold", "rule", "if it fails")
    return TableView("Gates, worst first", headers, rows)


def generation_view(inputs: ReportInputs) -> TableView:
    """Checkpoint and facts of each model."""
    keys = list(dict.fromkeys(key for item in inputs.generations for key in item.facts))
    rows = [["checkpoint", *(item.checkpoint_id for item in inputs.generations)]]
    rows += [[key, *(item.facts.get(key, "—") for item in inputs.generations)] for key in keys]
    return TableView("The models", ("", *(item.name for item in inputs.generations)), rows)


def training_picture(inputs: ReportInputs) -> Shown | None:
    """Training history of the generations."""
    if inputs.training_epochs.empty:
        return None
    caption = "Training history. The validation AUC selects the epoch; it is never the result."
    epochs = inputs.training_epochs
    source = of_models("training_epochs", "*", epochs["generation"].unique())
    return Shown(training_figure(epochs), caption, "training", epochs, replace(source, slices=()))


def gallery_pictures(inputs: ReportInputs) -> list[Shown]:
    """Contact sheets; each caption says how its objects were chosen."""
    found: list[Shown] = []
    for gallery in inputs.galleries:
        if rows := [line for line in gallery.rows if len(line[1])]:
            picture = contact_sheet(rows, gallery.title, inputs.imaging, kind=webp)
            found.append(Shown(picture, gallery.caption, f"gallery-{len(found) + 1}"))
    return found


def candidate_view(inputs: ReportInputs) -> TableView:
    """Unlisted objects, best first, with links to the survey's viewer."""
    rows = []
    for row in inputs.candidates.head(inputs.params.candidates_shown).to_dict("records"):
        place = f"{row['ra']:.5f}", f"{row['dec']:+.5f}"
        scores = f"{row['score']:.3f}", f"{row['probability']:.4f}"
        known = "not known" if pd.isna(row["trained_on"]) else "yes" if row["trained_on"] else "no"
        link = Link("viewer", row["viewer"])
        rows.append([row["rank"], row["galaxy_id"], *place, *scores, row["split"], known, link])
    headers = (
        "rank", "object", "RA (deg)", "Dec (deg)", "score", "probability", "split",
        "used as a negative in training or selection", "sky",
    )  # fmt: skip
    note = " Positions of a simulated sky: the viewer shows the real one." if inputs.simulated else ""
    return TableView(f"Unlisted objects ranked highest by {inputs.headline}.{note}", headers, rows, folded=True)


def history_view(inputs: ReportInputs) -> TableView:
    """The experiment registry: valid results first, others with their reason."""
    names = {
        "run_id": "run", "kind": "kind", "source": "source", "status": "standing", "status_reason": "reason",
        "network": "network", "best_val_auc": "best val AUC", "best_epoch": "epoch", "run_date": "date",
        "key_finding": "finding",
    }  # fmt: skip
    frame = inputs.experiments.reindex(columns=list(names)).sort_values(["source", "status", "run_id"])
    frame = frame.sort_values("status", key=lambda s: s != "valid", kind="stable").rename(columns=names)
    return frame_view(
        "The experiment registry; historical runs are the reference system's, on its own data", frame, digits=4
    )


def provenance_views(inputs: ReportInputs) -> list[TableView]:
    """Code, parameters and the pinned version of every table."""
    facts = TableView("Code and parameters", ("", ""), list(inputs.provenance.items()))
    return [facts, frame_view("Tables, at the versions this page was made from", inputs.tables)]
