"""The project's runs in MLflow.

A run is found again by its tag ``key``: a rerun continues a killed run, and logging the same values again
changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lake.files import atomic
from lake.root import DataRoot
from modeling.tracking import rundatabase
from modeling.tracking.rundatabase import EXPERIMENT

log = logging.getLogger(__name__)

RUNNING, FINISHED, KILLED, PARENT = "RUNNING", "FINISHED", "KILLED", "mlflow.parentRunId"
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of the experiment, without which the page shows its runs as those of language models."""
_PER_BATCH = {"tags": 90, "params": 90, "metrics": 1000}
_PARAM_LENGTH, _TAG_LENGTH, _DIGEST_LENGTH = 6000, 5000, 36

Point = tuple[int, int | None, Mapping[str, float]]
"""Figures of one step: (step, time in ms since 1970 or None for now, values)."""


@dataclass(frozen=True)
class Entry:
    """A run as MLflow shows it."""

    key: str
    """Key that identifies the run."""
    name: str
    tags: Mapping[str, object]
    params: Mapping[str, object] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    """Recorded inputs: ``table:<name>`` -> ``<fingerprint>@<version>``; other kinds are left out."""
    figures: Mapping[str, float | None] = field(default_factory=dict)
    """Metrics of the whole run."""
    points: Sequence[Point] = ()
    """Metrics of its steps."""
    parent: str | None = None
    start_ms: int | None = None
    """Milliseconds since 1970; None for now, 0 if unknown."""
    end_ms: int | None = None

    def digest(self) -> str:
        """SHA-256 of what is shown, except the commit: another commit may give the same figures."""
        tags = {name: value for name, value in self.tags.items() if name != "commit"}
        shown = [tags, self.params, self.figures, self.points, self.parent]
        return hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode()).hexdigest()


class RunStore:
    """Runs in the MLflow database of a data root."""

    def __init__(self, root: DataRoot) -> None:
        self._root = root
        self._database = root.mlflow_database.resolve()
        self.client = rundatabase.open_client(self._database)
        found = self.client.get_experiment_by_name(EXPERIMENT)
        place = rundatabase.artifacts(self._database)
        self.experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT, place, _KIND)
        if found and found.lifecycle_stage == "deleted":
            self._restore()

    def _restore(self) -> None:
        """Restore an experiment that was deleted; of runs that replaced each other only the last is restored."""
        self.client.restore_experiment(self.experiment)
        log.warning("the experiment '%s' had been deleted in MLflow: it is restored, with its runs", EXPERIMENT)
        kept: set[str] = set()
        for run in sorted(self.find({}), key=lambda run: (run.info.end_time or 0, run.info.start_time), reverse=True):
            key = run.data.tags.get("key", run.info.run_id)
            if key in kept:
                self.delete(run.info.run_id)
            kept.add(key)

    def find(self, tags: Mapping[str, str]) -> list[Any]:
        """Runs that carry all these tags."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return list(self.client.search_runs([self.experiment], wanted, max_results=5000))

    def open(self, entry: Entry) -> str:
        """Start the run of an entry, found or made, with its tags, parameters and tables; returns its identifier."""
        known = next(iter(self.find({"key": entry.key})), None)
        if known and not _contradicts(known, entry):
            run = str(known.info.run_id)
            if known.info.status != FINISHED:
                self.client.update_run(run, status=RUNNING)
            self.tags(run, entry.tags)
        else:
            run = self._created(entry, known)
        self.params(run, entry.params)
        self._tables(run, entry.tables)
        return run

    def _created(self, entry: Entry, former: Any) -> str:
        """A new run; it takes the place of a ``former`` one, whose parameters cannot be changed, above its runs."""
        tags = _texts({**entry.tags, "key": entry.key, PARENT: entry.parent})
        made = self.client.create_run(self.experiment, entry.start_ms, tags, run_name=entry.name)
        run = str(made.info.run_id)
        if former:
            for child in self.find({PARENT: former.info.run_id}):
                self.client.set_tag(child.info.run_id, PARENT, run)
            self.delete(former.info.run_id)
        return run

    def keep(self, entry: Entry, known: list[Any] | None = None) -> str:
        """Identifier of the finished run of an entry; it replaces ``known`` runs (searched by default).

        A complete run with the same content is left as it is.
        """
        digest = entry.digest()
        known = self.find({"key": entry.key}) if known is None else known
        for run in known:
            if run.data.tags.get("digest") == digest and run.info.status == FINISHED:
                return str(run.info.run_id)
        for run in known:
            self.delete(run.info.run_id)
        made = self.open(entry)
        self.points(made, entry.points)
        self.summarise(made, entry.figures, {"digest": digest}, entry.end_ms)
        self.close(made, end_ms=entry.end_ms)
        if entry.start_ms == 0:
            rundatabase.undate(self._database, made, entry.end_ms or None)
        return made

    def delete(self, run: str) -> None:
        self.client.delete_run(run)

    def close(self, run: str, status: str = FINISHED, end_ms: int | None = None) -> None:
        """End a run; one that has already finished keeps its end time."""
        if self.client.get_run(run).info.status != FINISHED:
            self.client.set_terminated(run, status, end_ms)

    def tags(self, run: str, values: Mapping[str, object]) -> None:
        from mlflow.entities import RunTag

        self._log(run, "tags", [RunTag(*item) for item in _texts(values).items()])

    def params(self, run: str, values: Mapping[str, object]) -> None:
        """Parameters, nested names joined by dots; MLflow does not allow changes, so existing ones are skipped."""
        from mlflow.entities import Param

        known = self.client.get_run(run).data.params
        texts = {_name(key): _text(value)[:_PARAM_LENGTH] for key, value in _flat(values)}
        self._log(run, "params", [Param(key, value) for key, value in texts.items() if key not in known])

    def summarise(
        self, run: str, figures: Mapping[str, float | None], tags: Mapping[str, object], at_ms: int | None = None
    ) -> None:
        """Figures and tags of the whole run; figures that are missing or already there are skipped."""
        known = self.client.get_run(run).data.metrics
        changed = {key: value for key, value in figures.items() if value is not None and known.get(_name(key)) != value}
        self.points(run, [(0, at_ms, changed)])
        self.tags(run, tags)

    def curves(self, run: str, points: Sequence[Point]) -> None:
        """Figures of steps, in place of those of other steps; those that are logged already are left as they are."""
        known = {name: self.logged(run, _name(name)) for name in {name for *_, values in points for name in values}}
        if other := [name for name, steps in known.items() if not steps.keys() <= {step for step, *_ in points}]:
            self.drop(run, other)
            known |= {name: {} for name in other}
        new = [(step, at, {n: v for n, v in values.items() if known[n].get(step) != v}) for step, at, values in points]
        self.points(run, new)

    def points(self, run: str, points: Iterable[Point]) -> None:
        """Figures of steps; those that are not finite are left out."""
        from mlflow.entities import Metric

        metrics = [
            Metric(_name(name), float(value), time.time_ns() // 1_000_000 if at_ms is None else at_ms, step)
            for step, at_ms, values in points
            for name, value in values.items()
            if math.isfinite(value)
        ]
        self._log(run, "metrics", metrics)

    def drop(self, run: str, metrics: Collection[str]) -> None:
        """Delete metrics of a run."""
        rundatabase.drop_metrics(self._database, run, [_name(name) for name in metrics])

    def _log(self, run: str, kind: str, entries: list[Any]) -> None:
        """Log entries in as few batches as MLflow allows."""
        size = _PER_BATCH[kind]
        for first in range(0, len(entries), size):
            self.client.log_batch(run, **{kind: entries[first : first + size]})

    def logged(self, run: str, metric: str) -> dict[int, float]:
        """Last value of a metric at each step."""
        history = self.client.get_metric_history(run, metric)
        return {m.step: m.value for m in sorted(history, key=lambda m: m.timestamp)}

    def _tables(self, run: str, inputs: Mapping[str, str]) -> None:
        """The tables among recorded inputs, as datasets of the run; a digest is the end of a fingerprint."""
        from mlflow.data.delta_dataset_source import DeltaDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput

        datasets = []
        for key, value in inputs.items():
            kind, _, name = key.partition(":")
            fingerprint, _, version = value.rpartition("@")
            if kind == "table" and version.isdigit():
                place = self._root.table(name.split(".")[0])
                source = DeltaDatasetSource(path=place, delta_table_version=int(version))
                dataset = MetaDataset(source, name=name, digest=fingerprint[-_DIGEST_LENGTH:])
                datasets.append(DatasetInput(dataset._to_mlflow_entity()))
        if datasets:
            self.client.log_inputs(run, datasets=datasets)

    def watched(self, run: str) -> Any:
        """A thread that logs the use of processor, memory, disk and GPU every ten seconds until its ``finish()``."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(run, resume_logging=True, tracking_uri=f"sqlite:///{self._database}")
        monitor.start()
        return monitor

    def artifacts(self, run: str) -> Any:
        """Where the run's artifacts are kept."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        # The client remembers where a run's artifacts are, even when the data folder has changed.
        return get_artifact_repository(self.client.get_run(run).info.artifact_uri)

    def files(self, run: str, contents: Mapping[str, bytes]) -> None:
        """Artifacts of the run by path."""
        if not contents:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in contents.items():
                atomic.write_bytes(Path(folder) / name, content)
            self.artifacts(run).log_artifacts(folder)

    def drop_files(self, run: str, folder: str, kept: Collection[str]) -> None:
        """Delete the artifacts in a folder of the run but some."""
        held = self.artifacts(run)
        for path in [one.path for one in held.list_artifacts(folder) if one.path not in kept]:
            held.delete_artifacts(path)


def _contradicts(run: Any, entry: Entry) -> bool:
    """Whether a run is of other parameters or of another training than an entry of the same key."""
    texts = {_name(key): _text(value)[:_PARAM_LENGTH] for key, value in _flat(entry.params)}
    own, its = entry.tags.get("run_id"), run.data.tags.get("run_id")
    other = bool(own and its and own != its)
    return other or any(run.data.params.get(key, text) != text for key, text in texts.items())


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
    """A name that MLflow accepts: comparisons become words, other characters it refuses underscores."""
    for sign, word in (("@", "_at_"), (">=", "_ge_"), ("<=", "_le_"), ("=", "_"), (">", "_gt_"), ("<", "_lt_")):
        name = name.replace(sign, word)
    parts = re.sub(r"[^\w.\-/ :]", "_", name)[:250].split("/")
    return "/".join(part for part in parts if part.strip("."))
