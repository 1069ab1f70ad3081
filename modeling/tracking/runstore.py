"""The project's runs in MLflow.

A run is found again by its tag ``key``: a rerun continues what a killed one left, and logging the same values again
changes nothing.
"""

from __future__ import annotations

import json
import logging
import math
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lake.root import DataRoot
from modeling.tracking import rundatabase
from modeling.tracking.rundatabase import EXPERIMENT

log = logging.getLogger(__name__)

FINISHED = "FINISHED"
_PER_BATCH, _METRICS_PER_BATCH = 90, 1000
_PARAM_LENGTH, _TAG_LENGTH, _DIGEST_LENGTH = 6000, 5000, 36

Point = tuple[int, int, Mapping[str, float]]
"""Figures of one step: (step, time in ms since 1970, values)."""


class RunStore:
    """Runs in the MLflow database of a data root."""

    def __init__(self, root: DataRoot) -> None:
        self._database = root.mlflow_database.resolve()
        self.client = rundatabase.open_client(self._database)
        found = self.client.get_experiment_by_name(EXPERIMENT)
        place = rundatabase.artifacts(self._database)
        self.experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT, place)
        if found and found.lifecycle_stage == "deleted":
            self._restore()

    def _restore(self) -> None:
        """Restore an experiment that was deleted; of runs that replaced each other the last one stays."""
        self.client.restore_experiment(self.experiment)
        log.warning("the experiment '%s' had been deleted in MLflow: it is restored, with its runs", EXPERIMENT)
        for name in self.note():
            if not name.startswith("mlflow."):
                self.set_note(name, "")
        kept: set[str] = set()
        for run in sorted(self.find({}), key=lambda run: (run.info.end_time or 0, run.info.start_time), reverse=True):
            key = run.data.tags.get("key", run.info.run_id)
            if key in kept:
                self.delete(run.info.run_id)
            kept.add(key)

    def page(self, port: int) -> str:
        """Where the MLflow page on a local port shows the runs, next to charts of their metrics.

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

    def run(
        self, key: str, name: str, tags: Mapping[str, object], parent: str | None = None, start_ms: int | None = None
    ) -> str:
        """Identifier of the run ``key``, made where it is not there."""
        known = self.find({"key": key})
        if not known:
            return self.create(key, name, tags, parent, start_ms)
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
        """End a run; one that has already finished keeps its end time."""
        if self.client.get_run(run).info.status != FINISHED:
            self.client.set_terminated(run, status, end_ms)

    def undate(self, ends_ms: Mapping[str, int | None]) -> None:
        """Runs without a recorded date, with the duration of their log: MLflow's page shows no date for them."""
        rundatabase.undate(self._database, ends_ms)

    def resume(self, run: str) -> None:
        """Mark a run that has not finished as running."""
        if self.client.get_run(run).info.status != FINISHED:
            self.client.update_run(run, status="RUNNING")

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
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        # The client remembers where a run's artifacts are, even when the data folder has changed.
        artifacts = get_artifact_repository(self.client.get_run(run).info.artifact_uri)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(png)
            artifacts.log_artifact(str(path), "figures")


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
