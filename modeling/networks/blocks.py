"""The blocks of a network: what its activations are along the way from pixels to the embedding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from modeling.networks.factory import LensFinder

_FEATURE_MAP = 4


def blocks_of(network: LensFinder) -> list[nn.Module]:
    """The composite parts of a network's trunk that hold convolutions, in order: its blocks or stages."""
    trunk = network.features
    while isinstance(inner := getattr(trunk, "features", None), nn.Module):
        trunk = inner
    return [part for part in trunk.children() if _is_block(part)]


def _is_block(part: nn.Module) -> bool:
    composite = any(True for _ in part.children())
    return composite and any(isinstance(one, nn.Conv2d) for one in part.modules())


@contextmanager
def pooled_blocks(network: LensFinder) -> Iterator[dict[str, NDArray[np.float32]]]:
    """While open, the mean over pixels (batch, channel) of each block's output in the latest pass: `block 1`, ..."""
    held: dict[str, NDArray[np.float32]] = {}
    hooks = [
        block.register_forward_hook(partial(_keep, held, f"block {number}"))
        for number, block in enumerate(blocks_of(network), start=1)
    ]
    try:
        yield held
    finally:
        for hook in hooks:
            hook.remove()


def _keep(held: dict[str, NDArray[np.float32]], name: str, module: nn.Module, given: Any, output: Any) -> None:
    if isinstance(output, Tensor) and output.ndim == _FEATURE_MAP:
        held[name] = output.float().mean(dim=(2, 3)).cpu().numpy()
