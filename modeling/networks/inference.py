"""Device and arithmetic of a network, and its logits for normalised stamps, which do not depend on the batching."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from lake.errors import invalid
from modeling.networks.factory import LensFinder
from modeling.sections import ExecutionParams

BATCH = {"cpu": 64, "cuda": 1024}
"""Stamps per forward pass by device: as many as a CPU's cache holds; a GPU is far from busy below 1,024
(EfficientNetV2-S on an H100, stamps from the host's memory: 3,285 per second at 64, 23,230 at 1,024, 26,527 at 2,048).
Remainders are padded with zeros: kernels depend on the shape of a batch, not on what else is in it, so a stamp's
logit does not depend on the rest of the batch (bitwise, on one machine and thread count)."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TIMED_STAMPS = 32
GAIN_NEEDED = 1.2
"""bf16 is used if it is faster than fp32 by this factor."""


@dataclass(frozen=True)
class Arithmetic:
    """Device and number type that a network runs in."""

    device: torch.device
    dtype: torch.dtype
    channels_last: bool

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, network: LensFinder) -> LensFinder:
        """Move a network to the device and layout."""
        return network.to(self.device).to(memory_format=self.memory_format)

    def forward(self, network: LensFinder, x: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Logits (batch,) in float32."""
        x = x.to(self.device, torch.float32).contiguous(memory_format=self.memory_format)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            logits = network(x, metadata)
        return cast(Tensor, logits).float()


def logits_of(network: LensFinder, arithmetic: Arithmetic, x: Tensor, metadata: Tensor | None = None) -> Tensor:
    """Logits (batch,) float64 on the CPU of normalised stamps (batch, band, y, x); the network is left in eval mode."""
    network.eval()
    size, parts = BATCH[arithmetic.device.type], []
    with torch.inference_mode():
        for start in range(0, len(x), size):
            here = slice(start, start + size)
            extra = None if metadata is None else _padded(metadata[here], size).to(arithmetic.device)
            parts.append(arithmetic.forward(network, _padded(x[here], size), extra))
    return torch.cat(parts)[: len(x)].double().cpu() if parts else torch.empty(0, dtype=torch.float64)


def _padded(batch: Tensor, size: int) -> Tensor:
    if len(batch) == size:
        return batch
    return torch.cat([batch, batch.new_zeros(size - len(batch), *batch.shape[1:])])


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Run the block with this many CPU threads, then restore the former number."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_of(params: ExecutionParams) -> torch.device:
    """The device asked for."""
    available = torch.cuda.is_available()
    if params.device == "cuda" and not available:
        raise invalid("execution.device", "cpu or auto if there is no GPU", params.device)
    return torch.device("cuda" if available and params.device != "cpu" else "cpu")


def choose_dtype(params: ExecutionParams, network: LensFinder, shape: tuple[int, ...], metadata_columns: int) -> str:
    """``fp32`` or ``bf16``; ``auto`` times a forward pass of stamps (band, y, x) if the device has bf16 units."""
    if params.dtype != "auto":
        return params.dtype
    device = device_of(params)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return "fp32"
    x = torch.zeros(TIMED_STAMPS, *shape)
    metadata = torch.zeros(TIMED_STAMPS, metadata_columns) if metadata_columns else None
    seconds = {}
    for name, dtype in DTYPES.items():
        arithmetic = Arithmetic(device, dtype, params.channels_last)
        placed = arithmetic.place(network).eval()
        with torch.inference_mode():
            arithmetic.forward(placed, x, metadata)
            started = time.perf_counter()
            arithmetic.forward(placed, x, metadata)
            seconds[name] = time.perf_counter() - started
    return "bf16" if seconds["bf16"] * GAIN_NEEDED < seconds["fp32"] else "fp32"
