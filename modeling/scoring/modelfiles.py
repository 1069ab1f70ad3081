"""Finders that are one file: TorchScript, ONNX and ensembles, without the code that made them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lake.errors import DataError, one_line
from modeling.scoring import ensemble

TORCHSCRIPT = (".pt", ".pth", ".ts", ".torchscript")
SUFFIXES = (*TORCHSCRIPT, ".onnx", ensemble.SUFFIX)
_NUMBERS = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(bool)": np.bool_,
}  # fmt: skip


def is_model_file(source: str | Path) -> bool:
    """Whether a finder is given as a file: TorchScript, ONNX, or an ensemble."""
    return Path(source).suffix.lower() in SUFFIXES


def load_model(path: Path) -> Any:
    """The model in a file: a torch module, a function of arrays, or an ensemble."""
    if not path.is_file():
        raise DataError(f"{path} is not a file with a finder")
    suffix = path.suffix.lower()
    if suffix == ensemble.SUFFIX:
        return ensemble.Ensemble(path)
    return _torchscript(path) if suffix in TORCHSCRIPT else OnnxModel(path)


def version_of(path: Path) -> str:
    """Hash of a model file, and of its weights file if ONNX keeps them apart."""
    beside = path.with_name(f"{path.name}.data")
    return hashlib.sha256(b"".join(part.read_bytes() for part in (path, beside) if part.is_file())).hexdigest()


def _torchscript(path: Path) -> torch.nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.load.* is deprecated")
            module: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:  # torch raises errors of any kind for files that are not its own
        raise DataError(
            f"{path} cannot be read as TorchScript: {one_line(error)}; write it with torch.jit.script(model).save or "
            "torch.jit.trace(model, stamps).save (a pickled model or a dictionary of weights is not read), or name "
            "the model as package:object"
        ) from error
    return module


def module_call(module: torch.nn.Module) -> Callable[..., Any]:
    """A torch module in evaluation mode, given tensors on its own device, and numbers in its own precision."""
    module.eval()
    weight = next((one for one in module.parameters() if one.is_floating_point()), torch.empty(0))

    def ready(part: NDArray[Any]) -> torch.Tensor:
        held = torch.from_numpy(part)
        return held.to(weight.device, weight.dtype if held.is_floating_point() else held.dtype)

    def call(*given: NDArray[Any]) -> Any:
        try:
            with torch.inference_mode():
                return module(*map(ready, given))
        except RuntimeError as error:
            if "TorchScript" not in str(error):
                raise
            raise RuntimeError(str(error).strip().splitlines()[-1]) from error  # the others are a traceback

    return call


class OnnxModel:
    """An ONNX network as a function of arrays: stamps first, then the other inputs that its finder declares."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise DataError(f"{path} needs the package onnxruntime: pip install onnxruntime") from error
        held = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in held]
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=providers)
        except Exception as error:  # onnxruntime has its own exception for each kind of fault
            raise DataError(f"{path} cannot be read as ONNX: {one_line(error)}") from error
        answers = [one.name for one in self._session.get_outputs()]
        if len(answers) != 1:
            raise DataError(f"{path} must have one output, the score of each stamp, got {', '.join(answers)}")
        first = self._session.get_inputs()[0].shape
        self._batch = first[0] if first and isinstance(first[0], int) else None

    def __call__(self, *given: NDArray[Any]) -> NDArray[Any]:
        inputs = self._session.get_inputs()
        if len(inputs) != len(given):
            names = ", ".join(one.name for one in inputs)
            raise ValueError(
                f"the network has {len(inputs)} inputs ({names}) but is given {len(given)}: stamps, and what "
                "wants_mask and conditions declare"
            )
        count, size = len(given[0]), self._batch or len(given[0])
        parts = [self._run(inputs, [each[start : start + size] for each in given]) for start in range(0, count, size)]
        return np.concatenate(parts)[:count]

    def _run(self, inputs: Any, given: list[NDArray[Any]]) -> NDArray[Any]:
        """Values of one batch; a batch of fixed size is padded with its last stamp."""
        lacking = (self._batch or len(given[0])) - len(given[0])
        padded = [np.concatenate([each, np.repeat(each[-1:], lacking, axis=0)]) for each in given]
        feed: dict[str, Any] = {
            one.name: each.astype(_NUMBERS.get(one.type, np.float32)) for one, each in zip(inputs, padded, strict=True)
        }
        found: NDArray[Any] = self._session.run(None, feed)[0]
        return found
