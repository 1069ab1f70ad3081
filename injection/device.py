"""Where injections are made: on the processor, or by the same engine in torch on a GPU. Imports torch only then."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lake.errors import invalid

if TYPE_CHECKING:
    import torch

Pixels = Any
"""Images (batch, band, y, x) float32 on the device that rendered them: an array, or a torch tensor on a GPU."""
CELLS = {"cpu": 1 << 18, "cuda": 1 << 25}
"""Most cells or pixels in one list of torch's engine on a kind of device; it bounds memory, at about 100 bytes each."""


def on_device(pixels: Pixels) -> bool:
    """Whether pixels are a torch tensor."""
    return not isinstance(pixels, np.ndarray)


def like(array: Pixels, pixels: Pixels) -> Pixels:
    """The array, moved to the device of ``pixels``."""
    if on_device(array) or not on_device(pixels):
        return array
    import torch

    return torch.from_numpy(array).to(pixels.device)


def zeros(shape: tuple[int, ...], gpu: torch.device | None) -> Pixels:
    """Empty float32 pixels on a GPU, or on the processor (None)."""
    if gpu is None:
        return np.zeros(shape, np.float32)
    import torch

    return torch.zeros(shape, dtype=torch.float32, device=gpu)


def accelerator(device: str) -> torch.device | None:
    """The GPU that ``cuda`` or ``cuda:<number>`` names, None for ``cpu``; an error if it is not there."""
    if device == "cpu":
        return None
    named = re.fullmatch(r"cuda(?::(\d+))?", device)
    if named is None:
        raise invalid("device", "cpu, cuda or cuda:<number>", device)
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise invalid("device", "cpu if torch finds no CUDA GPU (or install NVIDIA's driver)", device)
    if int(named[1] or 0) >= count:
        raise invalid("device", f"cuda:0 to cuda:{count - 1} on this machine", device)
    return torch.device("cuda", int(named[1] or 0))


def fused(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """A pointwise function of tensors for a device: one compiled kernel on a GPU, unchanged on the processor.

    A function that cannot be compiled is an error; torch's TORCH_COMPILE_DISABLE=1 turns compilation off.
    """
    return _compiled(function) if device.type == "cuda" else function


@lru_cache(maxsize=16)
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    compiled: Callable[..., Any] = torch.compile(function, dynamic=True, fullgraph=True)
    return compiled
