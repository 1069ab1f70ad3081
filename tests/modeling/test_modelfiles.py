"""Finders that are one file are scorers like any other: TorchScript, ONNX, the weights of a checkpoint of ours."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lake.errors import DataError, ParameterError
from modeling.scoring.scorer import load_scorer
from tests.onnxfiles import DOUBLE, HALF, write_mean

SIDE = 8


class Mean(torch.nn.Module):
    """The mean of a stamp, in a column."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(0.25))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.mean(dim=(1, 2, 3)) + self.shift)[:, None]


def stamps(rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(1.0, 2.0, (rows, 2, SIDE, SIDE)).astype(np.float32)


def scripted(path: Path, shift: float = 0.25) -> Path:
    module = Mean()
    with torch.no_grad():
        module.shift.fill_(shift)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(str(path))
    return path


def test_torchscript_scores_and_is_known_by_its_bytes(tmp_path: Path) -> None:
    pixels = stamps(5)
    found = load_scorer(scripted(tmp_path / "mine.pt"))
    assert found.name == "mine"
    np.testing.assert_allclose(found.score(pixels), pixels.mean((1, 2, 3)) + 0.25, rtol=1e-5)
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "mine.pt").rename(tmp_path / "moved" / "mine.pt")
    assert load_scorer(moved).checkpoint_id == found.checkpoint_id
    assert load_scorer(scripted(tmp_path / "mine.pt", 0.5)).checkpoint_id != found.checkpoint_id


class Fixed(torch.nn.Module):
    """It takes stamps of one size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, 0] * torch.ones(9, 9)).sum(dim=(1, 2))


def test_torchscript_says_in_one_sentence_what_failed(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Fixed()).save(str(tmp_path / "fixed.pt"))
    said = (
        r"^finder fixed failed on 5 stamps: RuntimeError: RuntimeError: The size of tensor a \(8\) must match [^\n]*$"
    )
    with pytest.raises(DataError, match=said):
        load_scorer(tmp_path / "fixed.pt").score(stamps(5))


def test_onnx_takes_any_batch_or_its_own_and_conditions(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pixels, more = stamps(7), np.arange(14.0).reshape(7, 2) - 3.0
    write_mean(tmp_path / "any.onnx", 2, SIDE)
    np.testing.assert_allclose(load_scorer(tmp_path / "any.onnx").score(pixels), pixels.mean((1, 2, 3)), rtol=1e-5)
    write_mean(tmp_path / "four.onnx", 2, SIDE, conditions=2, batch=4)
    declares = {"conditions": ["seeing", "height"], "fill": "median"}
    found = load_scorer(tmp_path / "four.onnx", declares=declares)
    assert found.conditions == ("seeing", "height")
    np.testing.assert_allclose(found.score(pixels, more), pixels.mean((1, 2, 3)) + more.mean(1), rtol=1e-5)
    with pytest.raises(DataError, match="needs seeing, height of each stamp, but not all are known"):
        found.score(pixels)
    with pytest.raises(DataError, match=r"the network has 2 inputs \(stamps, conditions\) but is given 1: stamps, and"):
        load_scorer(tmp_path / "four.onnx").score(pixels)
    with pytest.raises(DataError, match=r"finder any failed on 7 stamps: .*dimension"):
        load_scorer(tmp_path / "any.onnx").score(pixels[:, :1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_torchscript_is_given_numbers_in_its_own_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * SIDE**2, 1)).to(dtype)
        torch.jit.script(layer).save(str(tmp_path / "own.pt"))
    pixels = stamps(5)
    with torch.inference_mode():
        right = layer(torch.from_numpy(pixels).to(dtype))[:, 0].double().numpy()
    assert (load_scorer(tmp_path / "own.pt").score(pixels) == right).all()


@pytest.mark.parametrize(("kind", "dtype"), [(HALF, np.float16), (DOUBLE, np.float64)], ids=["half", "double"])
@pytest.mark.parametrize("batch", [None, 4])
def test_onnx_is_given_numbers_in_its_own_precision(tmp_path: Path, kind: int, dtype: Any, batch: int | None) -> None:
    runtime = pytest.importorskip("onnxruntime")
    write_mean(tmp_path / "own.onnx", 2, SIDE, batch=batch, kind=kind)
    pixels = stamps(8)
    session = runtime.InferenceSession(str(tmp_path / "own.onnx"), providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"stamps": part.astype(dtype)})[0] for part in np.split(pixels, 2)]
    found = load_scorer(tmp_path / "own.onnx").score(pixels)
    assert (found == np.concatenate(parts)).all()
    np.testing.assert_allclose(found, pixels.mean((1, 2, 3)), rtol=2e-3 if kind == HALF else 1e-6, atol=1e-3)


def test_onnx_with_several_outputs_does_not_say_which_one_is_the_score(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_mean(tmp_path / "two.onnx", 2, SIDE, outputs=2)
    with pytest.raises(DataError, match=r"two\.onnx must have one output, the score of each stamp, got light, bands"):
        load_scorer(tmp_path / "two.onnx")


def test_what_is_no_network_is_refused_with_the_cure(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    for name in ("a.onnx", "a.pt"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
    torch.save(Mean().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(DataError, match=r"a.onnx cannot be read as ONNX: "):
        load_scorer(tmp_path / "a.onnx")
    for name in ("a.pt", "weights.pt"):
        with pytest.raises(DataError, match=rf"{name} cannot be read as TorchScript: .* torch.jit.script\("):
            load_scorer(tmp_path / name)
    with pytest.raises(DataError, match=r"no.onnx is not a file with a finder"):
        load_scorer(tmp_path / "no.onnx")
    with pytest.raises(ParameterError, match=r"'scorer' must be a checkpoint folder, .* \(.pt, .*.onnx, .ensemble\)"):
        load_scorer(tmp_path / "model.keras")
    with pytest.raises(ParameterError, match=r"a.pt.sides' must be one of the known parameters|cannot be read"):
        load_scorer(scripted(tmp_path / "a.pt"), declares={"sides": 8})


def test_a_file_cannot_contradict_what_is_declared(tmp_path: Path) -> None:
    found = load_scorer(scripted(tmp_path / "a.pt"), output="probabilities", declares={"stamp_pixels": 6})
    with pytest.raises(DataError, match="must return probabilities in"):
        found.score(stamps(3))
    assert found.stamp_pixels == 6
