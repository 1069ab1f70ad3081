"""How much a device works on at once, and how functions run on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

CELLS = {"cpu": 1 << 18, "cuda": 1 << 25}
"""Most cells or pixels in one list on a kind of device: what bounds its memory, at about 100 bytes each."""


def fused(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """A pointwise function as a device runs it: one compiled kernel on a GPU, as it is on the processor.

    A function that cannot be compiled is an error; torch's TORCH_COMPILE_DISABLE=1 turns compilation off.
    """
    return _compiled(function) if device.type == "cuda" else function


@lru_cache(maxsize=16)
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(function, dynamic=True, fullgraph=True)
    return compiled
