"""Runs in MLflow: found again, logged once, ended after a kill."""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.cards import Card, Pin, Slice
from lake.errors import DataError, LakeError
from lake.root import DataRoot
from modeling import history, tracking
from modeling.checkpoint import Manifest, publish, run_id
from modeling.config import TrainParams
from modeling.data import TrainingArrays
from modeling.log import EpochRow
from modeling.runstore import RunStore, _name
from modeling.train import train

FINGERPRINT = "48:-170141183460469231731687303715884105728:00ffeeddccbbaa99"
ENTRY = Slice(
    Card("manifest", "main", 48, "abc", FINGERPRINT, {"manifest_id": "main"}), Pin(7, "id-of-table", FINGERPRINT)
)
CODE = {"git_commit": "c0ffee", "pipeline_version": "0.1.0", "stage": "train"}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the history in it: making one takes seconds."""
    made = DataRoot.of(tmp_path_factory.mktemp("mlflow"))
    tracking.import_history(made)
    return made.mlflow_database


@pytest.fixture
def root(tmp_path: Path, template: Path) -> DataRoot:
    made = DataRoot.of(tmp_path / "data")
    made.mlflow_database.parent.mkdir(parents=True)
    shutil.copyfile(template, made.mlflow_database)
    return made


def row(epoch: int, train_loss: float = 0.5) -> EpochRow:
    rates = (0.1, 0.2, 0.3)
    return EpochRow(epoch, train_loss, 0.4, 0.9, 0.9, *rates, 0.0, 0.9, 1e-3, 100, "full", 1.5)


def only(store: RunStore, **tags: str) -> Any:
    found = store.find(tags)
    assert len(found) == 1
    return found[0]


def open_run(root: DataRoot, name: str, params: TrainParams) -> Any:
    return tracking.training_run(root, name, params, ENTRY, CODE)


def test_training_is_followed_from_parameters_to_checkpoint(
    root: DataRoot, small: TrainParams, splits: tuple[TrainingArrays, TrainingArrays], tmp_path: Path
) -> None:
    manifest = Manifest("main", FINGERPRINT)
    name = run_id(small, FINGERPRINT)
    with open_run(root, name, small) as tracker:
        result = train(small, *splits, tmp_path / "work", on_epoch=tracker.epoch)
        checkpoint = publish(result, root.checkpoints("demo1"), manifest, *splits)
        tracker.finish(result, checkpoint)
    store = RunStore(root)
    run = only(store, run_id=name, stage="train")
    assert run.info.status == "FINISHED"
    assert run.data.params["optimiser.lr"] == str(small.optimiser.lr)
    assert run.data.params["preprocessing.annulus"] == "[10.0, 15.0]"
    assert run.data.metrics["best_val_auc"] == checkpoint.card.best_val_auc
    expected = {"generation": "demo1", "lineage": "none", "commit": "c0ffee", "source": "trained"}
    expected |= {"data_fingerprint": FINGERPRINT, "checkpoint_id": checkpoint.card.checkpoint_id}
    assert expected.items() <= run.data.tags.items()
    assert store.logged(run.info.run_id, "train_loss") == {r.epoch: r.train_loss for r in result.rows}
    (dataset,) = (entry.dataset for entry in run.inputs.dataset_inputs)
    assert (dataset.name, dataset.source_type) == ("manifest.main", "delta_table")
    assert FINGERPRINT.endswith(dataset.digest)
    assert json.loads(dataset.source)["delta_table_version"] == 7
    parent = only(store, stage="generation")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics["best_val_auc"] == checkpoint.card.best_val_auc


def test_a_rerun_finds_its_run_and_doubles_no_epoch(root: DataRoot, small: TrainParams) -> None:
    for epochs in (2, 3):
        with open_run(root, "demo1-a", small) as tracker:
            for epoch in range(1, epochs + 1):
                tracker.epoch(row(epoch))
    store = RunStore(root)
    run = only(store, run_id="demo1-a", stage="train")
    points = store.client.get_metric_history(run.info.run_id, "val_auc")
    assert [point.step for point in points] == [1, 2, 3]


def test_other_parameters_are_another_run(root: DataRoot, small: TrainParams) -> None:
    for name in ("demo1-a", "demo1-b"):
        with open_run(root, name, small):
            pass
    assert len(RunStore(root).find({"stage": "train"})) == 2
    assert len(RunStore(root).find({"stage": "generation"})) == 1


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_breaks_says_so(root: DataRoot, small: TrainParams, error: type[BaseException], status: str) -> None:
    with pytest.raises(error, match="stop"), open_run(root, "demo1-a", small):
        raise error("stop")
    assert only(RunStore(root), stage="train").info.status == status
    with open_run(root, "demo1-a", small):
        pass
    assert only(RunStore(root), stage="train").info.status == "FINISHED"


def test_a_killed_run_is_continued_and_ended(root: DataRoot, small: TrainParams, tmp_path: Path) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from lake.root import DataRoot
        from modeling.config import TrainParams
        from lake.cards import Card, Pin, Slice
        from modeling.log import EpochRow
        from modeling.tracking import training_run
        root, params = DataRoot.of(sys.argv[1]), TrainParams.model_validate_json(sys.argv[2])
        entry = Slice(Card("manifest", "main", 1, "", "1:2:3"), Pin(7, "", "1:2:3"))
        with training_run(root, "demo1-a", params, entry, {}) as tracker:
            tracker.epoch(EpochRow(1, 0.5, *[0.9] * 9, 100, "full", 1.5))
            Path(sys.argv[3]).touch()
            time.sleep(600)
    """
    flag = tmp_path / "first-epoch"
    arguments = [str(root.local), small.model_dump_json(), str(flag)]
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), *arguments])
    while not flag.exists() and process.poll() is None:
        time.sleep(0.1)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert only(RunStore(root), stage="train").info.status == "RUNNING"
    with open_run(root, "demo1-a", small) as tracker:
        tracker.epoch(row(1))
        tracker.epoch(row(2))
    run = only(RunStore(root), stage="train")
    assert run.info.status == "FINISHED"
    assert len(RunStore(root).client.get_metric_history(run.info.run_id, "train_loss")) == 2


def test_evaluations_replace_what_differs_and_skip_what_is_no_number(root: DataRoot) -> None:
    tracking.log_metrics(root, "demo1", {"tpr@fpr=1e-3": 0.5, "auc": 0.9, "recall A > 0.3": math.nan})
    first = only(RunStore(root), stage="evaluate")
    assert first.data.metrics == {"tpr_at_fpr_1e-3": 0.5, "auc": 0.9}
    tracking.log_metrics(root, "demo1", {"tpr@fpr=1e-3": 0.5, "auc": 0.9, "recall A > 0.3": math.nan})
    assert only(RunStore(root), stage="evaluate").info.run_id == first.info.run_id
    tracking.log_metrics(root, "demo1", {"auc": 0.91})
    assert only(RunStore(root), stage="evaluate").data.metrics == {"auc": 0.91}


@pytest.mark.parametrize("name", ["tpr@fpr=1e-3", "recall[tier=A]", "fpr, type >= REX", "a/../b", "ok_1.5 %"])
def test_names_are_made_acceptable(name: str, root: DataRoot) -> None:
    tracking.log_metrics(root, "demo1", {name: 1.0})
    assert list(only(RunStore(root), stage="evaluate").data.metrics) == [_name(name)]


def write_grid(folder: Path) -> None:
    folder.mkdir(parents=True)
    facts = {"grid_id": "g1", "checkpoint_id": "ck", "prior": "broad", "parameters": {"per_cell": 3}, "cells": [{}] * 4}
    (folder / "grid.json").write_text(json.dumps(facts))
    inputs = {"table:manifest.main": f"{FINGERPRINT}@7", "checkpoint:demo1": "ck"}
    (folder / "lineage.json").write_text(json.dumps({"code": CODE, "inputs": inputs}))
    for number, status in enumerate((["scored", "scored"], ["scored", "failed"])):
        rows = {"status": status, "score": [1.0, 3.0 - 4 * number], "host_score": [0.0, None if number else -1.0]}
        pq.write_table(pa.table(rows), folder / f"batch-{number:05d}.parquet")


def test_a_grid_is_logged_once_with_counts_and_inputs(root: DataRoot) -> None:
    write_grid(root.grid("demo1"))
    for _ in range(2):
        tracking.log_grid(root, "demo1", "g1", root.grid("demo1"))
    run = only(RunStore(root), stage="grid")
    assert {"injections": 4, "scored": 3, "failed": 1, "cells": 4}.items() <= run.data.metrics.items()
    assert run.data.metrics["mean_score"] == pytest.approx(5 / 3)
    assert run.data.metrics["mean_score_gain"] == pytest.approx(2)
    assert {"grid_id": "g1", "prior": "broad", "parameters.per_cell": "3"}.items() <= run.data.params.items()
    assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["manifest.main"]
    assert run.data.tags["commit"] == "c0ffee"


def test_runs_of_a_forgotten_finder_are_deleted_and_no_others(root: DataRoot) -> None:
    assert tracking.forget_runs(DataRoot.of(root.local / "elsewhere"), "theirs") == 0
    assert not (root.local / "elsewhere").exists(), "no database is made to delete from"
    for name in ("theirs", "ours"):
        tracking.log_metrics(root, name, {"auc": 0.9})
    assert tracking.forget_runs(root, "theirs") == 2, "the finder's own run and its evaluation"
    assert RunStore(root).find({"generation": "theirs"}) == []
    assert len(RunStore(root).find({"generation": "ours"})) == 2


def test_a_grid_without_batches_is_refused(root: DataRoot, tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text("{}")
    with pytest.raises(DataError, match="holds no grid batches"):
        tracking.log_grid(root, "demo1", "g1", tmp_path)


def test_figures_lie_beside_the_database(root: DataRoot) -> None:
    fresh = DataRoot.of(root.local)
    RunStore(fresh).client.rename_experiment(RunStore(fresh).experiment, "elsewhere")
    tracking.log_figure(fresh, "demo1", "curve.png", b"\x89PNG")
    (path,) = (root.mlflow_database.parent / "artifacts").rglob("curve.png")
    assert path.read_bytes() == b"\x89PNG"
    assert path.parent.name == "figures"
    with pytest.raises(DataError, match=r"ends in \.png or \.svg"):
        tracking.log_figure(fresh, "demo1", "../curve.png", b"")


def test_a_moved_data_folder_is_told(root: DataRoot, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        RunStore(root)
    assert "the data folder was moved" in caplog.text


def test_history_is_imported_once_and_marked(root: DataRoot) -> None:
    store = RunStore(root)
    before = {run.info.run_id for run in store.find({"source": "historical"})}
    tracking.import_history(root)
    assert {run.info.run_id for run in store.find({"source": "historical"})} == before
    assert len(before) == 26
    gen4 = only(store, source="historical", run_id="gen4")
    assert gen4.data.metrics["best_val_auc"] == 0.9921
    assert len(store.logged(gen4.info.run_id, "val_auc")) == 60
    seconds = sum(row["epoch_seconds"] for row in history.epochs() if row["run_id"] == "gen4")
    assert gen4.info.end_time - gen4.info.start_time == pytest.approx(1000 * seconds, abs=60)
    d02 = only(store, run_id="D02")
    assert d02.data.tags["status"] == "invalidated"
    assert "73.3 %" in d02.data.tags["disagreements"]
    assert d02.data.tags["mlflow.parentRunId"] == gen4.info.run_id


def test_a_history_cut_off_in_mid_import_is_made_whole(root: DataRoot) -> None:
    store = RunStore(root)
    store.delete(only(store, run_id="D05").info.run_id)
    store.set_note("history_digest", "of an older state")
    tracking.import_history(root)
    assert len(store.find({"source": "historical"})) == 26


def test_trained_and_historical_generations_of_one_name_stay_apart(root: DataRoot, small: TrainParams) -> None:
    with open_run(root, "gen4-x", small.model_copy(update={"generation": "gen4"})):
        pass
    assert len(RunStore(root).find({"generation": "gen4", "source": "historical"})) == 9
    assert len(RunStore(root).find({"generation": "gen4", "source": "trained"})) == 2


@pytest.mark.parametrize("content", [b"", b"not a database at all"])
def test_a_broken_database_is_told(content: bytes, tmp_path: Path) -> None:
    broken = DataRoot.of(tmp_path / "data")
    broken.mlflow_database.parent.mkdir(parents=True)
    broken.mlflow_database.write_bytes(content)
    with pytest.raises(LakeError, match=r"mlflow\.db is no MLflow database"):
        RunStore(broken)


def test_results_that_are_not_finite_are_not_kept(root: DataRoot, small: TrainParams) -> None:
    with open_run(root, "demo1-a", small) as tracker:
        tracker.epoch(row(1, math.nan))
    assert "train_loss" not in only(RunStore(root), stage="train").data.metrics
