"""The fused backend: adaptive quadrature of lensed Sersic light over pixels, in float32. Private; see ``render``.

Cells start as pixels. A cell whose source-plane extent is small against the scale on which the profile changes costs
one ray; a larger one four Gauss-Legendre rays; a still larger one is split in four and looked at again. Everything
happens in the lens's frame (origin at its centre, u along its major axis), level by level, over lists that LLVM can
vectorise. The formulas are those of :mod:`injection.lens` and :mod:`injection.sources`, which tests hold it to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from injection import _simd

LENS_FIELDS = ("strength", "one_minus_q2", "q2", "gamma_u", "gamma_v", "shear")
COMPONENT_FIELDS = ("u", "v", "auu", "auv", "avv", "power", "steepness", "amplitude", "scale", "cut", "sharpness")



class Scene(NamedTuple):
    """A batch of lenses and source components, packed for the backend; all float32 but the counts."""

    lenses: NDArray[np.float32]
    """(batch, LENS_FIELDS), in the lens's frame"""
    centres: NDArray[np.float32]
    """(batch, 2) lens centres x, y (arcsec)"""
    turns: NDArray[np.float32]
    """(batch, 2) cosine and sine of the lens's position angle"""
    parts: NDArray[np.float32]
    """(batch, component, COMPONENT_FIELDS)"""
    counts: NDArray[np.int64]
    """(batch,) components present"""
    reaches: NDArray[np.float32]
    """(batch, component) radius (arcsec) beyond which the component has no image"""
    scale: np.float32
    """pixel scale (arcsec)"""
    levels: int
    """most subdivisions of a pixel"""
    limits: NDArray[np.float32]
    """squared extents up to which one ray, and four rays, are enough; flux below which a cell is not refined"""


_ZERO, _ONE, _TWO, _EIGHT = (np.float32(value) for value in (0, 1, 2, 8))
_TINY, _TENTH = np.float32(1e-12), np.float32(0.1)
_GAUSS = np.float32(0.5 / np.sqrt(3.0))
_ATAN = tuple(np.float32((-1.0) ** k / (2 * k + 1)) for k in range(6))
_ATANH = tuple(np.float32(1.0 / (2 * k + 1)) for k in range(6))


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _isothermal(u: Any, v: Any, q2: Any, f2: Any) -> Any:
    """Deflection (u, v) of an SIE of unit strength, and 1/psi.

    Three half-angle steps, atan(x) = 2 atan(x / (1 + sqrt(1 + x^2))) and the like for atanh, leave arguments so small
    that a short series is exact in float32; nothing is divided by f, so that q = 1 is an ordinary value.
    """
    inverse_psi = _ONE / np.sqrt(q2 * u * u + v * v + _TINY)
    a, b = u * inverse_psi, v * inverse_psi
    a = a / (_ONE + np.sqrt(_ONE + f2 * a * a))
    a = a / (_ONE + np.sqrt(_ONE + f2 * a * a))
    a = a / (_ONE + np.sqrt(_ONE + f2 * a * a))
    b = b / (_ONE + np.sqrt(max(_ONE - f2 * b * b, _ZERO)))
    b = b / (_ONE + np.sqrt(max(_ONE - f2 * b * b, _ZERO)))
    b = b / (_ONE + np.sqrt(max(_ONE - f2 * b * b, _ZERO)))
    s, t = f2 * a * a, f2 * b * b
    atan = _ATAN[0] + s * (_ATAN[1] + s * (_ATAN[2] + s * (_ATAN[3] + s * (_ATAN[4] + s * _ATAN[5]))))
    atanh = _ATANH[0] + t * (_ATANH[1] + t * (_ATANH[2] + t * (_ATANH[3] + t * (_ATANH[4] + t * _ATANH[5]))))
    return _EIGHT * a * atan, _EIGHT * b * atanh, inverse_psi


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def shoot(us: Any, vs: Any, lens: Any, source_us: Any, source_vs: Any) -> None:
    """Source-plane positions of rays, all in the lens's frame (arcsec, float32)."""
    strength, f2, q2, g1, g2 = lens[0], lens[1], lens[2], lens[3], lens[4]
    for i in range(us.size):
        u, v = us[i], vs[i]
        au, av, _ = _isothermal(u, v, q2, f2)
        source_us[i] = u - strength * au - g1 * u - g2 * v
        source_vs[i] = v - strength * av - g2 * u + g1 * v


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _look(us: Any, vs: Any, lens: Any, part: Any, width: Any, light: Any, extent: Any) -> None:
    """Surface brightness at each cell's centre, and its squared source-plane extent over the profile's scale there.

    The extent is negative where the whole cell lies beyond the profile's cut.
    """
    strength, f2, q2, g1, g2, shear = lens[0], lens[1], lens[2], lens[3], lens[4], lens[5]
    part_u, part_v, auu, auv, avv = part[0], part[1], part[2], part[3], part[4]
    power, steepness, amplitude, scale, cut, sharpness = part[5], part[6], part[7], part[8], part[9], part[10]
    for i in range(us.size):
        u, v = us[i], vs[i]
        au, av, inverse_psi = _isothermal(u, v, q2, f2)
        du = u - strength * au - g1 * u - g2 * v - part_u
        dv = v - strength * av - g2 * u + g1 * v - part_v
        radius2 = auu * du * du + auv * du * dv + avv * dv * dv + _TINY
        x = steepness * _simd.exp2(power * _simd.log2(radius2))
        light[i] = amplitude * _simd.exp2(-x)
        steep = strength / max(_ONE / inverse_psi - width, _TENTH * width)
        span = width * (max(_ONE, steep - _ONE) + shear) * scale
        relative2 = span * span / radius2
        slope = sharpness * x
        outside = radius2 > (cut + span) * (cut + span)
        extent[i] = -_ONE if outside else relative2 * min(_ONE, slope * slope)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _spread(us: Any, vs: Any, i: int, step: Any, turn: Any, out_u: Any, out_v: Any, place: int) -> None:
    """Four points at +-step along the stamp's axes round cell ``i``, written from ``place`` on."""
    cu, su = step * turn[0], step * turn[1]
    for k in range(4):
        x = _ONE if k & 1 else -_ONE
        y = _ONE if k & 2 else -_ONE
        out_u[place + k] = us[i] + x * cu + y * su
        out_v[place + k] = vs[i] - x * su + y * cu


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _integrate(scene: Any, row: int, k: int, count: int, width: Any, work: Any, image: Any) -> int:
    """Add component ``k``'s light over the cells of list 0 to ``image`` (flat, last place: off the stamp).

    ``work`` is (8, capacity) float32 and (3, capacity) int32: lists 0 and 1 hold cells, list 2 rays. Returns the number
    of rays traced.
    """
    cells, pixels = work
    lens, turn, part, limits = scene.lenses[row], scene.turns[row], scene.parts[row, k], scene.limits
    levels = scene.levels + int(np.ceil(np.log2(width / scene.scale)))
    now, rays_traced = 0, 0
    light, extent = cells[6], cells[7]
    capacity = cells.shape[1]
    for level in range(levels + 1):
        us, vs, where = cells[2 * now], cells[2 * now + 1], pixels[now]
        next_u, next_v, next_where = cells[2 - 2 * now], cells[3 - 2 * now], pixels[1 - now]
        _look(us[:count], vs[:count], lens, part, width, light, extent)
        rays_traced += count
        area = width * width
        children, rays = 0, 0
        for i in range(count):
            if extent[i] < _ZERO:
                continue
            if extent[i] < limits[0] or light[i] * area * min(extent[i], _ONE) < limits[2]:
                image[where[i]] += light[i] * area
            elif (extent[i] < limits[1] or level == levels or children + 4 > capacity) and rays + 4 <= capacity:
                _spread(us, vs, i, _GAUSS * width, turn, cells[4], cells[5], rays)
                for k in range(4):
                    pixels[2, rays + k] = where[i]
                rays += 4
            elif children + 4 <= capacity:
                _spread(us, vs, i, np.float32(0.25) * width, turn, next_u, next_v, children)
                for k in range(4):
                    next_where[children + k] = where[i]
                children += 4
            else:
                image[where[i]] += light[i] * area
        _look(cells[4, :rays], cells[5, :rays], lens, part, width, light, extent)
        rays_traced += rays
        quarter = np.float32(0.25) * area
        for i in range(rays):
            image[pixels[2, i]] += light[i] * quarter
        if children == 0:
            break
        count, width, now = children, np.float32(0.5) * width, 1 - now
    return rays_traced


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _stamp_cells(scene: Any, row: int, k: int, size: int, work: Any) -> int:
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


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _surroundings(scene: Any, row: int, size: int, work: Any) -> int:
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


@njit(cache=True, nogil=True, error_model="numpy")
def trace(scene: Any, images: Any, rays: Any, work: Any) -> None:
    """Render each injection's lensed light of unit source flux into ``images`` (batch, size^2 + 1) float32."""
    size = int(np.sqrt(images.shape[1] - 1))
    half_width = np.float32(0.5 * size) * scene.scale
    for row in range(images.shape[0]):
        image = images[row]
        image[:] = np.float32(0.0)
        for k in range(scene.counts[row]):
            count = _stamp_cells(scene, row, k, size, work)
            rays[row] += _integrate(scene, row, k, count, scene.scale, work, image)
            offset = max(abs(scene.centres[row, 0]), abs(scene.centres[row, 1]))
            if scene.reaches[row, k] > half_width - offset:
                count = _surroundings(scene, row, size, work)
                rays[row] += _integrate(scene, row, k, count, np.float32(size) * scene.scale, work, image)
