"""Device and arithmetic of a network, and its logits for normalised stamps, which do not depend on the batching."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from lake.errors import invalid
from modeling.networks.factory import LensFinder
from modeling.networks.recorded import EAGER, Recorded, Staged
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
        # a pass uses each weight once, so there is no need to cache casts; in a CUDA graph they must not be cached
        narrow = self.dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=narrow, cache_enabled=False):
            logits = network(x, metadata)
        return cast(Tensor, logits).float()

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        """Memory for network input (batch, band, y, x), float32 in the layout of activations, all zero."""
        made = torch.zeros(shape, dtype=torch.float32, device=self.device)
        return made.contiguous(memory_format=self.memory_format)


class BatchedNetwork:
    """A network that gives logits for any number of stamps, in batches of one size that reuse the same memory.

    On a GPU a batch is one CUDA graph. Several threads may use it, one after the other. The network's weights may
    change, but not move.
    """

    def __init__(self, network: LensFinder, arithmetic: Arithmetic) -> None:
        self.network, self.arithmetic = network, arithmetic
        self._staged, self._lock = Staged(arithmetic.device), threading.Lock()
        self._held: _Held | None = None

    @property
    def mode(self) -> str:
        """How batches run: eagerly or as a CUDA graph."""
        return EAGER if self._held is None else self._held.run.mode

    def logits(self, x: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Logits (batch,) float64 on the network's device, of normalised stamps (batch, band, y, x) on any.

        The network is left in eval mode.
        """
        size, device = BATCH[self.arithmetic.device.type], self.arithmetic.device
        found = torch.empty(len(x), dtype=torch.float32, device=device)
        metadata = None if metadata is None else metadata.to(device)
        self.network.eval()
        with self._lock, torch.inference_mode():
            held = self._memory(size, x, metadata)
            for start in range(0, len(x), size):
                here = slice(start, start + size)
                held.fill(self._staged.brought(x[here]), None if metadata is None else metadata[here])
                held.run()
                found[here] = held.logits[: len(x[here])]
        return found.double()

    def _memory(self, size: int, x: Tensor, metadata: Tensor | None) -> _Held:
        shape = (size, *x.shape[1:])
        if self._held is None or self._held.x.shape != shape:
            columns = None if metadata is None else metadata.shape[1]
            self._held = _Held(self.network, self.arithmetic, shape, columns)
        return self._held


class _Held:
    """Memory of one batch: its stamps, their observing conditions, and its logits."""

    def __init__(
        self, network: LensFinder, arithmetic: Arithmetic, shape: tuple[int, ...], columns: int | None
    ) -> None:
        self._network, self._arithmetic, device = network, arithmetic, arithmetic.device
        self.x, self.logits = arithmetic.empty(shape), torch.zeros(shape[0], device=device)
        self.metadata = None if columns is None else torch.zeros(shape[0], columns, device=device)
        self.run = Recorded(self._pass, device, "scoring")
        self.run.rehearse()

    def _pass(self) -> None:
        self.logits.copy_(self._arithmetic.forward(self._network, self.x, self.metadata))

    def fill(self, x: Tensor, metadata: Tensor | None) -> None:
        """Copy a batch in, and set the rest to zero."""
        for memory, batch in ((self.x, x), (self.metadata, metadata)):
            if memory is not None and batch is not None:
                memory[: len(batch)].copy_(batch)
                memory[len(batch) :].zero_()


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
