"""Batches in the same memory, as far as a processor can show: what a GPU records is tested in test_gpu."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from modeling.config import TrainParams
from modeling.networks import inference, recorded
from modeling.networks.augment import SYMMETRIES, apply_symmetries, gathered
from modeling.networks.factory import LensFinder, build
from modeling.networks.inference import Arithmetic, BatchedNetwork
from modeling.networks.preprocess import _median_of_lowest, median
from modeling.networks.recorded import EAGER, WARM_UP, Recorded

CPU = torch.device("cpu")


@pytest.fixture
def network(small: TrainParams) -> LensFinder:
    torch.manual_seed(3)
    return build(small.network, 3).eval()


@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_that_is_used_again_leaves_no_trace(
    network: LensFinder, channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(inference.BATCH, "cpu", 4)
    batched, x = BatchedNetwork(network, Arithmetic(CPU, torch.float32, channels_last)), torch.randn(11, 3, 32, 32)
    logits = batched.logits(x)
    assert logits.dtype == torch.float64
    assert len(logits.unique()) == 11
    assert torch.equal(batched.logits(x[5:7]), logits[5:7])
    assert torch.equal(batched.logits(x[[9, 1, 4]]), logits[[9, 1, 4]])
    assert len(batched.logits(x[:0])) == 0
    alone = BatchedNetwork(network, batched.arithmetic)
    assert torch.equal(alone.logits(x[10:]), logits[10:])
    assert batched.mode == EAGER


def test_threads_take_turns(network: LensFinder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inference.BATCH, "cpu", 4)
    batched, x = BatchedNetwork(network, Arithmetic(CPU, torch.float32, True)), torch.randn(24, 3, 32, 32)
    logits = batched.logits(x)
    with ThreadPoolExecutor(6) as pool:
        parts = list(pool.map(lambda start: batched.logits(x[start : start + 4]), range(0, 24, 4)))
    assert torch.equal(torch.cat(parts), logits)


def test_weights_that_change_are_seen(network: LensFinder) -> None:
    batched, x = BatchedNetwork(network, Arithmetic(CPU, torch.float32, True)), torch.randn(2, 3, 32, 32)
    before = batched.logits(x)
    with torch.no_grad():
        network.head[1].bias.add_(1.0)
    torch.testing.assert_close(batched.logits(x), before + 1.0)


def test_the_gathered_symmetries_are_the_same_bit_for_bit() -> None:
    codes = np.arange(40) % SYMMETRIES
    for dtype, side in ((torch.float16, 7), (torch.float32, 8)):
        x = torch.randn(40, 3, side, side).to(dtype)
        assert torch.equal(gathered(x, torch.from_numpy(codes)), apply_symmetries(x, codes))


def test_the_median_that_looks_at_no_value_is_the_same_bit_for_bit() -> None:
    """That of a GPU."""
    for count in (9, 10):
        values = torch.randn(6, 2, count)
        values[1, 0, :3], values[2, 1, 4], values[3, 0], values[4, 0, 1] = torch.nan, torch.inf, torch.nan, -torch.inf
        finite = values.isfinite()
        blind = _median_of_lowest(values.masked_fill(~finite, torch.inf), finite.sum(dim=-1, keepdim=True))
        assert torch.equal(blind, median(values))


def test_what_is_let_go_is_freed_at_once(network: LensFinder) -> None:
    """Not only when garbage is searched for: on a GPU a graph holds gigabytes."""
    searched = gc.isenabled()
    gc.disable()
    try:
        batched = BatchedNetwork(network, Arithmetic(CPU, torch.float32, True))
        batched.logits(torch.randn(2, 3, 32, 32))
        assert batched._held is not None
        memory = weakref.ref(batched._held.x)
        del batched
        assert memory() is None
    finally:
        if searched:
            gc.enable()


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand-ins for torch's streams and graphs, which say what was asked of them."""
    said: list[str] = []
    stream = SimpleNamespace(device=CPU, wait_stream=lambda other: None)

    class Graph:
        def replay(self) -> None:
            said.append("replayed")

    def graph(made: object, **named: object) -> Any:
        said.append(f"recorded {named['capture_error_mode']}")
        return nullcontext()

    fake = SimpleNamespace(
        Stream=lambda device: stream,
        current_stream=lambda device: stream,
        stream=lambda one: nullcontext(),
        CUDAGraph=Graph,
        graph=graph,
    )
    monkeypatch.setattr(recorded.torch, "cuda", fake)
    return said


def counting() -> tuple[list[int], Callable[[], None]]:
    calls: list[int] = []
    return calls, lambda: calls.append(len(calls))


def test_calls_before_a_recording_are_real_and_each_later_one_is_a_replay(pretended: list[str]) -> None:
    calls, work = counting()
    run = Recorded(work, SimpleNamespace(type="cuda"), "work")  # type: ignore[arg-type]
    for _ in range(WARM_UP):
        run()
    assert (len(calls), pretended, run.mode) == (WARM_UP, [], EAGER)
    run()
    run()
    assert pretended == ["recorded thread_local", "replayed", "replayed"]
    assert len(calls) == WARM_UP + 1, "the recording itself runs nothing on a GPU"
    assert run.mode == "cuda graph"


def test_what_is_rehearsed_is_recorded_at_once(pretended: list[str]) -> None:
    calls, work = counting()
    run = Recorded(work, SimpleNamespace(type="cuda"), "work")  # type: ignore[arg-type]
    run.rehearse()
    run.rehearse()
    assert len(calls) == WARM_UP
    run()
    assert pretended == ["recorded thread_local", "replayed"]


def test_what_cannot_be_recorded_runs_as_it_stands_with_one_line(
    pretended: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, work = counting()

    def refuses(made: object, **named: object) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(recorded.torch.cuda, "graph", refuses)
    run = Recorded(work, SimpleNamespace(type="cuda"), "scoring")  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        for _ in range(WARM_UP + 4):
            run()
    assert len(calls) == WARM_UP + 4
    (line,) = caplog.messages
    assert line == ("scoring runs without a CUDA graph, more slowly: operation not permitted when stream is capturing")
    assert run.mode == EAGER
