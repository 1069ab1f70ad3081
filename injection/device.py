"""Where injections are made: the processor's engine, or the same one in torch on a GPU."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from lake.errors import invalid

if TYPE_CHECKING:
    import torch

Pixels = Any
"""Images (batch, band, y, x) float32 where they were rendered: an array, or on a GPU a torch tensor."""


def on_device(pixels: Pixels) -> bool:
    """Whether pixels are a torch tensor."""
    return not isinstance(pixels, np.ndarray)


def like(array: Pixels, pixels: Pixels) -> Pixels:
    """An array where ``pixels`` are."""
    if on_device(array) or not on_device(pixels):
        return array
    import torch

    return torch.from_numpy(array).to(pixels.device)


def zeros(shape: tuple[int, ...], gpu: torch.device | None) -> Pixels:
    """Pixels without light, float32, on a GPU or (None) the processor."""
    if gpu is None:
        return np.zeros(shape, np.float32)
    import torch

    return torch.zeros(shape, dtype=torch.float32, device=gpu)


def accelerator(device: str) -> torch.device | None:
    """The GPU that ``cuda`` or ``cuda:<number>`` names; None for ``cpu``. Never another device than the one named."""
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
