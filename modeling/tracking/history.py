"""What the reference system recorded: training logs and experiment registry, as rows of the project's tables."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import Any

import pyarrow as pa

from lake import tables, yamltext
from lake.contract.spec import LINEAGE

ORIGIN = "historical"
_LOGS = ("training_epochs.csv", "sim_generations.csv")
_RENAMED = {
    "auroc": "val_auc",
    "tpr_at_fpr_1e-4": "tpr_at_fpr_1e_4",
    "tpr_at_fpr_1e-3": "tpr_at_fpr_1e_3",
    "hard_negatives_seen": "hard_negatives",
}
_TYPES: dict[str, Callable[[str], Any]] = {"run_id": str, "phase": str, "epoch": int, "hard_negatives": int}
"""Types of the log columns that are not floats."""
_LINEAGE = {column.name for column in LINEAGE}


@cache
def records() -> tuple[dict[str, Any], ...]:
    """The registry, one mapping per run with the content of its record; a training run is its own generation.

    Keys are columns of the table ``experiments``, ``ancestor`` (generation whose weights it started from),
    ``disagreements`` (every value on which records contradict each other) and ``metrics`` (figures
    that can be read without further conditions). The key finding ends with the disagreements.
    """
    entries = yamltext.values(_text("experiments.yaml"))
    return tuple({"generation": e["run_id"], "status": "valid", **e, "key_finding": _finding(e)} for e in entries)


def _finding(entry: dict[str, Any]) -> str:
    if "disagreements" not in entry:
        return str(entry["key_finding"])
    return f"{entry['key_finding']} Records disagree: {'; '.join(entry['disagreements'])}."


def epochs() -> Iterator[dict[str, Any]]:
    """One mapping per logged epoch with the figures in its log; epochs are numbered as in the log."""
    for name in _LOGS:
        for line in csv.DictReader(_text(name).splitlines()):
            row = {_RENAMED.get(key, key): value for key, value in line.items() if value}
            if "epoch" in row:
                yield {key: _TYPES.get(key, float)(value) for key, value in row.items()}


def training_epochs() -> pa.Table:
    """Rows of ``training_epochs``, without its lineage columns."""
    rows = [{**row, "origin": ORIGIN, "generation": row["run_id"]} for row in epochs()]
    return pa.Table.from_pylist(rows, _schema("training_epochs"))


def experiments() -> pa.Table:
    """Rows of ``experiments``, without its lineage columns."""
    rows = [{**record, "origin": ORIGIN, "source": ORIGIN} for record in records()]
    dated = [{**row, "run_date": row["run_date"].isoformat()} if "run_date" in row else row for row in rows]
    return pa.Table.from_pylist(dated, _schema("experiments"))


def _schema(table: str) -> pa.Schema:
    return pa.schema([column.arrow for column in tables.spec(table).columns if column.name not in _LINEAGE])


def _text(name: str) -> str:
    return (resources.files("modeling") / "history" / name).read_text(encoding="utf-8")
