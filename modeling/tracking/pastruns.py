"""MLflow runs added afterwards: those of the reference system, and trainings that MLflow could not follow.

A run without a recorded date has no start time, and its metrics carry the time since its start.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lake.root import DataRoot
from lake.store import cards, delta
from modeling.tracking.runs import HISTORICAL, NOT_CURVES, NOT_SCIENCE, Origin, curves, open_training, summarise
from modeling.tracking.runstore import FINISHED, RunStore

if TYPE_CHECKING:
    from modeling.config import TrainParams
    from modeling.tracking.history import Record
    from modeling.training.log import EpochRow

_DIGEST = "history_digest"


def log_training(root: DataRoot, generation: str) -> None:
    """Complete the MLflow run of a finished training from its checkpoint and its table; a complete one stays."""
    from modeling.scoring.card import CARD, read_card

    folder = root.checkpoints(generation)
    if not (folder / CARD).exists():
        return
    card, store = read_card(folder), RunStore(root)
    key = f"train/{card.run_id}"
    known = store.find({"key": key, "checkpoint_id": card.checkpoint_id})
    if any(run.info.status == FINISHED for run in known):
        return
    entry = cards.read_slice(root, "training_epochs", generation)
    rows, seconds, end_ms = _trained(root, generation)
    name = f"table:{cards.stem('manifest', card.manifest_id)}"
    version = int(entry.pin.inputs[name].rpartition("@")[2])
    origin = Origin(card.manifest_fingerprint, version, entry.pin.code)
    start_ms = end_ms - round(1000 * sum(seconds))
    runs = open_training(store, root, card.run_id, card.config, origin, start_ms)
    logged = store.logged(runs[0], "train_loss")
    ends = [start_ms + round(1000 * sum(seconds[: n + 1])) for n in range(len(seconds))]
    missing = [(row.epoch, at, curves(row)) for row, at in zip(rows, ends, strict=True) if row.epoch not in logged]
    store.points(runs[0], missing)
    summarise(store, runs, rows, card, end_ms)
    for run in runs:
        store.close(run, FINISHED, end_ms)


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
    """Import the records of the reference system as runs marked historical, once per state of the records."""
    from modeling.config import generations, resolve_generation
    from modeling.tracking import history

    logs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in history.epochs():
        logs[row["run_id"]].append(row)
    params = {name: resolve_generation(name) for name in generations() if name in {r.run_id for r in history.records()}}
    facts = [[r.model_dump(mode="json") for r in history.records()], logs, {k: v.digest() for k, v in params.items()}]
    state = json.dumps(facts, sort_keys=True)
    digest = hashlib.sha256(state.encode()).hexdigest()
    store = RunStore(root)
    if store.note().get(_DIGEST) == digest:
        return
    for old in store.find({"source": HISTORICAL}):
        store.delete(old.info.run_id)
    parents: dict[str, str] = {}
    undated: dict[str, int | None] = {}
    for record in history.records():
        run = _import_record(store, record, parents.get(record.generation))
        parents.setdefault(record.generation, run)
        if record.run_id in params:
            _import_params(store, run, params[record.run_id])
        end_ms = _import_log(store, run, record, logs.get(record.run_id, []))
        if record.run_date is None:
            undated[run] = end_ms or None
    store.undate(undated)
    store.set_note(_DIGEST, digest)


def _import_record(store: RunStore, record: Record, parent: str | None) -> str:
    tags = {
        "generation": record.generation,
        "source": HISTORICAL,
        "kind": record.kind,
        "status": record.status,
        "status_reason": record.status_reason,
        "lineage": record.ancestor or "none",
        "run_id": record.run_id,
        "config_hash": record.config_hash,
        "network": record.network,
        "run_date": record.run_date or "not recorded",
        "disagreements": "; ".join(record.disagreements) or None,
        "mlflow.note.content": record.finding(),
    }
    return store.create(f"{HISTORICAL}/{record.run_id}", record.run_id, tags, parent, _start_ms(record))


def _import_params(store: RunStore, run: str, params: TrainParams) -> None:
    note = params.reference.note if params.reference else ""
    store.tags(
        run, {"parameters": "as in this project's overlay that reproduces the run", "parameters_note": note or None}
    )
    store.params(run, params.model_dump(mode="json", exclude=NOT_SCIENCE))


def _import_log(store: RunStore, run: str, record: Record, rows: list[dict[str, Any]]) -> int:
    """Log the epochs and figures of a record; its end in ms since 1970, or since its start where that is unknown."""
    at = _start_ms(record)
    points = []
    for row in rows:
        at += round(1000 * row.get("epoch_seconds", 1.0))
        values = {k: v for k, v in row.items() if k not in NOT_CURVES and k != "run_id"}
        points.append((row["epoch"], at, values))
    store.points(run, points)
    figures = {"best_val_auc": record.best_val_auc, "best_epoch": record.best_epoch, "epochs_run": record.epochs_run}
    prefix = "best_" if record.kind == "training" else ""
    figures |= {f"{prefix}{key}": value for key, value in record.metrics.items()}
    store.summary(run, figures, at)
    store.close(run, FINISHED, at)
    return at


def _start_ms(record: Record) -> int:
    if record.run_date is None:
        return 0
    return round(
        datetime(record.run_date.year, record.run_date.month, record.run_date.day, tzinfo=UTC).timestamp() * 1000
    )
