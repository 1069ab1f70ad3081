"""MLflow runs added afterwards: those of the reference system, and trainings that MLflow could not record.

A run without a recorded date has no start time, and its metrics carry the time since its start.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

from lake.root import DataRoot
from lake.store import cards, delta
from modeling.tracking import models
from modeling.tracking.runs import (
    GENERATION,
    HISTORICAL,
    MANIFESTS,
    NOT_CURVES,
    NOT_SCIENCE,
    Origin,
    compared,
    curves,
    headline,
    summary,
    trained_entry,
    training_entry,
)
from modeling.tracking.runstore import FINISHED, Entry, RunStore

if TYPE_CHECKING:
    from modeling.scoring.card import CheckpointCard
    from modeling.training.log import EpochRow


def log_training(root: DataRoot, generation: str) -> bool:
    """Make the MLflow run of a finished training from its checkpoint and its table; a complete run is left as it is.

    Returns whether the generation was trained here on a manifest; others have no such run.
    """
    from modeling.scoring.card import CARD, read_card

    folder = root.checkpoints(generation)
    if not (folder / CARD).exists() or (card := read_card(folder)).imported_from is not None:
        return False
    store = RunStore(root)
    known = store.find({"key": f"train/{card.run_id}", "checkpoint_id": card.checkpoint_id})
    if any(run.info.status == FINISHED for run in known):
        return True
    pin = cards.read_slice(root, "training_epochs", generation).pin
    origin = _origin(card, pin)
    if origin is None:
        return False
    rows, seconds, end_ms = _trained(root, generation)
    ends = [end_ms - round(1000 * sum(seconds[n + 1 :])) for n in range(len(seconds))]
    start_ms = end_ms - round(1000 * sum(seconds))
    figures, tags = summary(rows, card)
    parent = store.open(trained_entry(card.run_id, card.config, origin, start_ms))
    entry = training_entry(card.run_id, card.config, origin, parent, start_ms)
    points = [(row.epoch, at, curves(row)) for row, at in zip(rows, ends, strict=True)]
    store.keep(replace(entry, tags={**entry.tags, **tags}, figures=figures, points=points, end_ms=end_ms))
    store.points(parent, [(step, at, compared(values)) for step, at, values in points])
    store.summarise(parent, headline(figures), tags, end_ms)
    store.close(parent, end_ms=end_ms)
    return True


def _origin(card: CheckpointCard, pin: cards.Pin) -> Origin | None:
    """What a training was made from; None for one on a set of cut-outs."""
    for table in MANIFESTS:
        if (held := pin.inputs.get(f"table:{cards.stem(table, card.manifest_id)}")) is not None:
            return Origin(card.manifest_fingerprint, int(held.rpartition("@")[2]), pin.code, table)
    return None


def _trained(root: DataRoot, generation: str) -> tuple[list[EpochRow], list[float], int]:
    """Epochs of a training, their seconds, and when the last one was written, in ms since 1970."""
    from modeling.training.log import EpochRow

    folder = root.checkpoints(generation)
    table = delta.read(root, "training_epochs", slices=[generation]).sort_by("epoch")
    seconds = [float(value) for value in table["epoch_seconds"].to_pylist()]
    written = max(table["extracted_at"].to_pylist())
    logged = json.loads((folder / "epochs.json").read_text(encoding="utf-8"))
    rows = [EpochRow(**row, epoch_seconds=spent) for row, spent in zip(logged, seconds, strict=True)]
    return rows, seconds, round(written.timestamp() * 1000)


def import_history(root: DataRoot) -> None:
    """Add the records of the reference system as runs marked historical; runs already added are left as they are."""
    from modeling.tracking import history

    logs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in history.epochs():
        logs[row["run_id"]].append(row)
    store = RunStore(root)
    known = store.find({"source": HISTORICAL})
    parents: dict[str, str] = {}
    kept = set()
    for record in history.records():
        if record["status"] == "planned":  # nothing ran
            continue
        entry = _entry(record, logs[record["run_id"]], parents.get(record["generation"]))
        run = store.keep(entry, [run for run in known if run.data.tags["key"] == entry.key])
        parents.setdefault(record["generation"], run)
        kept.add(run)
    models.register_past(store, parents[models.PAST_BEST])
    for old in {run.info.run_id for run in store.find({"source": HISTORICAL})} - kept:
        store.delete(old)


def _entry(record: dict[str, Any], rows: list[dict[str, Any]], parent: str | None) -> Entry:
    """A record with its epochs and figures; times are in ms since 1970, or since its start if that is unknown."""
    plain = ("generation", "kind", "status", "status_reason", "run_id", "config_hash", "network")
    tags = {
        **{name: record.get(name) for name in plain},
        "source": HISTORICAL,
        "level": None if parent else GENERATION,
        "lineage": record.get("ancestor", "none"),
        "run_date": record.get("run_date", "not recorded"),
        "disagreements": "; ".join(record.get("disagreements", ())) or None,
        "mlflow.note.content": record["key_finding"],
    }
    params, notes = _parameters(record["run_id"])
    start = datetime.combine(record["run_date"], time(), UTC).timestamp() if "run_date" in record else 0
    at = start_ms = round(1000 * start)
    points = []
    for row in rows:
        at += round(1000 * row.get("epoch_seconds", 1.0))
        values = {key: value for key, value in row.items() if key not in NOT_CURVES and key != "run_id"}
        points.append((row["epoch"], at, values))
    figures = {name: record.get(name) for name in ("best_val_auc", "best_epoch", "epochs_run")}
    prefix = "best_" if record["kind"] == "training" else ""
    figures |= {f"{prefix}{key}": value for key, value in record.get("metrics", {}).items()}
    name = f"{HISTORICAL}/{record['run_id']}"
    return Entry(name, record["run_id"], tags | notes, params, {}, figures, points, parent, start_ms, at)


def _parameters(run_id: str) -> tuple[dict[str, Any], dict[str, object]]:
    """Parameters of this project's overlay that reproduces a run, with tags that say so; empty if there is none."""
    from modeling.config import generations, resolve_generation

    if run_id not in generations():
        return {}, {}
    params = resolve_generation(run_id)
    tags: dict[str, object] = {"parameters": "as in this project's overlay that reproduces the run"}
    if params.reference and params.reference.note:
        tags["parameters_note"] = params.reference.note
    return params.model_dump(mode="json", exclude=NOT_SCIENCE), tags
