"""What only a GPU can show: graphs and plain runs agree, nothing waits for the GPU, and a run resumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeling.config import TrainParams, resolve_generation
from modeling.networks import recorded
from modeling.networks.augment import augment, sample_seeds
from modeling.networks.factory import build
from modeling.networks.inference import Arithmetic, BatchedNetwork
from modeling.networks.preprocess import normalise
from modeling.networks.recorded import Staged
from modeling.training import data
from modeling.training.data import TrainingArrays
from modeling.training.run import Run
from modeling.training.state import read
from modeling.training.train import optimise, train
from tests.modeling.conftest import SMALL, arrays

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU")

CUDA = torch.device("cuda")
ON_GPU = {**SMALL, "execution": {"threads": 1, "device": "cuda", "dtype": "bf16"}}
Splits = tuple[TrainingArrays, TrainingArrays]


@pytest.fixture
def params() -> TrainParams:
    return resolve_generation("demo1", ON_GPU)


@pytest.fixture
def many(tmp_path: Path, params: TrainParams) -> Splits:
    """Ten steps an epoch: three before the recording, the rest replayed."""
    return arrays(tmp_path / "t", params, 160, 1), arrays(tmp_path / "v", params, 30, 2)


@contextmanager
def without_graphs() -> Iterator[None]:
    """Everything as it stands, on the same stream."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded, "WARM_UP", 10**9)
        patch.setattr(recorded.Recorded, "rehearse", lambda run: None)
        yield


@contextmanager
def nothing_waits() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["demo1", "gen1"])
def test_logits_of_a_graph_are_those_of_the_plain_network_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    network = build(resolve_generation(name, {"network.pretrained": False}).network, 3)
    arithmetic = Arithmetic(CUDA, dtype, channels_last=True)
    arithmetic.place(network)
    x = torch.randn(1500, 3, 64, 64)
    graph = BatchedNetwork(network, arithmetic)
    logits = graph.logits(x)
    assert graph.mode == recorded.GRAPH
    with without_graphs():
        plain = BatchedNetwork(network, arithmetic)
        assert torch.equal(plain.logits(x), logits)
        assert plain.mode == recorded.EAGER
    order = torch.randperm(1500)
    assert torch.equal(graph.logits(x[order]), logits[order.to(CUDA)])
    assert torch.equal(graph.logits(x[3:40]), logits[3:40])


def steps_of(params: TrainParams, training: TrainingArrays, work: Path) -> tuple[Run, dict[str, torch.Tensor]]:
    one = params.model_copy(update={"loop": params.loop.model_copy(update={"epochs": 2})})
    run = train(one, training, training, work)
    return run, read(work / "state.safetensors", "network.")[0]


@pytest.mark.parametrize("changes", [{}, {"loss": {"kind": "focal"}}, {"optimiser": {"ema_decay": 0.9}}])
def test_a_graph_trains_as_the_plain_steps_do(tmp_path: Path, many: Splits, changes: dict[str, Any]) -> None:
    params = resolve_generation("demo1", {**ON_GPU, **changes})
    run, graph = steps_of(params, many[0], tmp_path / "graph")
    assert run.steps.mode == recorded.GRAPH
    with without_graphs():
        run, plain = steps_of(params, many[0], tmp_path / "plain")
    assert run.steps.mode == recorded.EAGER
    for name, value in plain.items():
        torch.testing.assert_close(graph[name], value, rtol=2e-2, atol=2e-3, msg=name)


def test_frozen_epochs_then_all_weights(tmp_path: Path, params: TrainParams, many: Splits) -> None:
    loop = params.loop.model_copy(update={"epochs": 2, "frozen_epochs": 1, "keep_every_epochs": 1})
    train(params.model_copy(update={"loop": loop}), *many, tmp_path / "w")
    first, second = (read(tmp_path / "w" / f"epoch-000{epoch}.safetensors")[0] for epoch in (1, 2))
    name = "network.features.4.main.0.weight"
    assert "optimiser.0.exp_avg" not in first
    assert not torch.equal(first[name], second[name])


def test_no_step_waits_for_the_gpu(tmp_path: Path, params: TrainParams, many: Splits) -> None:
    run = train(params.model_copy(update={"loop": params.loop.model_copy(update={"epochs": 1})}), *many, tmp_path / "w")
    training = many[0].to(CUDA)
    with nothing_waits():
        for _ in range(3):
            optimise(run, training, np.arange(16), epoch=1)
    held = replace(training, x=training.x.cpu())
    optimise(run, held, np.arange(16), epoch=1)  # takes the memory through which batches come
    optimise(run, held, np.arange(16), epoch=1)
    with nothing_waits():
        optimise(run, held, np.arange(16), epoch=1)


def test_a_run_that_stops_goes_on_with_graphs(tmp_path: Path, params: TrainParams, many: Splits) -> None:
    whole = train(params, *many, tmp_path / "whole")
    one = params.model_copy(update={"loop": params.loop.model_copy(update={"save_every_steps": 7})})

    class StoppedError(Exception):
        pass

    def stop(row: object) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        train(one, *many, tmp_path / "stopped", on_epoch=stop)
    resumed = train(one, *many, tmp_path / "stopped")
    assert resumed.state.step == whole.state.step
    assert [row.learning_rate for row in resumed.rows] == [row.learning_rate for row in whole.rows]
    for row, other in zip(resumed.rows, whole.rows, strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, rel=0.02)


def test_stamps_that_do_not_fit_are_brought_batch_by_batch(
    tmp_path: Path, params: TrainParams, many: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert many[0].x.device.type == "cuda"
    one = params.model_copy(update={"loop": params.loop.model_copy(update={"epochs": 1})})
    resident = train(one, *many, tmp_path / "resident")
    monkeypatch.setattr(data, "fits", lambda size, device: False)
    here = [replace(part, x=part.x.cpu()) for part in many]
    brought = train(one, here[0], here[1], tmp_path / "brought")
    assert brought.rows[0].train_loss == pytest.approx(resident.rows[0].train_loss, rel=1e-3)


def test_random_changes_are_those_of_the_processor_bit_for_bit() -> None:
    changes = resolve_generation("R1", {"augmentation.core_radius_pixels": 6.0}).augmentation
    x, seeds = torch.randn(64, 3, 33, 33).half(), sample_seeds(1, np.arange(64), 3, 64)
    assert torch.equal(augment(x.to(CUDA), changes, seeds, 3).cpu(), augment(x, changes, seeds, 3))


@pytest.mark.parametrize("name", ["gen5a", "sim-gen2", "R5"])
def test_input_is_normalised_as_on_the_processor_bit_for_bit(name: str) -> None:
    params = resolve_generation(name).preprocessing
    x = torch.randn(70, 3, 101, 101)
    x[3, 1, 40:60], x[5, 0] = torch.nan, torch.inf
    assert torch.equal(normalise(x.to(CUDA), params).cpu(), normalise(x, params))


def test_batches_arrive_whole_while_others_are_worked_on() -> None:
    staged, heavy = Staged(CUDA), torch.randn(2048, 2048, device=CUDA)
    batches = [torch.full((512, 4, 64), float(n)) for n in range(12)]
    sums = []
    for batch in (*batches, batches[3][:100]):
        there = staged.brought(batch)
        for _ in range(20):
            heavy = heavy @ heavy * 1e-3
        sums.append(there.mean())
    assert torch.stack(sums).tolist() == [*map(float, range(12)), 3.0]
