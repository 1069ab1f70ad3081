"""The cells that adaptive quadrature starts from: a stamp's pixels, and stamp-sized cells round it. Private."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)
def stamp_cells(scene: Any, row: int, k: int, size: int, work: Any) -> int:
    """Fill list 0 with the pixels that component ``k`` can reach; returns how many."""
    cells, pixels = work
    scale, centre, turn, reach = scene.scale, scene.centres[row], scene.turns[row], scene.reaches[row, k]
    count = 0
    half = np.float32(0.5 * (size - 1))
    for line in range(size):
        dy = (np.float32(line) - half) * scale - centre[1]
        if abs(dy) > reach:
            continue
        width = np.sqrt(reach * reach - dy * dy)
        first = max(int(np.ceil((centre[0] - width) / scale + half)), 0)
        last = min(int(np.floor((centre[0] + width) / scale + half)), size - 1)
        for col in range(first, last + 1):
            dx = (np.float32(col) - half) * scale - centre[0]
            cells[0, count] = turn[0] * dx + turn[1] * dy
            cells[1, count] = turn[0] * dy - turn[1] * dx
            pixels[0, count] = line * size + col
            count += 1
    return count


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)
def surroundings(scene: Any, row: int, size: int, work: Any) -> int:
    """Fill list 0 with the eight stamp-sized cells round the stamp; returns how many."""
    cells, pixels = work
    scale, centre, turn = scene.scale, scene.centres[row], scene.turns[row]
    count = 0
    for line in range(-1, 2):
        for col in range(-1, 2):
            if line == 0 and col == 0:
                continue
            dx = np.float32(col * size) * scale - centre[0]
            dy = np.float32(line * size) * scale - centre[1]
            cells[0, count] = turn[0] * dx + turn[1] * dy
            cells[1, count] = turn[0] * dy - turn[1] * dx
            pixels[0, count] = size * size
            count += 1
    return count
