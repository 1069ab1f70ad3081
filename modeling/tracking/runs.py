"""Trainings and measurements of this project in MLflow, next to the figures of the reference system.

Each generation is a parent run with its training, evaluation and grid below it; tag ``source`` is ``trained`` or
``historical``. A run is identified by what it is made from, so a rerun finds it again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds

from lake.errors import DataError, one_line
from lake.provenance import git_commit
from lake.root import DataRoot
from lake.store import cards
from modeling.tracking.runstore import FINISHED, Entry, RunStore

if TYPE_CHECKING:
    from modeling.config import TrainParams
    from modeling.scoring.card import CheckpointCard
    from modeling.training.log import EpochRow

log = logging.getLogger(__name__)

TRAINED, HISTORICAL = "trained", "historical"
NOT_CURVES = {"epoch", "phase", "best_val_auc"}
"""Fields of an epoch's row that are not plotted; best_val_auc is reserved for the summary of the run."""
NOT_SCIENCE = {"execution", "reference", "description"}


@dataclass(frozen=True)
class Origin:
    """What a training run is made from: the manifest slice and the code."""

    fingerprint: str
    version: int
    code: Mapping[str, str]


class Tracker:
    """Records one training run; if MLflow fails it warns once, and the report adds the run later."""

    def __init__(self, root: DataRoot, run_id: str, params: TrainParams, origin: Origin) -> None:
        self._name = params.generation
        self._lost = False
        self._runs: tuple[str, ...] = ()
        self._logged: dict[int, float] = {}
        self._attempt(lambda: self._open(root, run_id, params, origin))

    def _open(self, root: DataRoot, run_id: str, params: TrainParams, origin: Origin) -> None:
        self._store = RunStore(root)
        parent = self._store.open(generation_entry(params.generation, origin_tags(run_id, params, origin)))
        run = self._store.open(training_entry(run_id, params, origin, parent))
        self._runs = (run, parent)
        self._logged = self._store.logged(run, "train_loss")

    def epoch(self, row: EpochRow) -> None:
        """Log an epoch, unless an earlier attempt did."""
        if self._logged.get(row.epoch) != row.train_loss:
            self._attempt(lambda: self._store.points(self._runs[0], [(row.epoch, None, curves(row))]))

    def finish(self, rows: list[EpochRow], card: CheckpointCard) -> None:
        """Log the epoch whose weights are kept as ``best_*``, and the identity of the checkpoint."""
        for run in self._runs:
            self._attempt(partial(self._store.summarise, run, *summary(rows, card)))

    def end(self, status: str) -> None:
        """End the run."""
        for run in self._runs:
            self._attempt(partial(self._store.close, run, status))

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - training continues without its log
            self._lost = True
            log.warning(
                "MLflow cannot record the training of %s: %s; training continues, and the report adds the run later",
                self._name,
                one_line(error),
            )


@contextmanager
def training_run(root: DataRoot, run_id: str, params: TrainParams, origin: Origin) -> Iterator[Tracker]:
    """The MLflow run of ``run_id``: a new one, or that of an earlier attempt; it ends with the block."""
    tracker, status = Tracker(root, run_id, params, origin), "FAILED"
    try:
        yield tracker
        status = FINISHED
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.end(status)


def generation_entry(generation: str, tags: Mapping[str, object] | None = None, start_ms: int | None = None) -> Entry:
    """The run of a generation that is trained or scored here; it lasts as long as its first training."""
    own = {"generation": generation, "source": TRAINED, "stage": "generation"}
    return Entry(f"{TRAINED}/{generation}", generation, {**(tags or {}), **own}, start_ms=start_ms)


def training_entry(run_id: str, params: TrainParams, origin: Origin, parent: str, start_ms: int | None = None) -> Entry:
    """A training run as it begins: tags, parameters and the manifest it reads."""
    execution = {f"execution.{key}": value for key, value in params.execution.model_dump(mode="json").items()}
    return Entry(
        f"train/{run_id}",
        f"{params.generation} train",
        {**origin_tags(run_id, params, origin), **execution, "stage": "train"},
        params.model_dump(mode="json", exclude=NOT_SCIENCE),
        {f"table:{cards.stem('manifest', params.manifest)}": f"{origin.fingerprint}@{origin.version}"},
        parent=parent,
        start_ms=start_ms,
    )


def origin_tags(run_id: str, params: TrainParams, origin: Origin) -> dict[str, object]:
    """What a training run and its generation's run have in common."""
    return {
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


def curves(row: EpochRow) -> dict[str, float]:
    """Metrics of an epoch that MLflow plots; those that were not measured are left out."""
    return {key: value for key, value in asdict(row).items() if key not in NOT_CURVES and value is not None}


def summary(rows: list[EpochRow], card: CheckpointCard) -> tuple[dict[str, float], dict[str, object]]:
    """The kept epoch as ``best_*`` metrics, and the checkpoint as tags."""
    best = asdict(rows[card.best_epoch - 1])
    kept = {f"best_{key}": best[key] for key in ("val_auc", "val_loss", "binary_score_frac", "metric")}
    kept |= {f"best_{k}": value for k, value in best.items() if k.startswith("tpr_at_fpr") and value is not None}
    kept |= {"best_epoch": card.best_epoch, "epochs_run": len(rows)}
    tags = {name: getattr(card, name) for name in ("checkpoint_id", "config_sha256", "dtype")}
    return kept, {**tags, "ancestors": " ".join(card.ancestors) or "none"}


def log_metrics(root: DataRoot, generation: str, metrics: Mapping[str, float]) -> None:
    """Keep the figures of an evaluation in the generation's run ``evaluate``; those not finite are left out."""
    figures = {name: float(value) for name, value in metrics.items()}
    pin = _read_json(root.cards / f"{cards.stem('scores', generation)}.pin.json")
    _log_result(root, generation, "evaluate", _model_facts(root, generation), figures, pin)


def log_grid(root: DataRoot, generation: str, grid_id: str, folder: Path) -> None:
    """Keep parameters, counts and mean scores of a selection-function grid in the generation's run ``grid``."""
    facts = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
    params = {key: value for key, value in facts.items() if not isinstance(value, list)}
    figures = _grid_figures(folder)
    figures |= {name: len(facts[key]) for key, name in (("cells", "cells"), ("short", "cells_short")) if key in facts}
    lineage = _read_json(folder / "lineage.json")
    _log_result(root, generation, "grid", {**params, "grid_id": grid_id}, figures, lineage)


def log_figure(root: DataRoot, generation: str, name: str, content: bytes) -> None:
    """Keep a picture (a PNG or SVG file) with the generation's run."""
    store = RunStore(root)
    store.figure(_finished_parent(store, generation), name, content)


def forget_runs(root: DataRoot, generation: str, stage: str | None = None) -> int:
    """Delete (restorably, as MLflow does) the runs of a generation trained or scored here; return their number.

    Of one ``stage`` only, where it is named.
    """
    if not root.mlflow_database.exists():
        return 0
    store = RunStore(root)
    named = {} if stage is None else {"stage": stage}
    runs = store.find({"generation": generation, "source": TRAINED, **named})
    for run in runs:
        store.delete(run.info.run_id)
    return len(runs)


def _log_result(
    root: DataRoot,
    generation: str,
    stage: str,
    params: Mapping[str, object],
    figures: Mapping[str, float],
    lineage: Mapping[str, Any],
) -> None:
    """Keep a finished result as one run, with the code and the tables that it was made from."""
    store = RunStore(root)
    tags = {**_model_facts(root, generation), "generation": generation, "source": TRAINED, "stage": stage}
    tags["commit"] = lineage.get("code", {}).get("git_commit") or git_commit()
    parent = _finished_parent(store, generation)
    inputs = lineage.get("inputs", {})
    store.keep(Entry(f"{stage}/{generation}", f"{generation} {stage}", tags, params, inputs, figures, parent=parent))


def _finished_parent(store: RunStore, generation: str) -> str:
    parent = store.open(generation_entry(generation))
    store.close(parent)
    return parent


def _grid_figures(folder: Path) -> dict[str, float]:
    batches = sorted(str(path) for path in folder.glob("batch-*.parquet"))
    if not batches:
        raise DataError(f"{folder} contains no grid batches; run `dvc repro`")
    rows = ds.dataset(batches).to_table(columns=["status", "score", "host_score"]).to_pandas()
    scored = rows[rows["status"] == "scored"].dropna()
    counts = {"injections": len(rows), "scored": len(scored), "failed": len(rows) - len(scored)}
    if scored.empty:
        return dict(counts)
    mean, host = float(scored["score"].mean()), float(scored["host_score"].mean())
    return counts | {"mean_score": mean, "mean_host_score": host, "mean_score_gain": mean - host}


def _model_facts(root: DataRoot, generation: str) -> dict[str, str]:
    """Which model a result belongs to, where the generation is a checkpoint of this project."""
    card = _read_json(root.checkpoints(generation) / "checkpoint.json")
    if not card:
        return {}
    facts = {name: str(card[name]) for name in ("checkpoint_id", "run_id")}
    return facts | {"data_fingerprint": card["manifest_fingerprint"], "lineage": card["config"]["init"] or "none"}


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
