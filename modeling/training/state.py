"""The state of a run and its files: all that exact resumption needs (order, augmentation and dropout are hashes).

File layout (safetensors, no code): ``network.*``, ``ema.*`` where averaged, ``optimiser.<parameter>.<moment>``,
``run.loss_sum``; step, epoch and best metric in the header.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lake.errors import DataError, one_line
from lake.files import atomic
from modeling.networks.factory import LensFinder
from modeling.networks.inference import Arithmetic
from modeling.sections import OptimiserParams

HEADER = "darkhaloscope"
STATE = "state.safetensors"
"""File of the last state of a run."""


class TrainingState:
    """Network, averaged network, optimiser and counters."""

    def __init__(self, network: LensFinder, params: OptimiserParams, arithmetic: Arithmetic) -> None:
        self.network = arithmetic.place(network)
        self.ema = copy.deepcopy(self.network) if params.ema_decay > 0 else None
        on_gpu = arithmetic.device.type == "cuda"
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=torch.tensor(params.lr, device=arithmetic.device) if on_gpu else params.lr,
            betas=params.betas,
            weight_decay=params.weight_decay,
            fused=True,
            capturable=on_gpu,
        )
        self.step = 0
        """Optimiser steps done."""
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=arithmetic.device)
        """Sum of the step losses of the current epoch."""
        self.best_metric: float | None = None
        self.best_epoch = 0
        """Epoch (from 1) of the best metric; 0 before the first."""
        self._ema_decay = params.ema_decay

    @property
    def evaluated(self) -> LensFinder:
        """The weights that are evaluated and kept."""
        return self.ema if self.ema is not None else self.network

    def set_rate(self, rate: float) -> None:
        """Set the learning rate; on a GPU in place, since a CUDA graph reads it there."""
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def average(self) -> None:
        """Move the averaged weights towards the current ones; the memory is shorter at the start of the run."""
        if self.ema is None:
            return
        decay = min(self._ema_decay, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.network.parameters()), 1 - decay)
            if buffers := list(self.ema.buffers()):  # ConvNeXt has none
                torch._foreach_copy_(buffers, list(self.network.buffers()))

    def save(self, path: Path) -> None:
        """Write the state by rename."""
        counters = {"step": self.step, "best_metric": self.best_metric, "best_epoch": self.best_epoch}
        with atomic.replacing(path) as draft:
            save_file(self._tensors(), draft, metadata={HEADER: json.dumps(counters)})

    def load(self, path: Path) -> None:
        """Continue from a saved state."""
        tensors, counters = read(path)
        self.network.load_state_dict(_under(tensors, "network."))
        if self.ema is not None:
            self.ema.load_state_dict(_under(tensors, "ema."))
        packed = self.optimiser.state_dict()
        packed["state"] = _moments(_under(tensors, "optimiser."), list(self.network.parameters()))
        self.optimiser.load_state_dict(packed)
        self.loss_sum = tensors["run.loss_sum"].to(self.loss_sum.device)
        self.step, self.best_metric, self.best_epoch = (
            counters[name] for name in ("step", "best_metric", "best_epoch")
        )

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
        tensors["run.loss_sum"] = self.loss_sum
        return {name: value.detach().contiguous().cpu() for name, value in tensors.items()}


def read(path: Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors whose name starts with ``prefix``, and the counters, of a state file; nothing in it is executed."""
    try:
        if not path.is_file():
            raise OSError("no such file" if not path.exists() else "it is not a regular file")
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
            return {name: file.get_tensor(name) for name in names}, header
    except (OSError, safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a safetensors file of a checkpoint: {one_line(error)}") from error


def scoring_weights(path: Path) -> dict[str, Tensor]:
    """The weights to score with: the averaged ones if the run kept them."""
    weights = _under(read(path, "ema.")[0], "ema.") or _under(read(path, "network.")[0], "network.")
    if not weights:
        raise DataError(f"{path} does not contain a network")
    return weights


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _moments(tensors: dict[str, Tensor], parameters: list[nn.Parameter]) -> dict[int, dict[str, Tensor]]:
    """State per parameter, in the parameter's memory layout: the fused optimiser walks through both side by side."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, moment = name.split(".")
        laid_out = torch.empty_like(parameters[int(index)]).copy_(value) if value.ndim else value
        moments.setdefault(int(index), {})[moment] = laid_out.detach()
    return moments
