"""The records of the reference system, as rows that meet their contracts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lake import tables
from lake.contract import rules
from modeling.tracking import history


@pytest.mark.parametrize(
    ("table", "rows", "count"),
    [("training_epochs", history.training_epochs(), 604), ("experiments", history.experiments(), 31)],
)
def test_rows_meet_their_contract(table: str, rows: pa.Table, count: int) -> None:
    assert rules.require(tables.spec(table), rows).num_rows == count


def test_records_hold_known_keys_only() -> None:
    known = {column.name for column in tables.spec("experiments").columns} | {"ancestor", "disagreements", "metrics"}
    for record in history.records():
        assert record.keys() <= known, record["run_id"]
        assert all(isinstance(value, float | int) for value in record.get("metrics", {}).values()), record["run_id"]


def of(rows: pa.Table, run_id: str) -> pa.Table:
    return rows.filter(pc.equal(rows["run_id"], run_id))


def test_every_training_log_belongs_to_a_registered_run() -> None:
    registered = set(history.experiments()["run_id"].to_pylist())
    assert set(history.training_epochs()["run_id"].to_pylist()) <= registered


@pytest.mark.parametrize("run_id", ["gen2", "gen3", "gen4", "resnet-gen1"])
def test_the_registry_agrees_with_the_logs_on_the_best_epoch(run_id: str) -> None:
    epochs = of(history.training_epochs(), run_id)
    best = epochs.take(pc.sort_indices(epochs["val_auc"], sort_keys=[("", "descending")]).slice(0, 1)).to_pylist()[0]
    run = of(history.experiments(), run_id).to_pylist()[0]
    assert (run["best_epoch"], run["best_val_auc"]) == (best["epoch"], best["val_auc"])
    assert run["epochs_run"] == epochs.num_rows == pc.max(epochs["epoch"]).as_py()


@pytest.mark.parametrize("run_id", ["sim-gen2", "sim-gen3", "sim-gen4"])
def test_simulation_lines_are_numbered_from_0_and_name_the_declared_best_epoch(run_id: str) -> None:
    epochs = {row["epoch"]: row for row in of(history.training_epochs(), run_id).to_pylist()}
    run = of(history.experiments(), run_id).to_pylist()[0]
    assert min(epochs) == 0
    assert epochs[run["best_epoch"]]["val_auc"] == run["best_val_auc"]


def test_lost_epochs_stay_missing() -> None:
    epochs = of(history.training_epochs(), "resnet18")
    assert pc.min_max(epochs["epoch"]).as_py() == {"min": 31, "max": 68}
    assert epochs["phase"].null_count == epochs.num_rows


def test_disagreeing_values_stand_in_the_finding() -> None:
    findings = {row["run_id"]: row["key_finding"] for row in history.experiments().to_pylist()}
    for run_id, values in {
        "gen3": ("0.9895", "0.991"),
        "gen4": ("1.70e-5", "1.7e-7"),
        "D02": ("89.3 %", "73.3 %"),
        "D04": ("3.41 %", "3.5 %", "4.34 %"),
        "sim-gen2": ("75.1 %", "79.8 %"),
        "resnet18": ("random weights", "ImageNet"),
    }.items():
        assert all(value in findings[run_id] for value in values), run_id


def test_invalid_results_say_why() -> None:
    for row in history.experiments().to_pylist():
        assert (row["status"] == "valid") == (row["status_reason"] is None), row["run_id"]
    assert {r["run_id"] for r in history.experiments().to_pylist() if r["status"] == "invalidated"} == {"D02", "D03"}
