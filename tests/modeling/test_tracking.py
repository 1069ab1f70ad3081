"""Runs in MLflow: found again, logged once, ended after a kill."""

from __future__ import annotations

import json
import logging
import math
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from lake import processes, tables
from lake.errors import DataError, LakeError
from lake.root import DataRoot
from lake.store import writing
from lake.store.writing import Provenance, Target
from modeling.config import TrainParams
from modeling.scoring.checkpoint import Manifest, publish, run_id
from modeling.scoring.scorer import load_scorer
from modeling.scoring.served import Served
from modeling.tracking import history, models, page, pastruns, results, rundatabase, runs
from modeling.tracking.results import Result
from modeling.tracking.runs import Origin
from modeling.tracking.runstore import RunStore, _name
from modeling.training.data import TrainingArrays
from modeling.training.log import EpochRow
from modeling.training.train import train
from tests.fulldisk import no_file_over

FINGERPRINT = "48:-170141183460469231731687303715884105728:00ffeeddccbbaa99"
CODE = {"git_commit": "c0ffee", "pipeline_version": "0.1.0", "stage": "train"}
ORIGIN = Origin(FINGERPRINT, 7, CODE)


@pytest.fixture(scope="session")
def template(whole_stage: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the history in it: making one takes seconds."""
    made = DataRoot.of(tmp_path_factory.mktemp("mlflow"))
    pastruns.import_history(made)
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


def evaluated(root: DataRoot, generation: str, figures: dict[str, float]) -> None:
    results.log_result(root, generation, Result("evaluate", figures))


def pictured(root: DataRoot, name: str, content: bytes) -> None:
    results.log_headline(root, "demo1", Result("generation", {}, files={f"figures/{name}": content}))


def open_run(root: DataRoot, name: str, params: TrainParams) -> Any:
    return runs.training_run(root, name, params, ORIGIN)


@pytest.mark.usefixtures("whole_stage")
def test_training_is_followed_from_parameters_to_checkpoint(
    root: DataRoot, small: TrainParams, splits: tuple[TrainingArrays, TrainingArrays], tmp_path: Path
) -> None:
    manifest = Manifest("main", FINGERPRINT)
    name = run_id(small, FINGERPRINT)
    with open_run(root, name, small) as tracker:
        result = train(small, *splits, tmp_path / "work", on_epoch=tracker.epoch)
        checkpoint = publish(result, root.checkpoints("demo1"), manifest, *splits)
        tracker.finish(result.rows, checkpoint.card)
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
    assert (dataset.name, dataset.source_type) == ("manifest.audit_70_15_15", "delta_table")
    assert FINGERPRINT.endswith(dataset.digest)
    assert json.loads(dataset.source)["delta_table_version"] == 7
    parent = only(store, stage="generation")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics["best_val_auc"] == checkpoint.card.best_val_auc


def test_a_training_on_simulated_stamps_names_their_manifest(small: TrainParams) -> None:
    name = f"table:stamp_manifest.{small.manifest}"
    card = SimpleNamespace(manifest_id=small.manifest, manifest_fingerprint=FINGERPRINT)
    pin = SimpleNamespace(inputs={name: f"{FINGERPRINT}@7"}, code=CODE)
    origin = pastruns._origin(card, pin)  # type: ignore[arg-type]
    assert origin == Origin(FINGERPRINT, 7, CODE, "stamp_manifest")
    assert runs.trained_entry("r", small, origin).tables == {name: f"{FINGERPRINT}@7"}
    assert pastruns._origin(card, SimpleNamespace(inputs={}, code=CODE)) is None  # type: ignore[arg-type]


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
    stopped = only(RunStore(root), stage="train")
    RunStore(root).tags(stopped.info.run_id, {runs.PROCESS: f"{processes.this()}0"})
    runs.end_lost(root)  # its process is gone, but had ended it
    assert only(RunStore(root), stage="train").info.status == status
    with open_run(root, "demo1-a", small):
        pass
    assert only(RunStore(root), stage="train").info.status == "FINISHED"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_run_says_so_is_continued_and_ended(
    whole_stage: None, root: DataRoot, small: TrainParams, tmp_path: Path, end: int
) -> None:
    """SIGKILL leaves no time for it: the page says so when it is opened."""
    script = """
        import sys, time
        from pathlib import Path
        from lake.root import DataRoot
        from modeling.config import TrainParams
        from modeling.training.log import EpochRow
        from modeling.tracking.runs import Origin, training_run
        root, params = DataRoot.of(sys.argv[1]), TrainParams.model_validate_json(sys.argv[2])
        with training_run(root, "demo1-a", params, Origin("1:2:3", 7, {})) as tracker:
            tracker.epoch(EpochRow(1, 0.5, *[0.9] * 9, 100, "full", 1.5))
            Path(sys.argv[3]).touch()
            time.sleep(600)
    """
    flag = tmp_path / "first-epoch"
    arguments = [str(root.local), small.model_dump_json(), str(flag)]
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), *arguments])
    while not flag.exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(end)
    process.wait()
    stopped = only(RunStore(root), stage="train")
    assert stopped.info.status == ("RUNNING" if end == signal.SIGKILL else "KILLED")
    runs.end_lost(root)
    for stage in ("train", "generation"):
        assert only(RunStore(root), stage=stage).info.status == "KILLED"
    with open_run(root, "demo1-a", small) as tracker:
        tracker.epoch(row(1))
        tracker.epoch(row(2))
        runs.end_lost(root)
        assert only(RunStore(root), stage="train").info.status == "RUNNING", "this process is alive"
    run = only(RunStore(root), stage="train")
    assert (run.info.run_id, run.info.status) == (stopped.info.run_id, "FINISHED")
    assert len(RunStore(root).client.get_metric_history(run.info.run_id, "train_loss")) == 2


def test_evaluations_replace_what_differs_and_skip_what_is_no_number(root: DataRoot) -> None:
    evaluated(root, "demo1", {"tpr@fpr=1e-3": 0.5, "auc": 0.9, "recall A > 0.3": math.nan})
    first = only(RunStore(root), stage="evaluate")
    assert first.data.metrics == {"tpr_at_fpr_1e-3": 0.5, "auc": 0.9}
    evaluated(root, "demo1", {"tpr@fpr=1e-3": 0.5, "auc": 0.9, "recall A > 0.3": math.nan})
    assert only(RunStore(root), stage="evaluate").info.run_id == first.info.run_id
    evaluated(root, "demo1", {"auc": 0.91})
    assert only(RunStore(root), stage="evaluate").data.metrics == {"auc": 0.91}


@pytest.mark.parametrize("name", ["tpr@fpr=1e-3", "recall[tier=A]", "fpr, type >= REX", "a/../b", "ok_1.5 %"])
def test_names_are_made_acceptable(name: str, root: DataRoot) -> None:
    evaluated(root, "demo1", {name: 1.0})
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
        results.log_grid(root, "demo1", "g1", root.grid("demo1"))
    run = only(RunStore(root), stage="grid")
    assert {"injections": 4, "scored": 3, "failed": 1, "cells": 4}.items() <= run.data.metrics.items()
    assert run.data.metrics["mean_score"] == pytest.approx(5 / 3)
    assert run.data.metrics["mean_score_gain"] == pytest.approx(2)
    assert {"grid_id": "g1", "prior": "broad", "parameters.per_cell": "3"}.items() <= run.data.params.items()
    assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["manifest.main"]
    assert run.data.tags["commit"] == "c0ffee"


def test_runs_of_a_forgotten_finder_are_deleted_and_no_others(root: DataRoot) -> None:
    assert results.forget_runs(DataRoot.of(root.local / "elsewhere"), "theirs") == 0
    assert not (root.local / "elsewhere").exists(), "no database is made to delete from"
    for name in ("theirs", "ours"):
        evaluated(root, name, {"auc": 0.9})
    assert results.forget_runs(root, "theirs") == 2, "the finder's own run and its evaluation"
    assert RunStore(root).find({"generation": "theirs"}) == []
    assert len(RunStore(root).find({"generation": "ours"})) == 2


def test_a_grid_without_batches_is_refused(root: DataRoot, tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text("{}")
    with pytest.raises(DataError, match="contains no grid batches"):
        results.log_grid(root, "demo1", "g1", tmp_path)


def test_figures_lie_beside_the_database(root: DataRoot) -> None:
    fresh = DataRoot.of(root.local)
    RunStore(fresh).client.rename_experiment(RunStore(fresh).experiment, "elsewhere")
    pictured(fresh, "curve.png", b"\x89PNG")
    (path,) = (root.mlflow_database.parent / "artifacts").rglob("curve.png")
    assert path.read_bytes() == b"\x89PNG"
    assert path.parent.name == "figures"


def test_a_copied_data_folder_has_its_own_figures(root: DataRoot, caplog: pytest.LogCaptureFixture) -> None:
    pictured(root, "first.png", b"first")
    copy = DataRoot.of(shutil.copytree(root.local, root.local.parent / "a copy é"))
    before = {path: path.read_bytes() for path in (root.local / "mlflow" / "artifacts").rglob("*") if path.is_file()}
    with caplog.at_level(logging.INFO):
        both = {"figures/first.png": b"first", "figures/second.png": b"second"}
        results.log_headline(copy, "demo1", Result("generation", {}, files=both))
    assert "the data folder was moved or copied" in caplog.text
    assert before == {p: p.read_bytes() for p in (root.local / "mlflow" / "artifacts").rglob("*") if p.is_file()}
    for place, names in ((copy, {"first.png", "second.png"}), (root, {"first.png"})):
        run = only(RunStore(place), source="trained", stage="generation").info
        assert run.artifact_uri.startswith((place.mlflow_database.parent / "artifacts").resolve().as_uri())
        assert {path.name for path in figures(run.artifact_uri)} == names
    pictured(copy, "second.png", b"second")
    assert before == {p: p.read_bytes() for p in (root.local / "mlflow" / "artifacts").rglob("*") if p.is_file()}
    shutil.rmtree(root.local)
    run = only(RunStore(copy), source="trained", stage="generation").info
    assert [path.name for path in figures(run.artifact_uri)] == ["second.png"]


def figures(artifact_uri: str) -> Iterator[Path]:
    return Path(url2pathname(urlsplit(artifact_uri).path)).rglob("*.png")


def test_runs_end_once(root: DataRoot, small: TrainParams) -> None:
    write_grid(root.grid("demo1"))

    def ends() -> dict[str, tuple[int, int, str]]:
        found = RunStore(root).find({"source": "trained"})
        return {r.info.run_name: (r.info.start_time, r.info.end_time, r.info.status) for r in found}

    with open_run(root, "demo1-a", small) as tracker:
        tracker.epoch(row(1))
        assert {status for *_, status in ends().values()} == {"RUNNING"}
    evaluated(root, "demo1", {"auc": 0.9})
    results.log_grid(root, "demo1", "g1", root.grid("demo1"))
    first = ends()
    assert len(first) == 4
    assert first["demo1"][1] - first["demo1 train"][1] < 1000, "the generation's run lasts as long as its training"
    time.sleep(0.02)
    evaluated(root, "demo1", {"auc": 0.9})
    results.log_grid(root, "demo1", "g1", root.grid("demo1"))
    pictured(root, "roc.svg", b"<svg/>")
    with open_run(root, "demo1-a", small) as tracker:
        tracker.epoch(row(1))
    assert ends() == first


@contextmanager
def held(database: Path) -> Iterator[None]:
    """The database while another process writes to it."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def test_a_database_in_use_is_told_and_kept(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundatabase, "PATIENCE_S", 0.1)
    with (
        held(root.mlflow_database),
        pytest.raises(LakeError, match=r"mlflow\.db is in use by another process .*run the command again"),
    ):
        RunStore(root)
    RunStore(root)


def test_no_room_for_runs_and_their_figures_is_told(root: DataRoot) -> None:
    def record() -> None:
        for number in range(40):
            evaluated(root, f"demo{number}", {f"figure{each}": 0.5 for each in range(40)})

    def refused(action: Callable[[], None], most: int) -> Path:
        with pytest.raises(OSError, match="/") as raised, rundatabase.told(root.mlflow_database), no_file_over(most):
            action()
        assert raised.value.filename
        return Path(raised.value.filename2 or raised.value.filename)

    place = root.mlflow_database.parent
    assert refused(record, root.mlflow_database.stat().st_size) == place
    evaluated(root, "demo1", {"figure": 0.5})
    pictured(root, "curve.png", b"small")
    assert refused(lambda: pictured(root, "curve.png", bytes(300_000)), 200_000).name == "curve.png"


@pytest.mark.usefixtures("whole_stage")
def test_a_database_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    odd = DataRoot.of(tmp_path / "data")
    odd.mlflow_database.mkdir(parents=True)
    with pytest.raises(LakeError, match=r"mlflow\.db cannot be written to .*permissions"):
        RunStore(odd)


def write_epochs(root: DataRoot, rows: list[EpochRow], small: TrainParams) -> None:
    """The table that the stage writes at the end of a training."""
    values = [
        {"run_id": "r", "origin": "demo1", "generation": "demo1"}
        | {key: value for key, value in asdict(row).items() if key != "metric"}
        for row in rows
    ]
    table = pa.Table.from_pylist(values)
    inputs = {f"table:manifest.{small.manifest}": f"{FINGERPRINT}@7"}
    writing.write_slice(
        Target(root, tables.spec("training_epochs"), "demo1", {"origin": "demo1"}, Provenance("test", CODE, inputs)),
        table,
    )


@pytest.mark.parametrize("breaks", ["at once", "in the second epoch"])
def test_a_training_outlives_its_log_which_the_report_makes_whole(
    root: DataRoot,
    small: TrainParams,
    splits: tuple[TrainingArrays, TrainingArrays],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    breaks: str,
) -> None:
    monkeypatch.setattr(rundatabase, "PATIENCE_S", 0.1)
    name = run_id(small, FINGERPRINT)

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    with ExitStack() as stack:
        if breaks == "at once":
            stack.enter_context(held(root.mlflow_database))
        tracker = stack.enter_context(open_run(root, name, small))
        if breaks != "at once":
            tracker.epoch(row(1))
            stack.enter_context(pytest.MonkeyPatch.context()).setattr(RunStore, "points", fail)
        result = train(small, *splits, tmp_path / "work", on_epoch=tracker.epoch)
        checkpoint = publish(result, root.checkpoints("demo1"), Manifest(small.manifest, FINGERPRINT), *splits)
        tracker.finish(result.rows, checkpoint.card)
    assert caplog.text.count("MLflow cannot record the training of demo1") == 1
    write_epochs(root, result.rows, small)
    for _ in range(2):
        pastruns.log_training(root, "demo1")
    store = RunStore(root)
    run = only(store, run_id=name, stage="train")
    logged = store.logged(run.info.run_id, "val_auc")
    assert set(logged) == {r.epoch for r in result.rows}
    assert (run.info.status, run.data.tags["checkpoint_id"]) == ("FINISHED", checkpoint.card.checkpoint_id)
    assert run.data.metrics["best_val_auc"] == checkpoint.card.best_val_auc
    assert run.data.tags["commit"] == "c0ffee"
    spent = sum(r.epoch_seconds for r in result.rows)
    if breaks == "at once":
        assert run.info.end_time - run.info.start_time == pytest.approx(1000 * spent, abs=2)
    else:
        assert only(store, stage="generation").info.status == "FINISHED"


def test_an_unfollowed_training_adds_nothing_without_a_checkpoint(root: DataRoot) -> None:
    pastruns.log_training(root, "demo1")
    assert RunStore(root).find({"source": "trained"}) == []


def test_a_deleted_experiment_is_restored_with_its_runs(
    root: DataRoot, small: TrainParams, caplog: pytest.LogCaptureFixture
) -> None:
    for value in (0.9, 0.91):
        evaluated(root, "demo1", {"auc": value})
    store = RunStore(root)
    store.client.delete_experiment(store.experiment)
    with open_run(root, "demo1-a", small) as tracker:
        tracker.epoch(row(1))
    assert "had been deleted in MLflow: it is restored, with its runs" in caplog.text
    assert only(RunStore(root), stage="evaluate").data.metrics == {"auc": 0.91}, "what was replaced stays deleted"
    assert only(RunStore(root), stage="train").info.status == "FINISHED"


def test_undated_history_has_no_date(root: DataRoot) -> None:
    runs = {run.data.tags["run_id"]: run for run in RunStore(root).find({"source": "historical"})}
    dated = {record["run_id"] for record in history.records() if "run_date" in record}
    assert len(dated) == 8
    for name, run in runs.items():
        if name in dated:
            assert datetime.fromtimestamp(run.info.start_time / 1000, UTC).year == 2026
        else:
            assert run.info.start_time == 0, "MLflow's page shows a dash for 0"
            assert run.data.tags["run_date"] == "not recorded"
    assert runs["gen1"].info.end_time is None, "nothing is known of how long it took"


def test_history_is_imported_once_and_marked(root: DataRoot) -> None:
    store = RunStore(root)
    before = {run.info.run_id for run in store.find({"source": "historical"})}
    pastruns.import_history(root)
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
    pastruns.import_history(root)
    assert len(store.find({"source": "historical"})) == 26


def test_trained_and_historical_generations_of_one_name_stay_apart(root: DataRoot, small: TrainParams) -> None:
    with open_run(root, "gen4-x", small.model_copy(update={"generation": "gen4"})):
        pass
    assert len(RunStore(root).find({"generation": "gen4", "source": "historical"})) == 9
    assert len(RunStore(root).find({"generation": "gen4", "source": "trained"})) == 2


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("content", [b"", b"not a database at all"])
def test_a_broken_database_is_told(content: bytes, tmp_path: Path) -> None:
    broken = DataRoot.of(tmp_path / "data")
    broken.mlflow_database.parent.mkdir(parents=True)
    broken.mlflow_database.write_bytes(content)
    with pytest.raises(LakeError, match=r"mlflow\.db is not an MLflow database"):
        RunStore(broken)


def test_results_that_are_not_finite_are_not_kept(root: DataRoot, small: TrainParams) -> None:
    with open_run(root, "demo1-a", small) as tracker:
        tracker.epoch(row(1, math.nan))
    assert "train_loss" not in only(RunStore(root), stage="train").data.metrics


def trained(root: DataRoot, small: TrainParams, splits: tuple[TrainingArrays, TrainingArrays], work: Path) -> str:
    """A finished training with its checkpoint; returns the checkpoint's identity."""
    name = run_id(small, FINGERPRINT)
    with open_run(root, name, small) as tracker:
        result = train(small, *splits, work, on_epoch=tracker.epoch)
        card = publish(result, root.checkpoints("demo1"), Manifest(small.manifest, FINGERPRINT), *splits).card
        tracker.finish(result.rows, card)
    return card.checkpoint_id


def test_a_generation_carries_what_is_compared_and_its_parts_the_rest(
    root: DataRoot, small: TrainParams, splits: tuple[TrainingArrays, TrainingArrays], tmp_path: Path
) -> None:
    trained(root, small, splits, tmp_path / "work")
    figures = {f"recall/{n}": 0.5 for n in range(200)}
    results.log_result(root, "demo1", Result("evaluate", figures))
    curve = [(100, None, {"completeness_by_theta_e": 0.5}), (150, None, {"completeness_by_theta_e": 0.7})]
    for _ in range(2):
        whole = Result("generation", {"test_auc": 0.98}, points=curve, files={"figures/roc.svg": b"<svg/>"})
        results.log_headline(root, "demo1", whole)
    store = RunStore(root)
    parent = only(store, level="generation", source="trained")
    assert parent.data.params["optimiser.lr"] == str(small.optimiser.lr)
    assert [entry.dataset.name for entry in parent.inputs.dataset_inputs] == ["manifest.audit_70_15_15"]
    assert {"test_auc", "best_val_auc", "val_auc", "completeness_by_theta_e"} <= set(parent.data.metrics)
    assert len(parent.data.metrics) <= 15
    assert len(store.client.get_metric_history(parent.info.run_id, "completeness_by_theta_e")) == 2, "logged once"
    assert len(store.logged(parent.info.run_id, "val_auc")) == small.loop.epochs
    assert len(only(store, stage="evaluate").data.metrics) == 200


def test_another_training_takes_the_place_of_a_generation_above_its_runs(root: DataRoot, small: TrainParams) -> None:
    faster = small.model_copy(update={"optimiser": small.optimiser.model_copy(update={"lr": 0.01})})
    for name, params in (("demo1-a", small), ("demo1-b", faster)):
        with open_run(root, name, params) as tracker:
            tracker.epoch(row(1))
    store = RunStore(root)
    parent = only(store, level="generation", source="trained")
    assert parent.data.params["optimiser.lr"] == "0.01"
    below = {run.data.tags["mlflow.parentRunId"] for run in store.find({"stage": "train"})}
    assert below == {parent.info.run_id}


def test_a_checkpoint_is_a_version_that_mlflow_loads_and_scores_with(
    root: DataRoot,
    small: TrainParams,
    splits: tuple[TrainingArrays, TrainingArrays],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identity = trained(root, small, splits, tmp_path / "work")
    for _ in range(2):
        models.register(root, "demo1")
        models.crown(root, {"demo1": 0.98, "theirs": 0.99})
    client = RunStore(root).client
    version = client.get_model_version_by_alias(models.MODEL, models.CHAMPION)
    assert version.tags["checkpoint_id"] == identity
    assert client.get_model_version_by_alias(models.MODEL, models.PAST).tags["generation"] == "gen4"
    assert len(client.search_model_versions(f"name = '{models.MODEL}'")) == 2, "a second report adds none"

    moved = DataRoot.of(shutil.move(root.local, tmp_path / "moved"))
    RunStore(moved)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own type hints
        import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{moved.mlflow_database}")
    stamps = np.random.default_rng(1).normal(size=(5, 3, 101, 101)).astype(np.float32)
    model = mlflow.pyfunc.load_model(f"models:/{models.MODEL}@{models.CHAMPION}")
    expected = load_scorer(moved.checkpoints("demo1")).score(stamps)
    assert np.array_equal(model.predict(stamps), expected)
    assert model.metadata.flavors["python_function"]["python_version"] == platform.python_version()
    (card,) = moved.local.glob("mlflow/artifacts/*/artifacts/model/checkpoint/checkpoint.json")
    assert '"clip_range": 10.0' in card.read_text()
    card.write_text(card.read_text().replace('"clip_range": 10.0', '"clip_range": 5.0'))
    with pytest.raises(DataError, match="was altered"):
        mlflow.pyfunc.load_model(f"models:/{models.MODEL}@{models.CHAMPION}")


def test_an_alias_that_somebody_set_stays_and_versions_go_with_their_generation(
    root: DataRoot, small: TrainParams, splits: tuple[TrainingArrays, TrainingArrays], tmp_path: Path
) -> None:
    trained(root, small, splits, tmp_path / "work")
    models.register(root, "demo1")
    client = RunStore(root).client
    past = client.get_model_version_by_alias(models.MODEL, models.PAST)
    client.set_registered_model_alias(models.MODEL, models.CHAMPION, past.version)
    models.crown(root, {"demo1": 0.98})
    assert client.get_model_version_by_alias(models.MODEL, models.CHAMPION).version == past.version
    results.forget_runs(root, "demo1")
    assert [v.version for v in client.search_model_versions(f"name = '{models.MODEL}'")] == [past.version]


def test_the_page_opens_on_generations_and_charts_of_figures_that_they_have(
    root: DataRoot, small: TrainParams, splits: tuple[TrainingArrays, TrainingArrays], tmp_path: Path
) -> None:
    trained(root, small, splits, tmp_path / "work")
    store = RunStore(root)
    address = page.address(store, 5000)
    key = address.rpartition("viewStateShareKey=")[2]
    experiment = store.client.get_experiment(store.experiment)
    state = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    shown = store.client.search_runs([store.experiment], state["searchFilter"], max_results=1000)
    assert {run.info.run_name for run in shown} >= {"demo1", "gen4", "resnet18"}
    assert not any("mlflow.parentRunId" in run.data.tags for run in shown)
    curves = {chart["metricKey"] for chart in state["compareRunCharts"] if chart["type"] == "LINE"}
    assert {"val_auc", "train_loss"} <= curves & set(next(r for r in shown if r.info.run_name == "demo1").data.metrics)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    colours = {run.info.run_name: run.data.tags["mlflow.runColor"] for run in shown}
    assert len(set(colours.values())) == len(colours) > 10
    store.tags(next(run for run in shown if run.info.run_name == "demo1").info.run_id, {"mlflow.runColor": "#000000"})
    page.address(store, 5000)
    again = {run.info.run_name: run.data.tags["mlflow.runColor"] for run in store.find({"level": "generation"})}
    assert again == {**colours, "demo1": "#000000"}, "colours stay, the user's too"


@pytest.mark.parametrize("stamps", [np.zeros((3, 101, 101)), np.zeros(4)])
def test_a_served_model_says_what_it_takes(stamps: NDArray[np.float64]) -> None:
    with pytest.raises(DataError, match=r"'stamps' must be an array \(batch, band, y, x\), got one of shape"):
        Served(Any).predict(stamps)  # type: ignore[arg-type]


def test_figures_that_no_longer_count_leave_a_generation(root: DataRoot, small: TrainParams) -> None:
    with open_run(root, "demo1-a", small) as tracker:
        tracker.epoch(row(1))
    curve = [(100, None, {"completeness_by_theta_e": 0.5}), (150, None, {"completeness_by_theta_e": 0.7})]
    pictures = {"figures/roc.svg": b"<svg/>", "figures/completeness.svg": b"<svg/>"}
    both = Result("generation", {"test_auc": 0.9, "completeness": 0.3}, points=curve, files=pictures)
    one = Result("generation", {"test_auc": 0.9}, points=curve[:1], files={"figures/roc.svg": b"<svg/>"})
    for result in (both, one):
        results.log_headline(root, "demo1", result)
    store = RunStore(root)
    parent = only(store, level="generation", source="trained")
    kept = store.artifacts(parent.info.run_id).list_artifacts("figures")
    assert [each.path for each in kept] == ["figures/roc.svg"]
    assert "completeness" not in parent.data.metrics
    assert {"test_auc", "val_auc"} <= set(parent.data.metrics)
    assert store.logged(parent.info.run_id, "completeness_by_theta_e") == {100: 0.5}
