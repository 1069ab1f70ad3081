"""What the reference system recorded: training logs and experiment registry, as rows of the project's tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

import pyarrow as pa
import yaml
from pydantic import Field

from lake import tables
from lake.config import Section
from lake.contract.spec import lineage_columns

ORIGIN = "historical"
_LOGS = ("training_epochs.csv", "sim_generations.csv")
_RENAMED = {"auroc": "val_auc", "tpr_at_fpr_1e-4": "tpr_at_fpr_1e_4", "tpr_at_fpr_1e-3": "tpr_at_fpr_1e_3"}
_LINEAGE = {column.name for column in lineage_columns()}


class Record(Section):
    """One run of the reference system's registry."""

    run_id: str
    """Identifier of the run."""
    kind: str
    """What ran."""
    generation: str
    """Generation it belongs to."""
    ancestor: str | None = None
    """Generation whose weights it started from."""
    status: str = "valid"
    """Standing of the result."""
    status_reason: str | None = None
    """Why it is not valid."""
    run_date: date | None = None
    """When it ran; none where the records do not say."""
    config_hash: str | None = None
    """Prefix of the SHA-256 of its configuration."""
    network: str | None = None
    """Architecture."""
    best_val_auc: float | None = None
    """Validation AUC of the epoch it declared best."""
    best_epoch: int | None = None
    """That epoch, as the run counts."""
    epochs_run: int | None = None
    """Epochs run."""
    key_finding: str
    """The result in a sentence."""
    disagreements: tuple[str, ...] = ()
    """Where its records contradict each other or other records: every value."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Its figures that need no further condition to be read."""

    def finding(self) -> str:
        """The key finding followed by the disagreements."""
        if not self.disagreements:
            return self.key_finding
        return f"{self.key_finding} Records disagree: {'; '.join(self.disagreements)}."


@cache
def records() -> tuple[Record, ...]:
    """The registry; a training run is its own generation."""
    entries = yaml.safe_load(_text("experiments.yaml"))
    return tuple(
        Record.load({"generation": entry["run_id"], **entry}, f"history.{entry['run_id']}") for entry in entries
    )


def epochs() -> Iterator[dict[str, Any]]:
    """One mapping per logged epoch with the figures that its log holds; epochs are numbered as in the log."""
    for name in _LOGS:
        for line in csv.DictReader(_text(name).splitlines()):
            row = {_RENAMED.get(key, key): value for key, value in line.items() if value}
            if "epoch" in row:
                yield {key: _value(key, value) for key, value in row.items()}


def training_epochs() -> pa.Table:
    """Rows of ``training_epochs``, without its lineage columns."""
    rows = [{**row, "origin": ORIGIN, "generation": row["run_id"]} for row in epochs()]
    return pa.Table.from_pylist(rows, _schema("training_epochs"))


def experiments() -> pa.Table:
    """Rows of ``experiments``, without its lineage columns."""
    return pa.Table.from_pylist([_experiment(record) for record in records()], _schema("experiments"))


def _experiment(record: Record) -> dict[str, Any]:
    values = record.model_dump(exclude={"run_date", "key_finding", "ancestor", "disagreements", "metrics"})
    day = record.run_date.isoformat() if record.run_date else None
    return {**values, "origin": ORIGIN, "source": ORIGIN, "run_date": day, "key_finding": record.finding()}


def _value(key: str, value: str) -> Any:
    if key in ("run_id", "phase"):
        return value
    return int(value) if key == "epoch" else float(value)


def _schema(table: str) -> pa.Schema:
    return pa.schema([column.arrow for column in tables.spec(table).columns if column.name not in _LINEAGE])


def _text(name: str) -> str:
    return (resources.files("modeling") / "history" / name).read_text(encoding="utf-8")
