"""For GPUs: work recorded as one CUDA graph, and batches copied to the GPU while it works on others.

On a CPU the same classes run the work directly and pass batches on. The order of warm-up, recording and replay is that
of PyTorch's notes on CUDA semantics ("CUDA Graphs", whole-network capture).
"""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

from lake.errors import one_line

log = logging.getLogger(__name__)

WARM_UP = 3
"""Runs before a recording: the first ones choose kernels and allocate memory, which a graph must not do."""
EAGER, GRAPH = "eager", "cuda graph"


def on(values: NDArray[Any], device: torch.device) -> Tensor:
    """A small array on a device; the processor does not wait for a GPU."""
    tensor = torch.from_numpy(values)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


class Recorded:
    """A function that reads and writes the same memory whenever it is called.

    On a GPU the first ``WARM_UP`` calls run it on a stream of their own; the next one records it there as a CUDA graph,
    and from then on a call launches its thousands of kernels at once. The kernels are the same, and so are the results.
    Where it cannot be recorded, one line in the log says why, and every call runs the function, as on a processor.
    """

    def __init__(self, work: Callable[[], None], device: torch.device, name: str) -> None:
        # the owner of the method owns this object: a cycle would keep GPU memory until the next garbage collection
        self._held = weakref.WeakMethod(work) if isinstance(work, MethodType) else lambda: work
        self._name, self._runs = name, 0
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def mode(self) -> str:
        """How the function runs: eagerly or as a CUDA graph."""
        return EAGER if self._graph is None else GRAPH

    def rehearse(self) -> None:
        """Do the runs that precede a recording; the function must be harmless to repeat."""
        while self._stream is not None and self._runs < WARM_UP:
            self._run_beside(self._stream)

    def _work(self) -> None:
        cast(Callable[[], None], self._held())()

    def __call__(self) -> None:
        if self._graph is None and self._stream is not None:
            if self._runs < WARM_UP:
                return self._run_beside(self._stream)
            self._record(self._stream)
        if self._graph is None:
            self._work()
        else:
            self._graph.replay()
        return None

    def _run_beside(self, stream: torch.cuda.Stream) -> None:
        current = torch.cuda.current_stream(stream.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # a later call captures it
            self._work()
        current.wait_stream(stream)
        self._runs += 1

    def _record(self, stream: torch.cuda.Stream) -> None:
        """Other threads may use the GPU meanwhile (``thread_local``): those that render injections do."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._work()
        except RuntimeError as error:
            log.warning("%s runs without a CUDA graph, more slowly: %s", self._name, one_line(error))
            self._stream = None
        else:
            self._graph = graph


class _Slot:
    """Pinned memory for a batch, memory on the GPU, and events that tell when each may be reused."""

    def __init__(self, batch: Tensor, device: torch.device) -> None:
        self.host = torch.empty(batch.shape, dtype=batch.dtype, pin_memory=True)
        self.there = torch.empty(batch.shape, dtype=batch.dtype, device=device)
        self.copied, self.used = torch.cuda.Event(), torch.cuda.Event()

    def holds(self, batch: Tensor) -> bool:
        """Whether a batch fits."""
        same = self.host.dtype == batch.dtype and self.host.shape[1:] == batch.shape[1:]
        return same and len(self.host) >= len(batch)


class Staged:
    """Copies batches from main memory to a device; a GPU works on one batch while the next is copied.

    Work on a batch must have been launched before the next one is copied, since memory is reused in turn.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._turn = device, 0
        self._slots: list[_Slot | None] = [None, None]
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def brought(self, batch: Tensor) -> Tensor:
        """The batch on the device: itself if it is there already, else a copy, valid until the next call but one."""
        if batch.device.type != "cpu" or self._stream is None:
            return batch.to(self._device)
        current = torch.cuda.current_stream(self._device)
        before = self._slots[1 - self._turn]
        if before is not None:
            before.used.record(current)
        slot = self._slot(batch)
        slot.copied.synchronize()
        slot.host[: len(batch)].copy_(batch)
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(slot.used)
            slot.there[: len(batch)].copy_(slot.host[: len(batch)], non_blocking=True)
            slot.copied.record(self._stream)
        current.wait_event(slot.copied)
        self._turn = 1 - self._turn
        return slot.there[: len(batch)]

    def _slot(self, batch: Tensor) -> _Slot:
        slot = self._slots[self._turn]
        if slot is None or not slot.holds(batch):
            torch.cuda.synchronize(self._device)  # the old memory is no longer in use
            slot = self._slots[self._turn] = _Slot(batch, self._device)
            torch.cuda.synchronize(self._device)  # no earlier stream still uses the new memory
        return slot
