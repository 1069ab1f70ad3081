"""Rows copied past the processor's cache, by several threads: for batches that are larger than it.

A store first reads what it overwrites into the cache; one that goes past it does not, which spares a third of the
memory traffic. Compiled when a large batch is first asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

_LINE = 64
"""Bytes of a line of the cache."""


def copied(x: Tensor, which: Tensor, out: Tensor, threads: int) -> Tensor:
    """Copy rows ``which`` (n,) of a tensor, both contiguous in main memory, to ``out`` (n, ...). IndexError where there
    is no such row.
    """
    rows = which.numpy()
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(x):
        raise IndexError(f"rows must be from 0 to {len(x) - 1}, got {rows.min()} to {rows.max()}")
    source, target = _bytes(x), _bytes(out)

    def part(some: NDArray[np.int64]) -> None:
        copy = target[some[0] : some[-1] + 1]
        _copy(source, rows[some], copy, -copy.ctypes.data % _LINE)

    parts = [some for some in np.array_split(np.arange(len(rows)), threads) if len(some)]
    for _ in map(part, parts) if threads == 1 else _pool(threads).map(part, parts):
        pass
    return out


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: to start them takes as long as to copy a batch."""
    return ThreadPoolExecutor(threads)


os.register_at_fork(after_in_child=_pool.cache_clear)


def _bytes(x: Tensor) -> NDArray[np.uint8]:
    """The memory of a contiguous tensor (row, ...), as (row, byte)."""
    return x.view(len(x), -1).view(torch.uint8).numpy()


@intrinsic
def _line(_context: Any, target: Any, at: Any, source: Any, start: Any) -> Any:
    """Copy a line from any place of an array of bytes to one whose address is a multiple of the line's length."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.IntType(64), _LINE // 8).as_pointer()
        arrays = (context.make_array(signature.args[place])(context, builder, args[place]) for place in (0, 2))
        to, of = (
            builder.bitcast(builder.gep(array.data, [args[place]]), kind)
            for array, place in zip(arrays, (1, 3), strict=True)
        )
        held = builder.load(of)
        held.align = 1
        stored = builder.store(held, to)
        stored.align = _LINE
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), code


@intrinsic
def _settled(_context: Any) -> Any:
    """Wait until what was written past the cache can be seen by every thread."""

    def code(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), code


def _compiled(function: Callable[..., None]) -> Any:
    """The function, compiled when it is first called; the result is kept where numba has a folder to write to."""
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)


@_compiled
def _copy(source: Any, which: Any, target: Any, shift: Any) -> None:
    """Copy rows of bytes; the first whole line of ``target`` begins after ``shift`` bytes."""
    width, of, to = source.shape[1], source.reshape(-1), target.reshape(-1)
    for row in range(len(which)):
        start, at = which[row] * width, row * width
        lead = min((shift - at) % _LINE, width)
        stop = lead + (width - lead) // _LINE * _LINE
        to[at : at + lead] = of[start : start + lead]
        for place in range(lead, stop, _LINE):
            _line(to, at + place, of, start + place)
        to[at + stop : at + width] = of[start + stop : start + width]
    _settled()
