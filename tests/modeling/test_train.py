"""Training: determinism, accumulation, refusal of bad losses, and resumption after SIGKILL."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lake.errors import DataError, ParameterError
from modeling.config import TrainParams, resolve_generation
from modeling.training.data import TrainingArrays
from modeling.training.log import read_log
from modeling.training.run import Run
from modeling.training.train import train
from tests.fulldisk import no_file_over
from tests.modeling.conftest import SMALL
from tests.modeling.runs import same, tensors, whole_run

Splits = tuple[TrainingArrays, TrainingArrays]


@pytest.mark.usefixtures("whole_stage")
def test_learns_and_repeats_bit_for_bit(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    params = small.model_copy(update={"loop": small.loop.model_copy(update={"epochs": 12})})
    result = train(params, *splits, tmp_path / "a")
    train(params, *splits, tmp_path / "b")
    assert result.state.best_metric > 0.9
    assert same(tmp_path / "a" / "state.safetensors", tmp_path / "b" / "state.safetensors")
    assert [row.epoch for row in result.rows] == list(range(1, 13))


@pytest.mark.usefixtures("whole_stage")
def test_portions_of_a_batch_do_not_matter(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    """Without batch statistics in the way: the gradient of the head is that of the whole batch."""
    losses = []
    for micro in (4, 16):
        loop = small.loop.model_copy(update={"micro_batch": micro, "epochs": 1, "frozen_epochs": 1})
        network = small.network.model_copy(update={"dropout": 0.0})
        params = small.model_copy(update={"loop": loop, "network": network})
        train(params, *splits, tmp_path / str(micro))
        losses.append(tensors(tmp_path / str(micro) / "state.safetensors")["network.head.1.weight"])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("whole_stage")
def test_frozen_epochs_leave_the_backbone(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    loop = small.loop.model_copy(update={"frozen_epochs": 1, "keep_every_epochs": 1, "epochs": 2})
    train(small.model_copy(update={"loop": loop}), *splits, tmp_path)
    first, second = (tensors(tmp_path / f"epoch-000{e}.safetensors") for e in (1, 2))
    name = "network.features.4.main.0.weight"
    start = tensors(tmp_path / "epoch-0001.safetensors")
    assert "optimiser.0.exp_avg" not in start
    assert "optimiser.0.exp_avg" in second
    assert not torch.equal(first[name], second[name])


@pytest.mark.usefixtures("whole_stage")
def test_only_the_best_epochs_are_kept(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    loop = small.loop.model_copy(update={"epochs": 4, "keep_every_epochs": 1, "keep_best_epochs": 2})
    result = train(small.model_copy(update={"loop": loop}), *splits, tmp_path)
    best = sorted(result.rows, key=lambda row: (-row.metric, row.epoch))[:2]
    assert {path.name for path in tmp_path.glob("epoch-*")} == {f"epoch-{row.epoch:04d}.safetensors" for row in best}


@pytest.mark.usefixtures("whole_stage")
def test_patience_stops(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    loop = small.loop.model_copy(update={"patience": 1, "epochs": 30})
    result = train(small.model_copy(update={"loop": loop}), *splits, tmp_path)
    assert len(result.rows) == result.state.best_epoch + 1 < 30


def test_non_finite_loss_is_refused(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    training = replace(splits[0], x=splits[0].x.clone().fill_(float("nan")))
    with pytest.raises(DataError, match="not finite in epoch 1"):
        train(small, training, splits[1], tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_weights_that_give_no_finite_validation_loss_are_refused(
    tmp_path: Path, small: TrainParams, splits: Splits
) -> None:
    """The last step can ruin the weights after the last loss of the epoch, which is finite still."""
    whole = {"batch": 48, "micro_batch": 48, "epochs": 1}
    schedule = {"kind": "constant", "warmup_epochs": 0.0}
    wild = {"lr": 1e30, "ema_decay": 0.0}
    params = resolve_generation("demo1", {**SMALL, "loop": whole, "schedule": schedule, "optimiser": wild})
    with pytest.raises(DataError, match=r"the validation loss of demo1 is not finite in epoch 1 \(step 1\); lower"):
        train(params, *splits, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["run.json"]


def test_too_few_rows_and_foreign_work_are_refused(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    with pytest.raises(ParameterError, match="at most the 48 training rows"):
        train(resolve_generation("demo1", {**SMALL, "loop": {"batch": 64, "micro_batch": 64}}), *splits, tmp_path)
    train(small, *splits, tmp_path)
    with pytest.raises(DataError, match="another run"):
        train(small.model_copy(update={"seed": 7}), *splits, tmp_path)


@pytest.mark.usefixtures("whole_stage")
def test_a_finished_run_answers_at_once(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    rows: list[int] = []
    first = train(small, *splits, tmp_path)
    again = train(small, *splits, tmp_path, on_epoch=lambda row: rows.append(row.epoch))
    assert again.rows == first.rows
    assert rows == [1, 2, 3]


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("name", ["epochs.jsonl", "best.safetensors"])
def test_a_full_disk_names_the_file_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, small: TrainParams, splits: Splits, name: str
) -> None:
    whole = train(small, *splits, tmp_path / "whole")
    sizes = {"epochs.jsonl": 200, "best.safetensors": 20_000}

    def fill() -> None:
        with no_file_over(sizes[name]):
            train(small, *splits, tmp_path / "work")

    with pytest.raises(OSError, match=str(tmp_path / "work" / name)):
        fill()
    assert not (tmp_path / "work" / "state.safetensors").exists()
    assert [row.metric for row in train(small, *splits, tmp_path / "work").rows] == [row.metric for row in whole.rows]
    assert same(tmp_path / "work" / "best.safetensors", tmp_path / "whole" / "best.safetensors")


@pytest.mark.usefixtures("whole_stage")
def test_torn_log_line_is_cut(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    train(small, *splits, tmp_path)
    log = tmp_path / "epochs.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"epoch": 4, "tra')
    assert len(read_log(log)) == 3
    assert log.read_text() == whole


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b""),
        ("run.json", b"[1]"),
        ("run.json", b'{"science": "x", "rows": 48, "dtype": "fp8"}'),
        ("epochs.jsonl", b'{"epoch": 1}\n'),
        ("epochs.jsonl", b"\xff\xfe\n"),
        ("state.safetensors", b"\0" * 100),
        ("state.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
    ],
)
def test_a_work_folder_that_was_damaged_is_named(
    tmp_path: Path, small: TrainParams, splits: Splits, name: str, content: bytes
) -> None:
    one = small.model_copy(update={"loop": small.loop.model_copy(update={"epochs": 1, "keep_every_epochs": 0})})
    train(one, *splits, tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} of an interrupted run cannot be read .*: delete"):
        train(one, *splits, tmp_path)


CHILD = """
import logging, sys
from pathlib import Path
from tests.modeling.runs import whole_run
logging.basicConfig(level=logging.INFO)
whole_run(Path(sys.argv[1]), int(sys.argv[2]))
"""


def kill_in_epoch_three(folder: Path, save_every: int) -> str:
    """Start a run in its own process group, SIGKILL it in its third epoch; answers its log."""
    root = str(Path(__file__).resolve().parents[2])
    folder.mkdir()
    text = folder / "child.log"
    with text.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), str(save_every)],
            env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            stderr=out,
        )
    deadline = time.monotonic() + 120
    while "epoch 3/4" not in text.read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None, text.read_text()
        time.sleep(0.005)
    time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return text.read_text()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, whole_run(folder, 0)


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("save_every", [0, 7])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, straight: tuple[Path, Run], save_every: int) -> None:
    killed, (straight_folder, uninterrupted) = tmp_path / "killed", straight
    assert "demo1 epoch 1/4: step 0 of 15" in kill_in_epoch_three(killed, save_every)
    log = killed / "work" / "epochs.jsonl"
    before = log.read_text().splitlines()
    assert 2 <= len(before) < 4
    resumed = whole_run(killed, save_every)
    for name in ("state.safetensors", "best.safetensors"):
        assert same(killed / "work" / name, straight_folder / "work" / name)
    assert log.read_text().splitlines()[: len(before)] == before
    rows = [[replace(row, epoch_seconds=0.0) for row in result.rows] for result in (resumed, uninterrupted)]
    assert rows[0] == rows[1]


@pytest.mark.usefixtures("whole_stage")
def test_saves_within_an_epoch_and_logs_its_start_and_end(
    tmp_path: Path, small: TrainParams, splits: Splits, caplog: pytest.LogCaptureFixture
) -> None:
    loop = small.loop.model_copy(update={"save_every_steps": 2, "epochs": 1})
    saved: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", lambda run: saved.append(run.state.step))
        caplog.set_level(logging.INFO, logger="modeling")
        train(small.model_copy(update={"loop": loop}), *splits, tmp_path)
    assert saved == [2, 3]
    lines = [record.getMessage() for record in caplog.records if "epoch 1/1" in record.getMessage()]
    assert lines[0] == "demo1 epoch 1/1: step 0 of 3"
    assert "validation AUC" in lines[1]
