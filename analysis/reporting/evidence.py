"""Sections on data, gates, training, candidates, history and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.figures.curves import training_figure
from analysis.figures.stamps import contact_sheet
from analysis.figures.style import webp
from analysis.reporting.declarations import gate_of
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.sources import of_models
from analysis.reporting.views import Link, Shown, TableView, Tag, counts, frame_view, number
from analysis.results.discoveries import CALIBRATOR

_SPLITS = ("train", "val", "test")
_READING = (
    "PASS and FAIL judge a requirement; GO and NO-GO what to do next; WARN informs; BORDERLINE: the interval contains "
    "the threshold, so the sample cannot decide. What was not measured is not passed."
)
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


def gate_views(inputs: ReportInputs) -> list[TableView | None]:
    """Every gate with its rule and the verdict on each finder: those that a finder does not pass, then the others."""
    held = {
        item.name: {str(gate["name"]): gate for gate in item.gates.to_dict("records")} for item in inputs.generations
    }
    names = sorted(dict.fromkeys(name for gates in held.values() for name in gates))
    worst = {name: min(_WORST_FIRST.index(g[name]["status"]) for g in held.values() if name in g) for name in names}
    order = sorted(names, key=lambda name: worst[name])
    passed = _WORST_FIRST.index("PASS")
    open_ = [_gate_row(name, held) for name in order if worst[name] < passed]
    closed = [_gate_row(name, held) for name in order if worst[name] == passed]
    headers = ("gate", "question", *held, "rule", "if it fails")
    return [
        TableView("Gates, worst first: those that some finder does not pass", headers, open_),
        TableView("Gates that every finder passes", headers, closed, folded=True) if closed else None,
    ]


def _gate_row(name: str, held: Mapping[str, Mapping[str, Mapping[Any, Any]]]) -> list[Any]:
    asked = gate_of(name)
    words = ("—", "—") if asked is None else (asked.question, asked.consequence)
    cells = ["—" if name not in gates else _verdict(gates[name]) for gates in held.values()]
    rules = list(dict.fromkeys(str(gates[name]["rule"]) for gates in held.values() if name in gates))
    return [name, words[0], *cells, "; ".join(rules), words[1]]


def _verdict(gate: Mapping[Any, Any]) -> Tag:
    bounds = "" if pd.isna(gate["low"]) else f" [{number(gate['low'])}, {number(gate['high'])}]"
    value = "" if pd.isna(gate["value"]) else f"{number(gate['value'])}{bounds}, threshold {number(gate['threshold'])}"
    return Tag(str(gate["status"]), value)


def gate_words(inputs: ReportInputs) -> list[str]:
    """How many gates of each finder have which outcome, and what the worst of the finder shown first mean."""
    said = []
    for item in inputs.generations:
        held = list(item.gates["status"]) if len(item.gates) else []
        words = ", ".join(f"{held.count(status)} {status}" for status in _WORST_FIRST if status in held)
        said.append(f"{item.name}: {words or 'no gate was decided'}.")
    return [" ".join(said), _READING]


def generation_view(inputs: ReportInputs) -> TableView:
    """Checkpoint and facts of each finder."""
    keys = list(dict.fromkeys(key for item in inputs.generations for key in item.facts))
    rows = [["checkpoint", *(item.checkpoint_id for item in inputs.generations)]]
    rows += [[key, *(item.facts.get(key, "—") for item in inputs.generations)] for key in keys]
    return TableView("The finders", ("", *(item.name for item in inputs.generations)), rows)


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
            name = f"gallery-{len(found) + 1}"
            found.append(Shown(picture, gallery.caption, name, gallery.objects, gallery.source))
    return found


def candidate_view(inputs: ReportInputs) -> TableView:
    """Unlisted objects, best first, with links to the survey's viewer."""
    rows = []
    for row in inputs.candidates.head(inputs.params.candidates_shown).to_dict("records"):
        place = f"{row['ra']:.5f}", f"{row['dec']:+.5f}"
        scores = f"{row['score']:.3f}", f"{row['probability']:.4f}", number(row["calibrated"], 4)
        known = "not known" if pd.isna(row["trained_on"]) else "yes" if row["trained_on"] else "no"
        link = Link("viewer", row["viewer"])
        rows.append([row["rank"], row["galaxy_id"], *place, *scores, row["split"], known, link])
    headers = (
        "rank", "object", "RA (deg)", "Dec (deg)", "score", "probability", "calibrated", "split",
        "used as a negative in training or selection", "sky",
    )  # fmt: skip
    note = " Positions of a simulated sky: the viewer shows the real one." if inputs.simulated else ""
    shares = inputs.candidates["holds_at"].dropna().unique().tolist() if len(inputs.candidates) else []
    where = "".join(f" Calibrated ({CALIBRATOR}): holds where {100 * share:.1f} % are lenses." for share in shares)
    return TableView(f"Unlisted objects ranked highest by {inputs.headline}.{where}{note}", headers, rows, folded=True)


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
