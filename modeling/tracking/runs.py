"""Trainings of this project in MLflow, next to those of the reference system.

Each generation is a parent run, tagged ``level`` = ``generation``, with its training and results
(:mod:`modeling.tracking.results`) below it; tag ``source`` is ``trained`` or ``historical``. A run is identified by
what it is made from, so a rerun finds it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lake import processes
from lake.errors import one_line
from lake.root import DataRoot
from lake.store import cards
from modeling.tracking.runstore import FINISHED, KILLED, PARENT, RUNNING, Entry, RunStore

if TYPE_CHECKING:
    from modeling.config import TrainParams
    from modeling.scoring.card import CheckpointCard
    from modeling.training.log import EpochRow

log = logging.getLogger(__name__)

TRAINED, HISTORICAL = "trained", "historical"
PROCESS = "process"
"""Tag of a training: what runs it (:func:`lake.processes.this`)."""
GENERATION = "generation"
"""Tag ``level`` of the runs that the page shows side by side: one per generation."""
COMPARED, KEPT = ("train_loss", "val_loss", "val_auc"), ("best_val_auc", "best_epoch", "epochs_run")
"""Curves of a training, and figures of the epoch whose weights are kept, that the generation's run carries too."""
OF_TRAINING = (*COMPARED, *KEPT)
NOT_CURVES = {"epoch", "phase", "best_val_auc"}
"""Fields of an epoch's row that are not plotted; best_val_auc is reserved for the summary of the run."""
MANIFESTS = ("manifest", "stamp_manifest")
"""Tables of what is trained on: cut-outs, simulated stamps."""
NOT_SCIENCE = {"execution", "reference", "description"}


@dataclass(frozen=True)
class Origin:
    """What a training run is made from: the manifest slice, in one of the tables ``MANIFESTS``, and the code."""

    fingerprint: str
    version: int
    code: Mapping[str, str]
    table: str = "manifest"


class Tracker:
    """Records one training run; if MLflow fails it warns once, and the report adds the run later."""

    def __init__(self, root: DataRoot, run_id: str, params: TrainParams, origin: Origin) -> None:
        self._name = params.generation
        self._lost = False
        self._runs: tuple[str, ...] = ()
        self._logged: dict[int, float] = {}
        self._watch: Any = None
        self._attempt(lambda: self._open(root, run_id, params, origin))

    def _open(self, root: DataRoot, run_id: str, params: TrainParams, origin: Origin) -> None:
        self._store = RunStore(root)
        parent = self._store.open(trained_entry(run_id, params, origin))
        run = self._store.open(training_entry(run_id, params, origin, parent))
        self._runs = (run, parent)
        self._store.tags(run, {PROCESS: processes.this()})
        self._logged = self._store.logged(run, "train_loss")
        self._watch = self._store.watched(run)

    def epoch(self, row: EpochRow) -> None:
        """Log an epoch, unless an earlier attempt did."""
        if self._logged.get(row.epoch) != row.train_loss:
            self._attempt(lambda: self._log_epoch(row))

    def _log_epoch(self, row: EpochRow) -> None:
        run, parent = self._runs
        values = curves(row)
        self._store.points(run, [(row.epoch, None, values)])
        self._store.points(parent, [(row.epoch, None, compared(values))])

    def finish(self, rows: list[EpochRow], card: CheckpointCard) -> None:
        """Log the epoch whose weights are kept as ``best_*``, and the identity of the checkpoint."""
        run, parent = self._runs or ("", "")
        figures, tags = summary(rows, card)
        self._attempt(lambda: self._store.summarise(run, figures, tags))
        self._attempt(lambda: self._store.summarise(parent, headline(figures), tags))

    def end(self, status: str) -> None:
        """End the run; first of all in MLflow, since a process that is stopped has a few seconds."""
        for run in self._runs:
            self._attempt(partial(self._store.close, run, status))
        if self._watch:
            self._watch.finish()

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
    with processes.stoppable() as close:
        tracker, status = Tracker(root, run_id, params, origin), "FAILED"
        try:
            yield tracker
            status = FINISHED
        except (KeyboardInterrupt, SystemExit):
            status = KILLED
            raise
        finally:
            close()
            tracker.end(status)


def end_lost(root: DataRoot) -> None:
    """End the trainings whose process is gone without having ended them, as SIGKILL or a power cut leaves them."""
    store = RunStore(root)
    for run in store.find({"stage": "train"}):
        process = run.data.tags.get(PROCESS)
        if run.info.status == RUNNING and process is not None and processes.is_lost(process):
            for each in (run.info.run_id, run.data.tags[PARENT]):
                store.close(each, KILLED)


def generation_entry(
    generation: str,
    tags: Mapping[str, object] | None = None,
    params: Mapping[str, object] | None = None,
    tables: Mapping[str, str] | None = None,
    start_ms: int | None = None,
) -> Entry:
    """The run of a generation that is trained or scored here; it lasts as long as its first training."""
    own = {"generation": generation, "source": TRAINED, "stage": "generation", "level": GENERATION}
    name = f"{TRAINED}/{generation}"
    return Entry(name, generation, {**(tags or {}), **own}, params or {}, tables or {}, start_ms=start_ms)


def trained_entry(run_id: str, params: TrainParams, origin: Origin, start_ms: int | None = None) -> Entry:
    """The run of a generation that is trained here: tags, parameters and manifest of its training."""
    tags, values = origin_tags(run_id, params, origin), params.model_dump(mode="json", exclude=NOT_SCIENCE)
    return generation_entry(params.generation, tags, values, _manifest(params, origin), start_ms)


def training_entry(run_id: str, params: TrainParams, origin: Origin, parent: str, start_ms: int | None = None) -> Entry:
    """A training run as it begins: tags, parameters and the manifest it reads."""
    execution = {f"execution.{key}": value for key, value in params.execution.model_dump(mode="json").items()}
    return Entry(
        f"train/{run_id}",
        f"{params.generation} train",
        {**origin_tags(run_id, params, origin), **execution, "stage": "train"},
        params.model_dump(mode="json", exclude=NOT_SCIENCE),
        _manifest(params, origin),
        parent=parent,
        start_ms=start_ms,
    )


def _manifest(params: TrainParams, origin: Origin) -> dict[str, str]:
    return {f"table:{cards.stem(origin.table, params.manifest)}": f"{origin.fingerprint}@{origin.version}"}


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


def compared(values: Mapping[str, float]) -> dict[str, float]:
    """The curves that a generation's run carries."""
    return {key: values[key] for key in COMPARED if key in values}


def headline(figures: Mapping[str, float]) -> dict[str, float]:
    """Of the kept epoch's figures, those that a generation's run carries."""
    return {key: figures[key] for key in KEPT}


def summary(rows: list[EpochRow], card: CheckpointCard) -> tuple[dict[str, float], dict[str, object]]:
    """The kept epoch as ``best_*`` metrics, and the checkpoint as tags."""
    best = asdict(rows[card.best_epoch - 1])
    kept = {f"best_{key}": best[key] for key in ("val_auc", "val_loss", "binary_score_frac", "metric")}
    kept |= {f"best_{k}": value for k, value in best.items() if k.startswith("tpr_at_fpr") and value is not None}
    kept |= {"best_epoch": card.best_epoch, "epochs_run": len(rows)}
    tags = {name: getattr(card, name) for name in ("checkpoint_id", "config_sha256", "dtype")}
    return kept, {**tags, "ancestors": " ".join(card.ancestors) or "none"}
