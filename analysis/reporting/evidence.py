"""Sections on data, gates, training, candidates, history and provenance."""

from __future__ import annotations

import pandas as pd

from analysis.figures.curves import training_figure
from analysis.figures.stamps import contact_sheet
from analysis.figures.style import Picture
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.views import Link, TableView, frame_view, number

_SPLITS = ("train", "val", "test")


def split_view(inputs: ReportInputs) -> TableView:
    """Counts per split: positives by tier, negatives by pool, pixels."""
    manifest = inputs.manifest
    rows = []
    for split in [name for name in _SPLITS if (manifest["split"] == name).any()]:
        part = manifest[manifest["split"] == split]
        tiers = [int((part["tier"] == tier).sum()) for tier in ("A", "B")]
        pools = [int((part["pool"] == pool).sum()) for pool in ("N1", "N2")]
        positives, negatives = int((part["label"] == 1).sum()), int((part["label"] == 0).sum())
        ratio = f"{negatives / positives:.1f}" if positives else "—"
        cells = [positives, *tiers, negatives, *pools]
        pixels = part["healpix_128"].nunique()
        rows.append([split, *(f"{value:,}" for value in cells), ratio, f"{pixels:,}"])
    headers = (
        "split", "positives", "Tier A", "Tier B", "negatives", "random (N1)", "confusers (N2)",
        "negatives per positive", "HEALPix pixels",
    )  # fmt: skip
    return TableView("Rows of the manifest per spatial split (HEALPix nside 128, NESTED)", headers, rows)


def strata_view(inputs: ReportInputs) -> TableView:
    """Positives and negatives per stratum and split."""
    manifest = inputs.manifest
    rows = []
    for (type_bin, nobs), part in manifest.groupby(["type_bin", "nobs_z_bin"], observed=True):
        held = {split: part.loc[part["split"] == split, "label"] for split in _SPLITS}
        cells = [f"{int((label == 1).sum()):,} + {int((label == 0).sum()):,}" for label in held.values()]
        rows.append([str(type_bin), str(nobs), *cells])
    headers = ("type", "exposures in z", *(f"{split}: positives + negatives" for split in _SPLITS))
    return TableView("Strata", headers, rows, folded=True)


def ingest_view(inputs: ReportInputs) -> TableView:
    """Per stage: rows read = kept + rejected + quarantined, and the reasons."""
    counts, outcomes = inputs.ingest_counts, ("kept", "rejected", "quarantined")
    counts = counts[counts["outcome"].isin(outcomes)]
    rows = []
    for stage, part in counts.groupby("stage", sort=False):
        sums = [int(part.loc[part["outcome"] == name, "rows"].sum()) for name in outcomes]
        rows.append([str(stage), *(f"{value:,}" for value in (part["source_file"].nunique(), sum(sums), *sums))])
    headers = ("stage", "inputs", "rows in", *outcomes)
    return TableView("Reconciliation: every row read is kept, rejected by a named cut, or quarantined", headers, rows)


def reason_views(inputs: ReportInputs) -> list[TableView]:
    """Rows that were lost, and rows and files that could not be used, by stage and reason."""
    lost = inputs.ingest_counts[inputs.ingest_counts["outcome"] != "kept"]
    summed = lost.groupby(["stage", "outcome", "reason"])["rows"].sum().reset_index()
    unusable = inputs.quarantine.groupby(["stage", "reason"]).size().reset_index(name="rows")
    captions = "Rejections and quarantine by reason", "Quarantine: rows and files that could not be used"
    return [
        frame_view(caption, frame, {name: name for name in frame.columns}, folded=True)
        for caption, frame in zip(captions, (summed, unusable), strict=True)
    ]


def gate_view(inputs: ReportInputs) -> TableView:
    """Every decision with its rule, worst first."""
    order = ["FAIL", "NO-GO", "GO", "WARN", "BORDERLINE", "NOT MEASURED", "PASS"]
    rows = []
    for item in inputs.generations:
        for gate in item.gates.to_dict("records"):
            bounds = "" if pd.isna(gate["low"]) else f" [{number(gate['low'])}, {number(gate['high'])}]"
            measured, limit = number(gate["value"]) + bounds, number(gate["threshold"])
            rows.append([gate["status"], item.name, gate["name"], measured, limit, gate["rule"]])
    rows.sort(key=lambda row: (order.index(row[0]), row[2], row[1]))
    return TableView("Gates, worst first", ("decision", "model", "gate", "measured", "threshold", "rule"), rows)


def generation_view(inputs: ReportInputs) -> TableView:
    """What each model is."""
    keys = list(dict.fromkeys(key for item in inputs.generations for key in item.facts))
    rows = [[key, *(item.facts.get(key, "—") for item in inputs.generations)] for key in keys]
    rows.insert(0, ["checkpoint", *(item.checkpoint_id for item in inputs.generations)])
    return TableView("The models", ("", *(item.name for item in inputs.generations)), rows)


def training_picture(inputs: ReportInputs) -> Picture | None:
    """Training history of the generations."""
    return training_figure(inputs.training_epochs) if len(inputs.training_epochs) else None


def gallery_pictures(inputs: ReportInputs) -> list[tuple[str, Picture]]:
    """Contact sheets, each with the words that say how its objects were chosen."""
    found = []
    for gallery in inputs.galleries:
        rows = [(row.heading, row.stamps, row.labels) for row in gallery.rows if len(row.stamps)]
        if rows:
            found.append((gallery.caption, contact_sheet(rows, gallery.title, inputs.imaging)))
    return found


def candidate_view(inputs: ReportInputs) -> TableView:
    """Unlisted objects, best first, with links to the survey's viewer."""
    rows = [
        [
            row["rank"],
            row["galaxy_id"],
            f"{row['ra']:.5f}",
            f"{row['dec']:+.5f}",
            f"{row['score']:.3f}",
            f"{row['probability']:.4f}",
            row["split"],
            "not known" if pd.isna(row["trained_on"]) else "yes" if row["trained_on"] else "no",
            Link("viewer", row["viewer"]),
        ]
        for row in inputs.candidates.head(inputs.params.candidates_shown).to_dict("records")
    ]
    headers = (
        "rank",
        "object",
        "RA (deg)",
        "Dec (deg)",
        "score",
        "probability",
        "split",
        "used as a negative in training or selection",
        "sky",
    )
    note = " Positions of a simulated sky: the viewer shows the real one." if inputs.simulated else ""
    return TableView(f"Unlisted objects ranked highest by {inputs.headline}.{note}", headers, rows, folded=True)


def history_view(inputs: ReportInputs) -> TableView:
    """The experiment registry: valid results first, others with their reason."""
    headers = {
        "run_id": "run",
        "kind": "kind",
        "source": "source",
        "status": "standing",
        "status_reason": "reason",
        "network": "network",
        "best_val_auc": "best val AUC",
        "best_epoch": "epoch",
        "run_date": "date",
        "key_finding": "finding",
    }
    frame = inputs.experiments.reindex(columns=list(headers)).sort_values(["source", "status", "run_id"])
    frame = frame.sort_values("status", key=lambda s: s != "valid", kind="stable")
    caption = "The experiment registry; historical runs are the reference system's, on its own data"
    return frame_view(caption, frame, headers, folded=True, digits=4)


def provenance_views(inputs: ReportInputs) -> list[TableView]:
    """Code, parameters and the pinned version of every table."""
    facts = TableView("Code and parameters", ("", ""), [[key, value] for key, value in inputs.provenance.items()])
    columns = ("table", "slice", "version", "rows", "fingerprint")
    tables = inputs.tables.reindex(columns=list(columns))
    pinned = frame_view("Tables, at the versions this page was made from", tables, {c: c for c in columns}, folded=True)
    return [facts, pinned]
