"""Backend for sources given as images, interpolated bilinearly, with the cells and rays of ``_rays``. Private."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from injection.engine import _rays

PART_FIELDS = ("u", "v", "along", "across", "centre_x", "centre_y", "brightness")
"""Position in the lens's frame; image pixels per arcsec times cosine and sine of the image's turn; the image's centre;
surface brightness per unit of pixel value."""

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_TENTH = np.float32(0.1)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _interpolated(image: Any, x: Any, y: Any) -> Any:
    """Bilinear value at (x, y); zero off the image, whose outermost pixels must be empty."""
    if x < _ZERO or y < _ZERO or x >= image.shape[1] - 1 or y >= image.shape[0] - 1:
        return _ZERO
    col, row = int(x), int(y)
    part_x, part_y = x - np.float32(col), y - np.float32(row)
    low = image[row, col] + part_x * (image[row, col + 1] - image[row, col])
    high = image[row + 1, col] + part_x * (image[row + 1, col + 1] - image[row + 1, col])
    return low + part_y * (high - low)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)
def _look(cells: Any, count: int, lens: Any, part: Any, width: Any, source: Any, seen: Any) -> None:
    """Write what cells show, as in ``_rays``; the variation is the squared extent in half image pixels."""
    per_arcsec = np.sqrt(part[2] * part[2] + part[3] * part[3])
    most = part[6] * source.max()
    strength, f2, q2, g1, g2 = lens[0], lens[1], lens[2], lens[3], lens[4]
    for i in range(count):
        u, v = cells[0, i], cells[1, i]
        au, av, inverse_psi = _rays.isothermal(u, v, q2, f2)
        du = u - strength * au - g1 * u - g2 * v - part[0]
        dv = v - strength * av - g2 * u + g1 * v - part[1]
        x, y = part[4] + part[2] * du + part[3] * dv, part[5] - part[3] * du + part[2] * dv
        seen[0, i] = part[6] * _interpolated(source, x, y)
        steep = strength / max(_ONE / inverse_psi - width, _TENTH * width)
        span = per_arcsec * width * (max(_ONE, steep - _ONE) + lens[5])
        beyond = max(max(-x, x - np.float32(source.shape[1] - 1)), max(-y, y - np.float32(source.shape[0] - 1)))
        seen[1, i] = -_ONE if beyond > span else np.float32(0.25) * span * span
        seen[2, i] = most


@njit(cache=True, nogil=True, error_model="numpy")
def trace(scene: Any, source: Any, work: Any, image: Any) -> int:
    """Add the light of one image source to ``image`` (size^2 + 1); returns the number of rays, -1 without room.

    ``scene`` has one row, whose first component's fields are :data:`PART_FIELDS`.
    """
    size = int(np.sqrt(image.size - 1))
    image[:] = _ZERO
    if size * size > work[0].shape[1]:
        return -1
    count = _rays.stamp_cells(scene, 0, 0, size, work)
    inside = _integrate(scene, source, (count, scene.scale), work, image)
    offset = max(abs(scene.centres[0, 0]), abs(scene.centres[0, 1]))
    if inside < 0 or scene.reaches[0, 0] <= np.float32(0.5 * size) * scene.scale - offset:
        return inside
    count = _rays.surroundings(scene, 0, size, work)
    outside = _integrate(scene, source, (count, np.float32(size) * scene.scale), work, image)
    return inside + outside if outside >= 0 else -1


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _integrate(scene: Any, source: Any, start: Any, work: Any, image: Any) -> int:
    """Add the source's light over the first ``start`` cells of list 0, all of one width, level by level."""
    count, width = start
    table, pixels = work
    lens, turn, part = scene.lenses[0], scene.turns[0], scene.parts[0, 0]
    levels = scene.levels + int(np.ceil(np.log2(width / scene.scale)))
    points, seen = table[4:6], table[6:9]
    now, traced = 0, 0
    for level in range(levels + 1):
        cells, children = table[2 * now : 2 * now + 2], table[2 - 2 * now : 4 - 2 * now]
        _look(cells, count, lens, part, width, source, seen)
        lists = (cells, pixels[now], children, pixels[1 - now], points, pixels[2], seen)
        young, rays = _rays.sort(count, width, turn, level == levels, scene.limits, lists, image)
        if young < 0:
            return -1
        _look(points, rays, lens, part, width, source, seen)
        for i in range(rays):
            image[pixels[2, i]] += seen[0, i] * np.float32(0.25) * width * width
        traced += count + rays
        if young == 0:
            break
        count, width, now = young, np.float32(0.5) * width, 1 - now
    return traced
