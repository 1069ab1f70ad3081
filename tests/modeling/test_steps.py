"""Optimiser steps: compiled or not, what is refused before it is saved, and what a run's identity leaves out."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lake.errors import DataError
from modeling.config import TrainParams, resolve_generation
from modeling.networks.inference import Arithmetic
from modeling.scoring.card import config_sha256
from modeling.training.data import TrainingArrays
from modeling.training.state import TrainingState
from modeling.training.steps import Steps
from modeling.training.train import train
from tests.modeling.runs import same

Splits = tuple[TrainingArrays, TrainingArrays]


def changed(params: TrainParams, section: str, **values: object) -> TrainParams:
    return params.model_copy(update={section: getattr(params, section).model_copy(update=values)})


def test_a_compiler_that_fails_leaves_the_same_training_and_one_line(
    tmp_path: Path,
    small: TrainParams,
    splits: Splits,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    small = changed(small, "loop", epochs=1)

    def fails(network: Any, **named: object) -> Any:
        def forward(x: torch.Tensor, metadata: object) -> torch.Tensor:
            if forward.calls:  # type: ignore[attr-defined]
                raise RuntimeError("no C++ compiler")
            forward.calls += 1  # type: ignore[attr-defined]
            return network(x, metadata)

        forward.calls = 0  # type: ignore[attr-defined]
        return forward

    monkeypatch.setattr(torch, "compile", fails)
    with caplog.at_level(logging.WARNING):
        tried = train(changed(small, "execution", compile=True), *splits, tmp_path / "tried")
    assert caplog.messages == ["demo1 is trained without compiling, more slowly: no C++ compiler"]
    assert tried.steps.mode == "eager"
    train(small, *splits, tmp_path / "plain")
    assert same(tmp_path / "tried" / "state.safetensors", tmp_path / "plain" / "state.safetensors")


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_within_rounding(tmp_path: Path, small: TrainParams, splits: Splits) -> None:
    small = changed(changed(small, "loop", epochs=1), "network", dropout=0.0)
    plain = train(small, *splits, tmp_path / "plain")
    compiled = train(changed(small, "execution", compile=True), *splits, tmp_path / "compiled")
    assert compiled.steps.mode == "eager, compiled"
    for ours, theirs in zip(plain.state.network.parameters(), compiled.state.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)


def test_compiling_is_no_part_of_a_runs_identity_and_unsaid_where_it_is_off() -> None:
    plain, compiled = (resolve_generation("demo1", {"execution.compile": on}) for on in (False, True))
    assert "compile" not in plain.model_dump(mode="json")["execution"]
    assert compiled.model_dump(mode="json")["execution"]["compile"] is True
    assert plain.science_digest() == compiled.science_digest()
    assert config_sha256(plain) == config_sha256(resolve_generation("demo1"))
    assert config_sha256(plain) != config_sha256(compiled)


def test_a_loss_that_is_not_finite_is_refused_before_it_is_saved(
    tmp_path: Path, small: TrainParams, splits: Splits
) -> None:
    small = changed(small, "loop", save_every_steps=1)
    training = replace(splits[0], x=splits[0].x.clone().fill_(torch.nan))
    with pytest.raises(DataError, match="not finite in epoch 1"):
        train(small, training, splits[1], tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_weights_of_a_network_without_buffers_are_averaged(small: TrainParams) -> None:
    """As those of ConvNeXt, which has no batch statistics."""
    params = changed(small, "optimiser", ema_decay=0.9).optimiser
    network: Any = torch.nn.Linear(2, 1, bias=False)
    state = TrainingState(network, params, Arithmetic(torch.device("cpu"), torch.float32, True))
    before = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1.0
    state.step = 10**6
    state.average()
    assert state.ema is not None
    torch.testing.assert_close(next(state.ema.parameters()), before + 0.1)


def test_gradients_are_recorded_anew_when_other_weights_are_trained(
    tmp_path: Path, small: TrainParams, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CUDA graph of the head's gradients would never move the backbone."""
    runs: list[object] = []
    real = Steps.train

    def noting(steps: Steps, head_only: bool) -> None:
        real(steps, head_only)
        runs.append(steps._run)

    monkeypatch.setattr(Steps, "train", noting)
    train(changed(small, "loop", epochs=4, frozen_epochs=2), *splits, tmp_path)
    _, first, second, third, fourth = runs
    assert first is second
    assert second is not third
    assert third is fourth
