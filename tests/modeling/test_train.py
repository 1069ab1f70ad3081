"""Training: determinism, accumulation, refusal of bad losses, and resumption after SIGKILL."""

from __future__ import annotations

import json
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
from modeling.data import TrainingArrays
from modeling.log import EpochLog
from modeling.state import read
from modeling.train import train
from tests.modeling.conftest import SMALL, arrays

Splits = tuple[TrainingArrays, TrainingArrays]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return read(path)[0]


def same(a: Path, b: Path) -> bool:
    left, right = tensors(a), tensors(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_learns_and_repeats_bit_for_bit(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    params = small.model_copy(update={"loop": small.loop.model_copy(update={"epochs": 12})})
    result = train(params, *splits, tmp_path / "a")
    train(params, *splits, tmp_path / "b")
    assert result.best_metric > 0.9
    assert same(tmp_path / "a" / "state.safetensors", tmp_path / "b" / "state.safetensors")
    assert [row.epoch for row in result.rows] == list(range(1, 13))


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


def test_frozen_epochs_leave_the_backbone(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    loop = small.loop.model_copy(update={"frozen_epochs": 1, "keep_every_epochs": 1, "epochs": 2})
    train(small.model_copy(update={"loop": loop}), *splits, tmp_path)
    first, second = (tensors(tmp_path / f"epoch-000{e}.safetensors") for e in (1, 2))
    name = "network.features.4.main.0.weight"
    start = tensors(tmp_path / "epoch-0001.safetensors")
    assert "optimiser.0.exp_avg" not in start
    assert "optimiser.0.exp_avg" in second
    assert not torch.equal(first[name], second[name])


def test_patience_stops(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    loop = small.loop.model_copy(update={"patience": 1, "epochs": 30})
    result = train(small.model_copy(update={"loop": loop}), *splits, tmp_path)
    assert len(result.rows) == result.best_epoch + 1 < 30


def test_non_finite_loss_is_refused(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    training = replace(splits[0], x=splits[0].x.clone().fill_(float("nan")))
    with pytest.raises(DataError, match="not finite in epoch 1"):
        train(small, training, splits[1], tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_too_few_rows_and_foreign_work_are_refused(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    with pytest.raises(ParameterError, match="at most the 48 training rows"):
        train(resolve_generation("demo1", {**SMALL, "loop": {"batch": 64, "micro_batch": 64}}), *splits, tmp_path)
    train(small, *splits, tmp_path)
    with pytest.raises(DataError, match="another run"):
        train(small.model_copy(update={"seed": 7}), *splits, tmp_path)


def test_a_finished_run_answers_at_once(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    rows: list[int] = []
    first = train(small, *splits, tmp_path)
    again = train(small, *splits, tmp_path, on_epoch=lambda row: rows.append(row.epoch))
    assert again.rows == first.rows
    assert rows == [1, 2, 3]


def test_torn_log_line_is_cut(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    train(small, *splits, tmp_path)
    log = tmp_path / "epochs.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"epoch": 4, "tra')
    assert len(EpochLog(log).rows) == 3
    assert log.read_text() == whole


CHILD = """
import sys
from pathlib import Path
from tests.modeling.test_train import long_run
long_run(Path(sys.argv[1]), int(sys.argv[2]))
"""


def long_run(folder: Path, save_every: int) -> None:
    """Train six epochs of 30 steps in ``folder``, or go on with it."""
    loop = {**SMALL["loop"], "epochs": 6, "save_every_steps": save_every}
    params = resolve_generation("demo1", {**SMALL, "loop": loop})
    splits = arrays(folder / "t", params, 480, 1), arrays(folder / "v", params, 30, 2)
    train(params, *splits, folder / "work")


def kill_after(line_count: int, folder: Path, save_every: int) -> list[str]:
    """Run in a process group of its own, kill it in mid-epoch; answers the log as it was left."""
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(folder), str(save_every)]
    process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    log = folder / "work" / "epochs.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= line_count):
        time.sleep(0.005)
    time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return log.read_text().splitlines()


@pytest.mark.parametrize("save_every", [0, 7])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, save_every: int) -> None:
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    before = kill_after(2, killed, save_every)
    assert 2 <= len(before) < 6
    long_run(killed, save_every)
    long_run(straight, save_every)
    for name in ("state.safetensors", "best.safetensors"):
        assert same(killed / "work" / name, straight / "work" / name)
    after, expected = ((f / "work" / "epochs.jsonl").read_text().splitlines() for f in (killed, straight))
    assert after[: len(before)] == before
    assert [timeless(line) for line in after] == [timeless(line) for line in expected]


def timeless(line: str) -> dict[str, object]:
    return {**json.loads(line), "epoch_seconds": 0}
