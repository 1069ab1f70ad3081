"""The project's runs in MLflow; the only module that imports it (late: that takes seconds).

A run is found again by its tag ``key``: a rerun continues what a killed one left, and the same values logged again
change nothing.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from lake import garbage
from lake.errors import LakeError
from lake.root import DataRoot

log = logging.getLogger(__name__)

EXPERIMENT = "darkhaloscope"
FINISHED = "FINISHED"
UNDATED_MS = 86_400_000
"""Start of a run whose records hold no date: MLflow sorts by start, and takes 0 for now."""
_PER_BATCH, _METRICS_PER_BATCH = 90, 1000
_PARAM_LENGTH, _TAG_LENGTH, _DIGEST_LENGTH = 6000, 5000, 36

Point = tuple[int, int, Mapping[str, float]]
"""Figures of one step: (step, time in ms since 1970, values)."""


class RunStore:
    """Runs in the MLflow database of a data root."""

    def __init__(self, root: DataRoot) -> None:
        self.client = _open(root.mlflow_database.resolve())
        place = (root.mlflow_database.parent / "artifacts").resolve().as_uri()
        found = self.client.get_experiment_by_name(EXPERIMENT)
        self.experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT, place)
        if found and found.artifact_location != place:
            log.warning("the data folder was moved: figures of MLflow runs go to %s", found.artifact_location)

    def page(self, port: int) -> str:
        """Where the MLflow page on a local port shows the runs, beside charts of their figures.

        Without the kind of work in its address the page opens on language models.
        """
        view = "workflowType=machine_learning&compareRunsMode=CHART"
        return f"http://127.0.0.1:{port}/#/experiments/{self.experiment}/runs?{view}"

    def note(self) -> dict[str, str]:
        """Tags of the experiment."""
        return dict(self.client.get_experiment(self.experiment).tags)

    def set_note(self, name: str, value: str) -> None:
        self.client.set_experiment_tag(self.experiment, name, value)

    def find(self, tags: Mapping[str, str]) -> list[Any]:
        """Runs that carry all these tags."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return list(self.client.search_runs([self.experiment], wanted, max_results=5000))

    def run(self, key: str, name: str, tags: Mapping[str, object], parent: str | None = None) -> str:
        """Identifier of the run ``key``, made where it is not there."""
        known = self.find({"key": key})
        if not known:
            return self.create(key, name, tags, parent)
        run = str(known[0].info.run_id)
        self.tags(run, tags)
        return run

    def create(
        self, key: str, name: str, tags: Mapping[str, object], parent: str | None = None, start_ms: int | None = None
    ) -> str:
        """A new run, which is running until it is closed."""
        texts = _texts(tags) | {"key": key}
        if parent:
            texts["mlflow.parentRunId"] = parent
        return str(self.client.create_run(self.experiment, start_ms, texts, run_name=name).info.run_id)

    def delete(self, run: str) -> None:
        self.client.delete_run(run)

    def close(self, run: str, status: str = FINISHED, end_ms: int | None = None) -> None:
        self.client.set_terminated(run, status, end_ms)

    @contextmanager
    def running(self, run: str) -> Iterator[None]:
        """Mark the run as running, and as finished, failed or killed when the block ends."""
        self.client.update_run(run, status="RUNNING")
        try:
            yield
        except KeyboardInterrupt:
            self.close(run, "KILLED")
            raise
        except BaseException:
            self.close(run, "FAILED")
            raise
        self.close(run)

    def tags(self, run: str, values: Mapping[str, object]) -> None:
        from mlflow.entities import RunTag

        for part in _parts([RunTag(*item) for item in _texts(values).items()], _PER_BATCH):
            self.client.log_batch(run, tags=part)

    def params(self, run: str, values: Mapping[str, object]) -> None:
        """Parameters, nested names joined by dots; MLflow lets nobody change one, so those already there stay."""
        from mlflow.entities import Param

        known = self.client.get_run(run).data.params
        texts = {_name(key): _text(value)[:_PARAM_LENGTH] for key, value in _flat(values)}
        entries = [Param(key, value) for key, value in texts.items() if key not in known]
        for part in _parts(entries, _PER_BATCH):
            self.client.log_batch(run, params=part)

    def summary(self, run: str, values: Mapping[str, float | None], at_ms: int | None = None) -> None:
        """Figures of the whole run; missing ones and those already there are skipped."""
        known = self.client.get_run(run).data.metrics
        changed = {key: value for key, value in values.items() if value is not None and known.get(_name(key)) != value}
        self.points(run, [(0, _now_ms() if at_ms is None else at_ms, changed)])

    def points(self, run: str, points: Iterable[Point]) -> None:
        """Figures of steps; those that are not finite are left out."""
        from mlflow.entities import Metric

        metrics = [
            Metric(_name(name), float(value), at_ms, step)
            for step, at_ms, values in points
            for name, value in values.items()
            if math.isfinite(value)
        ]
        for part in _parts(metrics, _METRICS_PER_BATCH):
            self.client.log_batch(run, metrics=part)

    def point(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Figures of one step, now."""
        self.points(run, [(step, _now_ms(), values)])

    def logged(self, run: str, metric: str) -> dict[int, float]:
        """Last value of a metric at each step."""
        history = self.client.get_metric_history(run, metric)
        return {m.step: m.value for m in sorted(history, key=lambda m: m.timestamp)}

    def table_input(self, run: str, name: str, path: str, version: int, fingerprint: str) -> None:
        """A pinned table as an input of the run; the digest is the fingerprint, or the part of it that fits."""
        from mlflow.data.delta_dataset_source import DeltaDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput

        source = DeltaDatasetSource(path=path, delta_table_version=version)
        dataset = MetaDataset(source, name=name, digest=fingerprint[-_DIGEST_LENGTH:])
        self.client.log_inputs(run, datasets=[DatasetInput(dataset._to_mlflow_entity())])

    def figure(self, run: str, name: str, png: bytes) -> None:
        """A picture among the run's artifacts."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(png)
            self.client.log_artifact(run, str(path), "figures")


def _open(database: Path) -> Any:
    """Client of the database, which appears at its place when it is complete."""
    client_class = _client_class()
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_suffix(".lock")):
        if not database.exists():
            for left in database.parent.glob(".new-*"):
                shutil.rmtree(left, ignore_errors=True)
            draft = Path(tempfile.mkdtemp(prefix=".new-", dir=database.parent))
            client_class(f"sqlite:///{draft / database.name}").search_experiments(max_results=1)
            (draft / database.name).replace(database)
            draft.rmdir()
    _require_sqlite(database)
    client = client_class(f"sqlite:///{database}")
    from mlflow.exceptions import MlflowException

    try:
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise LakeError(
            f"MLflow cannot use {database}: {error}; upgrade it with `mlflow db upgrade sqlite:///{database}`, "
            "or move it away and run `dvc repro --force`"
        ) from error
    return client


def _require_sqlite(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        try:
            connection.execute("SELECT count(*) FROM runs").fetchone()
        except sqlite3.DatabaseError as error:
            raise LakeError(
                f"{database} is no MLflow database ({error}); move it away, the next run makes a new one"
            ) from error


def _client_class() -> Any:
    """MLflow, imported without its usage reports, its progress notes and the deprecations of what it builds on."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.store.tracking import sqlalchemy_store  # noqa: F401  (the client would import it later, and warn)
        from mlflow.tracking import MlflowClient
    garbage.spare_imported()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient


def _parts(entries: list[Any], size: int) -> Iterator[list[Any]]:
    for first in range(0, len(entries), size):
        yield entries[first : first + size]


def _flat(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _texts(tags: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value)[:_TAG_LENGTH] for name, value in tags.items() if value is not None}


def _name(name: str) -> str:
    """A name that MLflow accepts: comparisons in words, anything else it refuses as an underscore."""
    for sign, word in (("@", "_at_"), (">=", "_ge_"), ("<=", "_le_"), ("=", "_"), (">", "_gt_"), ("<", "_lt_")):
        name = name.replace(sign, word)
    parts = re.sub(r"[^\w.\-/ :]", "_", name)[:250].split("/")
    return "/".join(part for part in parts if part.strip("."))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
