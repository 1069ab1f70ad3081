"""What was trained and measured here, followed in MLflow beside the figures of the reference system.

Per generation a parent run, and below it its training, evaluation and grid; tag ``source`` is ``trained`` or
``historical``. Runs are identified by what they are made from, so that reruns find theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake import cards
from lake.errors import DataError
from lake.provenance import git_commit
from lake.root import DataRoot
from modeling.runstore import FINISHED, UNDATED_MS, RunStore

if TYPE_CHECKING:
    from modeling.checkpoint import Checkpoint
    from modeling.config import TrainParams
    from modeling.history import Record
    from modeling.log import EpochRow
    from modeling.train import TrainResult

TRAINED, HISTORICAL = "trained", "historical"
_DIGEST = "history_digest"
_NOT_CURVES = {"epoch", "phase", "best_val_auc"}
"""Of an epoch's row, what is no curve; best_val_auc is kept free for the summary of the run."""
_NOT_SCIENCE = {"execution", "reference", "description"}


class Tracker:
    """Follows one training run."""

    def __init__(self, store: RunStore, run: str, parent: str) -> None:
        self._store, self._run, self._parent = store, run, parent
        self._logged = store.logged(run, "train_loss")

    def epoch(self, row: EpochRow) -> None:
        """Log an epoch, unless an earlier attempt did."""
        if self._logged.get(row.epoch) != row.train_loss:
            values = {key: value for key, value in asdict(row).items() if key not in _NOT_CURVES}
            self._store.point(self._run, row.epoch, values)

    def finish(self, result: TrainResult, checkpoint: Checkpoint) -> None:
        """Log the epoch whose weights are kept as ``best_*``, and the identity of the checkpoint."""
        card, best = checkpoint.card, asdict(result.rows[result.best_epoch - 1])
        kept = {f"best_{key}": best[key] for key in ("val_auc", "val_loss", "binary_score_frac", "metric")}
        kept |= {f"best_{key}": value for key, value in best.items() if key.startswith("tpr_at_fpr")}
        kept |= {"best_epoch": result.best_epoch, "epochs_run": len(result.rows)}
        tags = {"checkpoint_id": card.checkpoint_id, "config_sha256": card.config_sha256, "dtype": result.dtype}
        tags["ancestors"] = " ".join(card.ancestors) or "none"
        for run in (self._run, self._parent):
            self._store.summary(run, kept)
            self._store.tags(run, tags)


@contextmanager
def training_run(
    root: DataRoot, run_id: str, params: TrainParams, entry: cards.Slice, code: Mapping[str, str]
) -> Iterator[Tracker]:
    """The MLflow run of ``run_id`` on the manifest slice ``entry``: a new one, or that of an earlier attempt."""
    store = RunStore(root)
    tags = {
        "generation": params.generation,
        "lineage": params.init or "none",
        "manifest": params.manifest,
        "data_fingerprint": entry.card.fingerprint,
        "data_version": entry.pin.version,
        "commit": code.get("git_commit", "unknown"),
        "run_id": run_id,
        "source": TRAINED,
        "mlflow.note.content": params.description,
    }
    parent = _parent(store, params.generation, tags)
    execution = {f"execution.{key}": value for key, value in params.execution.model_dump(mode="json").items()}
    run = store.run(f"train/{run_id}", f"{params.generation} train", {**tags, **execution, "stage": "train"}, parent)
    with store.running(run):
        store.params(run, params.model_dump(mode="json", exclude=_NOT_SCIENCE))
        _note_tables(store, run, root, {_table_key(entry): f"{entry.card.fingerprint}@{entry.pin.version}"})
        yield Tracker(store, run, parent)


def log_metrics(root: DataRoot, generation: str, metrics: Mapping[str, float]) -> None:
    """Keep the figures of an evaluation in the generation's run ``evaluate``; those not finite are left out."""
    store = RunStore(root)
    lineage = _slice_lineage(root, "scores", generation)
    figures = {name: float(value) for name, value in metrics.items()}
    result = {"metrics": figures, "params": _model_facts(root, generation), "lineage": lineage}
    _log_result(store, root, generation, "evaluate", result)


def log_grid(root: DataRoot, generation: str, grid_id: str, folder: Path) -> None:
    """Keep parameters, counts and mean scores of a selection-function grid in the generation's run ``grid``."""
    facts = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
    params = {key: value for key, value in facts.items() if not isinstance(value, list)}
    metrics = _grid_metrics(folder)
    metrics |= {
        name: float(len(facts[key])) for key, name in (("cells", "cells"), ("short", "cells_short")) if key in facts
    }
    lineage = _read_json(folder / "lineage.json")
    result = {"metrics": metrics, "params": {**params, "grid_id": grid_id}, "lineage": lineage}
    _log_result(RunStore(root), root, generation, "grid", result)


def log_figure(root: DataRoot, generation: str, name: str, content: bytes) -> None:
    """Keep a picture with the generation's run."""
    if not name.endswith((".png", ".svg")) or Path(name).name != name:
        raise DataError(f"'name' must be a file name that ends in .png or .svg, got {name!r}")
    store = RunStore(root)
    store.figure(_parent(store, generation), name, content)


def forget_runs(root: DataRoot, generation: str) -> int:
    """Delete the runs of a generation that was trained or scored here, as MLflow deletes; how many there were."""
    if not root.mlflow_database.exists():
        return 0
    store = RunStore(root)
    runs = store.find({"generation": generation, "source": TRAINED})
    for run in runs:
        store.delete(run.info.run_id)
    return len(runs)


def import_history(root: DataRoot) -> None:
    """Import the records of the reference system as runs marked historical, once for every state of the records."""
    from modeling import history
    from modeling.config import generations, resolve_generation

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
    for record in history.records():
        run = _import_record(store, record, parents.get(record.generation))
        parents.setdefault(record.generation, run)
        if record.run_id in params:
            _import_params(store, run, params[record.run_id])
        _import_log(store, run, record, logs.get(record.run_id, []))
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
        "run_date": record.run_date or "not recorded (shown as 1970)",
        "disagreements": "; ".join(record.disagreements) or None,
        "mlflow.note.content": record.finding(),
    }
    return store.create(f"{HISTORICAL}/{record.run_id}", record.run_id, tags, parent, _start_ms(record))


def _import_params(store: RunStore, run: str, params: TrainParams) -> None:
    note = params.reference.note if params.reference else ""
    store.tags(run, {"parameters": "as this project's overlay reproduces the run", "parameters_note": note or None})
    store.params(run, params.model_dump(mode="json", exclude=_NOT_SCIENCE))


def _import_log(store: RunStore, run: str, record: Record, rows: list[dict[str, Any]]) -> None:
    at = _start_ms(record)
    points = []
    for row in rows:
        at += round(1000 * row.get("epoch_seconds", 1.0))
        values = {k: v for k, v in row.items() if k not in _NOT_CURVES and k != "run_id"}
        points.append((row["epoch"], at, values))
    store.points(run, points)
    figures = {"best_val_auc": record.best_val_auc, "best_epoch": record.best_epoch, "epochs_run": record.epochs_run}
    prefix = "best_" if record.kind == "training" else ""
    figures |= {f"{prefix}{key}": value for key, value in record.metrics.items()}
    store.summary(run, figures, at)
    store.close(run, FINISHED, at)


def _start_ms(record: Record) -> int:
    if record.run_date is None:
        return UNDATED_MS
    return round(
        datetime(record.run_date.year, record.run_date.month, record.run_date.day, tzinfo=UTC).timestamp() * 1000
    )


def _parent(store: RunStore, generation: str, tags: Mapping[str, object] | None = None) -> str:
    """The run of a generation that is trained or scored here."""
    own = {"generation": generation, "source": TRAINED, "stage": "generation"}
    run = store.run(f"{TRAINED}/{generation}", generation, {**(tags or {}), **own})
    store.close(run)
    return run


def _log_result(store: RunStore, root: DataRoot, generation: str, stage: str, result: Mapping[str, Any]) -> None:
    """Log a finished result as one run; a result that differs from the logged one takes its place."""
    key = f"{stage}/{generation}"
    state = {name: result[name] for name in ("metrics", "params")}
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    known = store.find({"key": key})
    if any(run.data.tags.get("digest") == digest and run.info.status == FINISHED for run in known):
        return
    for old in known:
        store.delete(old.info.run_id)
    lineage = result["lineage"]
    commit = lineage.get("code", {}).get("git_commit") or git_commit()
    tags = {**_model_facts(root, generation), "generation": generation, "source": TRAINED, "stage": stage}
    tags |= {"commit": commit, "digest": digest}
    run = store.create(key, f"{generation} {stage}", tags, _parent(store, generation))
    store.params(run, result["params"])
    _note_tables(store, run, root, lineage.get("inputs", {}))
    store.summary(run, result["metrics"])
    store.close(run)


def _grid_metrics(folder: Path) -> dict[str, float]:
    columns = ["status", "score", "host_score"]
    batches = [pq.read_table(path, columns=columns) for path in sorted(folder.glob("batch-*.parquet"))]
    if not batches:
        raise DataError(f"{folder} holds no grid batches; run `dvc repro`")
    rows = pa.concat_tables(batches)
    scores = np.column_stack([rows[name].to_numpy().astype(float) for name in columns[1:]])
    scored = (rows["status"].to_numpy() == "scored") & np.isfinite(scores).all(axis=1)
    counts = {"injections": float(len(scored)), "scored": float(scored.sum()), "failed": float((~scored).sum())}
    if not scored.any():
        return counts
    mean, host = scores[scored].mean(axis=0)
    return counts | {"mean_score": float(mean), "mean_host_score": float(host), "mean_score_gain": float(mean - host)}


def _model_facts(root: DataRoot, generation: str) -> dict[str, str]:
    """Which model a result belongs to, where the generation is a checkpoint of this project."""
    card = _read_json(root.checkpoints(generation) / "checkpoint.json")
    names = ("checkpoint_id", "run_id", "manifest_fingerprint")
    facts = {name: str(card[name]) for name in names if name in card}
    if card:
        facts["lineage"] = card["config"]["init"] or "none"
        facts["data_fingerprint"] = facts.pop("manifest_fingerprint")
    return facts


def _slice_lineage(root: DataRoot, table: str, slice_name: str) -> dict[str, Any]:
    pin = _read_json(root.cards / f"{cards.stem(table, slice_name)}.pin.json")
    return {name: pin.get(name, {}) for name in ("code", "inputs")}


def _note_tables(store: RunStore, run: str, root: DataRoot, inputs: Mapping[str, str]) -> None:
    """Tables among the recorded inputs, ``table:<name>`` -> ``<fingerprint>@<version>``, as datasets of the run."""
    for key, value in inputs.items():
        kind, _, name = key.partition(":")
        fingerprint, _, version = value.rpartition("@")
        if kind == "table" and version.isdigit():
            store.table_input(run, name, root.table(name.split(".")[0]), int(version), fingerprint)


def _table_key(entry: cards.Slice) -> str:
    return f"table:{cards.stem(entry.card.table, entry.card.slice)}"


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
