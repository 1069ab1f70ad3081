"""The adaptive quadrature of ``_rays`` in torch: one flat list of cells for a whole batch, level by level."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from injection.device import CELLS, fused
from injection.engine._pack import Scene
from injection.engine._torch_formulas import NOT_FINITE, SCALE, children, classify, four_rays


class _Cells(NamedTuple):
    """A list of cells: positions in the lens's frame (arcsec), and pixel and component by number in the batch."""

    u: Tensor
    v: Tensor
    pixel: Tensor
    which: Tensor

    def take(self, index: Tensor) -> _Cells:
        return _Cells(*(column.index_select(0, index) for column in self))


class _Parts(NamedTuple):
    """The components of a batch: fields (field, component), injections, reaches and lens centres."""

    table: Tensor
    row: Tensor
    reach: Tensor
    centre: Tensor
    spills: Tensor
    """Numbers of the components with light that may fall outside the stamp"""


def trace(scene: Scene, size: int, device: torch.device) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]:
    """Lensed light of unit source flux, (batch, size^2 + 1) float32 as of ``_rays.trace``; rays; rows that failed.

    Rows fail if their light is not finite, and are left empty. A row does not depend on the rest of the batch, since
    cells are computed independently and summed as integers.
    """
    images, rays = [], []
    for rows in _chunks(scene.counts, size, CELLS[device.type]):
        sums = torch.zeros(2, (rows.stop - rows.start) * (size * size + 1), dtype=torch.int64, device=device)
        parts = _parts(scene, rows, size, device)
        for cells, width in ((_stamp(parts, scene, size), 1.0), (_surroundings(parts, scene, size), float(size))):
            _integrate(cells, width, (parts.table, sums), scene)
        light, traced = sums.view(2, -1, size * size + 1)
        images.append((light.to(torch.float64) / SCALE).to(torch.float32))
        rays.append(traced.sum(dim=1))
    flat, counts = torch.cat(images), torch.cat(rays)
    bad = counts >= NOT_FINITE
    flat[bad], counts[bad] = 0.0, 0
    return flat, counts.cpu().numpy(), np.flatnonzero(bad.cpu().numpy())


def _chunks(counts: NDArray[np.int64], size: int, most: int) -> Iterator[slice]:
    """Slices of rows, with as many components as have room for all their pixels."""
    start, used = 0, 0
    for row, count in enumerate(counts.tolist()):
        if row > start and used + count * size * size > most:
            yield slice(start, row)
            start, used = row, 0
        used += count * size * size
    yield slice(start, len(counts))


def _parts(scene: Scene, rows: slice, size: int, device: torch.device) -> _Parts:
    counts = scene.counts[rows]
    row = np.repeat(np.arange(len(counts)), counts)
    k = np.concatenate([np.arange(count) for count in counts])
    own = rows.start + row
    table = np.concatenate([scene.lenses[own], scene.turns[own], scene.parts[own, k]], axis=1)
    inside = np.float32(0.5 * size) * scene.scale - np.abs(scene.centres[own]).max(axis=1)
    columns = (
        np.ascontiguousarray(table.T), row.astype(np.int32), scene.reaches[own, k], scene.centres[own],
        np.flatnonzero(scene.reaches[own, k] > inside),
    )  # fmt: skip
    return _Parts(*(torch.from_numpy(np.ascontiguousarray(column)).to(device) for column in columns))


def _stamp(parts: _Parts, scene: Scene, size: int) -> _Cells:
    """The pixels that each component can reach."""
    axis = (torch.arange(size, dtype=torch.float32, device=parts.row.device) - 0.5 * (size - 1)) * float(scene.scale)
    dx, dy = (axis - parts.centre[:, k, None] for k in (0, 1))
    near = dx[:, None, :] ** 2 + dy[:, :, None] ** 2 <= (parts.reach**2)[:, None, None]
    place = near.flatten().nonzero().squeeze(1)
    which, pixel = (place // size**2).to(torch.int32), (place % size**2).to(torch.int32)
    line, col = pixel // size, pixel % size
    return _cells(dx[which, col], dy[which, line], pixel, which, parts, size)


def _surroundings(parts: _Parts, scene: Scene, size: int) -> _Cells:
    """The eight stamp-sized cells around the stamp, for components with light that may fall there."""
    steps = [(col, line) for line in (-1, 0, 1) for col in (-1, 0, 1) if (col, line) != (0, 0)]
    away = torch.tensor(steps, dtype=torch.float32, device=parts.row.device) * (size * float(scene.scale))
    which = parts.spills.repeat_interleave(len(steps)).to(torch.int32)
    offset = away.repeat(len(parts.spills), 1) - parts.centre[which]
    return _cells(offset[:, 0], offset[:, 1], torch.full_like(which, size * size), which, parts, size)


def _cells(dx: Tensor, dy: Tensor, pixel: Tensor, which: Tensor, parts: _Parts, size: int) -> _Cells:
    """Cells in the lens's frame, from offsets (arcsec) along the stamp's axes from the lens's centre."""
    cos, sin = parts.table[6:8, which]
    number = parts.row[which] * (size * size + 1) + pixel
    return _Cells(cos * dx + sin * dy, cos * dy - sin * dx, number, which)


def _integrate(start: _Cells, pixels: float, where: tuple[Tensor, Tensor], scene: Scene) -> None:
    """Add the light of cells, ``pixels`` wide, and the number of rays to the sums."""
    table, sums = where
    most = CELLS[sums.device.type]
    levels = scene.levels + math.ceil(math.log2(pixels))
    widths = [np.float32(pixels) * scene.scale / np.float32(2.0**level) for level in range(levels + 1)]
    limits = np.tile(scene.limits, (levels + 1, 1))
    limits[-1, 1] = np.inf
    plan = torch.from_numpy(np.column_stack([widths, limits]).astype(np.float32)).to(sums.device)
    waiting = [(0, start)]
    while waiting:
        level, cells = waiting.pop()
        if len(cells.u) > most:
            waiting += [(level, _Cells(*piece)) for piece in zip(*(c.split(most) for c in cells), strict=True)]
        elif len(cells.u):
            young = _level(cells, (plan[level, 0], plan[level, 1:]), table, sums)
            waiting.append((level + 1, young))


def _level(cells: _Cells, rule: tuple[Tensor, Tensor], table: Tensor, sums: Tensor) -> _Cells:
    """Add the light of cells of one width; returns the children of those that are split."""
    width, limits = rule
    device = sums.device
    light, rays, four, split = fused(classify, device)(cells.u, cells.v, cells.which, table, width, limits)
    _add(sums, cells.pixel, light, rays)
    fours, splits = torch.stack([four.sum(), split.sum()]).tolist()
    if fours:
        some = cells.take(torch.nonzero_static(four, size=fours).squeeze(1))
        _add(sums, some.pixel, *fused(four_rays, device)(some.u, some.v, some.which, table, width))
    some = cells.take(torch.nonzero_static(split, size=splits).squeeze(1))
    if not splits:
        return some
    u, v = fused(children, device)(some.u, some.v, some.which, table, width)
    return _Cells(u, v, some.pixel.repeat_interleave(4), some.which.repeat_interleave(4))


def _add(sums: Tensor, pixel: Tensor, light: Tensor, rays: Tensor) -> None:
    """Add to the light and the rays of pixels; both are integers, so the order does not matter."""
    for total, more in zip(sums.unbind(), (light, rays), strict=True):
        total.index_add_(0, pixel, more)
