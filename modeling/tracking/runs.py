"""What was trained and measured here, followed in MLflow alongside the figures of the reference system.

Per generation a parent run, and below it its training, evaluation and grid; tag ``source`` is ``trained`` or
``historical``. Runs are identified by what they are made from, so reruns find theirs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.errors import DataError, one_line
from lake.provenance import git_commit
from lake.root import DataRoot
from lake.store import cards
from modeling.tracking.runstore import FINISHED, RunStore

if TYPE_CHECKING:
    from modeling.config import TrainParams
    from modeling.scoring.card import CheckpointCard
    from modeling.training.log import EpochRow

log = logging.getLogger(__name__)

TRAINED, HISTORICAL = "trained", "historical"
NOT_CURVES = {"epoch", "phase", "best_val_auc"}
"""Of an epoch's row, what is not a curve; best_val_auc is kept free for the summary of the run."""
NOT_SCIENCE = {"execution", "reference", "description"}


@dataclass(frozen=True)
class Origin:
    """What a training run is made from: the manifest slice and the code."""

    fingerprint: str
    version: int
    code: Mapping[str, str]


class Tracker:
    """Follows one training run; if MLflow fails it warns once, and the report adds the run later."""

    def __init__(self, root: DataRoot, run_id: str, params: TrainParams, origin: Origin) -> None:
        self._name = params.generation
        self._lost = False
        self._logged: dict[int, float] = {}
        self._attempt(lambda: self._open(root, run_id, params, origin))

    def _open(self, root: DataRoot, run_id: str, params: TrainParams, origin: Origin) -> None:
        self._store = RunStore(root)
        self._run, self._parent = open_training(self._store, root, run_id, params, origin)
        for run in (self._parent, self._run):
            self._store.resume(run)
        self._logged = self._store.logged(self._run, "train_loss")

    def epoch(self, row: EpochRow) -> None:
        """Log an epoch, unless an earlier attempt did."""
        if self._logged.get(row.epoch) != row.train_loss:
            self._attempt(lambda: self._store.point(self._run, row.epoch, curves(row)))

    def finish(self, rows: list[EpochRow], card: CheckpointCard) -> None:
        """Log the epoch whose weights are kept as ``best_*``, and the identity of the checkpoint."""
        self._attempt(lambda: summarise(self._store, (self._run, self._parent), rows, card))

    def end(self, status: str) -> None:
        """End the run."""
        self._attempt(lambda: self._store.close(self._run, status))
        self._attempt(lambda: self._store.close(self._parent, status))

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - training continues whatever happens to its log
            self._lost = True
            log.warning(
                "MLflow cannot follow the training of %s: %s; training continues, and the report adds the run later",
                self._name,
                one_line(error),
            )


@contextmanager
def training_run(root: DataRoot, run_id: str, params: TrainParams, origin: Origin) -> Iterator[Tracker]:
    """The MLflow run of ``run_id``: a new one, or that of an earlier attempt; it ends with the block."""
    tracker = Tracker(root, run_id, params, origin)
    try:
        yield tracker
    except KeyboardInterrupt:
        tracker.end("KILLED")
        raise
    except BaseException:
        tracker.end("FAILED")
        raise
    tracker.end(FINISHED)


def open_training(
    store: RunStore, root: DataRoot, run_id: str, params: TrainParams, origin: Origin, start_ms: int | None = None
) -> tuple[str, str]:
    """A training run and its parent, found or made, with tags, parameters and tables."""
    tags = {
        "generation": params.generation,
        "lineage": params.init or "none",
        "manifest": params.manifest,
        "data_fingerprint": origin.fingerprint,
        "data_version": origin.version,
        "commit": origin.code.get("git_commit", "unknown"),
        "run_id": run_id,
        "source": TRAINED,
        "mlflow.note.content": params.description,
    }
    parent = parent_run(store, params.generation, tags, start_ms)
    execution = {f"execution.{key}": value for key, value in params.execution.model_dump(mode="json").items()}
    own = {**tags, **execution, "stage": "train"}
    run = store.run(f"train/{run_id}", f"{params.generation} train", own, parent, start_ms)
    store.params(run, params.model_dump(mode="json", exclude=NOT_SCIENCE))
    table = f"table:{cards.stem('manifest', params.manifest)}"
    _note_tables(store, run, root, {table: f"{origin.fingerprint}@{origin.version}"})
    return run, parent


def curves(row: EpochRow) -> dict[str, float]:
    """Metrics of an epoch that MLflow plots; those that were not measured are left out."""
    return {key: value for key, value in asdict(row).items() if key not in NOT_CURVES and value is not None}


def summarise(
    store: RunStore, runs: Iterable[str], rows: list[EpochRow], card: CheckpointCard, at_ms: int | None = None
) -> None:
    """Log the kept epoch as ``best_*`` metrics of runs, and the checkpoint as their tags."""
    best = asdict(rows[card.best_epoch - 1])
    kept = {f"best_{key}": best[key] for key in ("val_auc", "val_loss", "binary_score_frac", "metric")}
    kept |= {f"best_{k}": value for k, value in best.items() if k.startswith("tpr_at_fpr") and value is not None}
    kept |= {"best_epoch": card.best_epoch, "epochs_run": len(rows)}
    tags = {"checkpoint_id": card.checkpoint_id, "config_sha256": card.config_sha256, "dtype": card.dtype}
    tags["ancestors"] = " ".join(card.ancestors) or "none"
    for run in runs:
        store.summary(run, kept, at_ms)
        store.tags(run, tags)


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
    parent = parent_run(store, generation)
    store.close(parent)
    store.figure(parent, name, content)


def forget_runs(root: DataRoot, generation: str) -> int:
    """Delete (restorably, as MLflow does) the runs of a generation trained or scored here; return their number."""
    if not root.mlflow_database.exists():
        return 0
    store = RunStore(root)
    runs = store.find({"generation": generation, "source": TRAINED})
    for run in runs:
        store.delete(run.info.run_id)
    return len(runs)


def parent_run(
    store: RunStore, generation: str, tags: Mapping[str, object] | None = None, start_ms: int | None = None
) -> str:
    """The run of a generation that is trained or scored here; it lasts as long as its first training."""
    own = {"generation": generation, "source": TRAINED, "stage": "generation"}
    return store.run(f"{TRAINED}/{generation}", generation, {**(tags or {}), **own}, start_ms=start_ms)


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
    parent = parent_run(store, generation)
    store.close(parent)
    run = store.create(key, f"{generation} {stage}", tags, parent)
    store.params(run, result["params"])
    _note_tables(store, run, root, lineage.get("inputs", {}))
    store.summary(run, result["metrics"])
    store.close(run)


def _grid_metrics(folder: Path) -> dict[str, float]:
    columns = ["status", "score", "host_score"]
    batches = [pq.read_table(path, columns=columns) for path in sorted(folder.glob("batch-*.parquet"))]
    if not batches:
        raise DataError(f"{folder} contains no grid batches; run `dvc repro`")
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


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
