"""The backend: adaptive quadrature of lensed Sersic light over pixels, in float32. Private; see ``render``.

Each pixel starts as one cell. A cell gets one ray if its source-plane extent is small compared with the scale on which
the profile changes, and four Gauss-Legendre rays if it is larger; a still larger one is split in four. All this is done
in the lens's frame (origin at its centre, u along its major axis), level by level, over lists that LLVM can vectorise.
The formulas are those of :mod:`injection.scene.lens` and :mod:`injection.scene.sources`; tests compare them.
Helpers must be inlined. Otherwise each compiled library has its own copy, optimised differently, and a process that
compiles and one that loads the cache run different copies (1e-6 apart).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from injection.engine import _simd

_ZERO, _ONE, _TWO, _FOUR = (np.float32(value) for value in (0, 1, 2, 4))
_FLAT = np.float32(0.76)
"""1 - q^2 above which lenses are flat: axis ratios below 0.49."""
_SOFT, _HALF_LN2 = np.float32(1e-30), np.float32(0.5 * np.log(2.0))
_TINY, _TENTH, _QUARTER, _HALF = (np.float32(value) for value in (1e-12, 0.1, 0.25, 0.5))
_MIDPOINT, _GAUSSIAN = np.float32(1.0 / 12.0), np.float32(1.0 / 500.0)
"""Relative errors of one ray and of four, over the 2nd and the 4th power of the change of brightness over the cell."""
_GAUSS = np.float32(0.5 / np.sqrt(3.0))
_ATAN = tuple(np.float32((-1.0) ** k / (2 * k + 1)) for k in range(6))
_ATANH = tuple(np.float32(1.0 / (2 * k + 1)) for k in range(6))


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def isothermal(u: Any, v: Any, q2: Any, f2: Any) -> Any:
    """Deflection (u, v) of an SIE of unit strength, and 1/psi.

    Half-angle steps, atan(x) = 2 atan(x / (1 + sqrt(1 + x^2))) and similarly for atanh, make the arguments so small
    that a short series is exact in float32. As nothing is divided by f, q = 1 needs no special case. For flat lenses
    the atanh, which has no limit as q goes to 0, is the logarithm of ``(psi + f |v|) / (q r)``.
    """
    flat, f = f2 > _FLAT, np.sqrt(f2)
    inverse_psi = _ONE / np.sqrt(q2 * u * u + v * v + (_SOFT if flat else _TINY))
    a, b = u * inverse_psi, v * inverse_psi
    sine, cosine2 = f * abs(b), (q2 * (u * u + v * v) + _SOFT) * inverse_psi * inverse_psi
    a = a / (_ONE + np.sqrt(_ONE + f2 * a * a))
    a = a / (_ONE + np.sqrt(_ONE + f2 * a * a))
    b = b / (_ONE + np.sqrt(max(_ONE - f2 * b * b, _ZERO)))
    b = b / (_ONE + np.sqrt(max(_ONE - f2 * b * b, _ZERO)))
    if flat:
        a = _TWO * a / (_ONE + np.sqrt(_ONE + f2 * a * a))
        f2 = _QUARTER * f2
    s, t = f2 * a * a, f2 * b * b
    atan = _ATAN[0] + s * (_ATAN[1] + s * (_ATAN[2] + s * (_ATAN[3] + s * (_ATAN[4] + s * _ATAN[5]))))
    atanh = _ATANH[0] + t * (_ATANH[1] + t * (_ATANH[2] + t * (_ATANH[3] + t * (_ATANH[4] + t * _ATANH[5]))))
    along_v = _FOUR * b * atanh
    if flat:
        along_v = np.copysign(_HALF_LN2 / f * _simd.log2((_ONE + sine) * (_ONE + sine) / cosine2), v)
    return _FOUR * a * atan, along_v, inverse_psi


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _hit(u: Any, v: Any, bend: Any) -> Any:
    """Where a ray hits the source plane, from the component's centre, and 1/psi; ``bend`` is lens and centre."""
    strength, f2, q2, g1, g2, part_u, part_v = bend
    au, av, inverse_psi = isothermal(u, v, q2, f2)
    du = u - strength * au - g1 * u - g2 * v - part_u
    dv = v - strength * av - g2 * u + g1 * v - part_v
    return du, dv, inverse_psi


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _sersic(du: Any, dv: Any, profile: Any) -> Any:
    """Surface brightness and squared profile radius at a place in the source plane."""
    auu, auv, avv, power, steepness, amplitude = profile
    radius2 = auu * du * du + auv * du * dv + avv * dv * dv + _TINY
    return amplitude * _simd.exp2(-steepness * _simd.exp2(power * _simd.log2(radius2))), radius2


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)
def _look(us: Any, vs: Any, lens: Any, part: Any, width: Any, seen: Any) -> None:
    """Write what cells show of a Sersic component into ``seen`` (3, cells): light, variation, brightest.

    Light is the surface brightness at the centre. Variation is the square of the change of its logarithm across the
    cell, negative if the whole cell lies beyond the profile's cut. Brightest is an upper bound over the cell, from the
    point nearest to the component's centre.
    """
    light, variation, brightest = seen[0], seen[1], seen[2]
    bend = (lens[0], lens[1], lens[2], lens[3], lens[4], part[0], part[1])
    profile = (part[2], part[3], part[4], part[5], part[6], part[7])
    strength, shear = lens[0], lens[5]
    power, steepness, amplitude, scale, cut, sharpness = part[5], part[6], part[7], part[8], part[9], part[10]
    for i in range(us.size):
        du, dv, inverse_psi = _hit(us[i], vs[i], bend)
        light[i], radius2 = _sersic(du, dv, profile)
        steep = strength / max(_ONE / inverse_psi - width, _TENTH * width)
        span = width * (max(_ONE, steep - _ONE) + shear) * scale
        radius = np.sqrt(radius2)
        far, near = radius + _HALF * span, max(radius - span, _TINY)
        change = span / far * sharpness * steepness * _simd.rough_exp2(_TWO * power * _simd.rough_log2(far))
        variation[i] = -_ONE if radius > cut + span else change * change
        brightest[i] = amplitude * _simd.rough_exp2(
            -steepness * _simd.rough_exp2(_TWO * power * _simd.rough_log2(near))
        )


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)
def _shine(us: Any, vs: Any, lens: Any, part: Any, light: Any) -> None:
    """Write the surface brightness of a Sersic component at rays into ``light``."""
    bend = (lens[0], lens[1], lens[2], lens[3], lens[4], part[0], part[1])
    profile = (part[2], part[3], part[4], part[5], part[6], part[7])
    for i in range(us.size):
        du, dv, _ = _hit(us[i], vs[i], bend)
        light[i], _ = _sersic(du, dv, profile)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)
def stamp_cells(scene: Any, row: int, k: int, size: int, work: Any) -> int:
    """Fill list 0 with the pixels that component ``k`` can reach; returns their number."""
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
    """Fill list 0 with the eight stamp-sized cells around the stamp; returns their number."""
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


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _spread(u: Any, v: Any, step: Any, turn: Any, out: Any, place: int) -> None:
    """Write four points around (u, v), at +-step along the stamp's axes, from ``place`` on."""
    cu, su = step * turn[0], step * turn[1]
    for k in range(4):
        x = _ONE if k & 1 else -_ONE
        y = _ONE if k & 2 else -_ONE
        out[0, place + k] = u + x * cu + y * su
        out[1, place + k] = v - x * su + y * cu


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)
def sort(count: int, width: Any, turn: Any, last: bool, limits: Any, lists: Any, image: Any) -> Any:
    """Give each cell one ray, four rays or four children; returns the numbers of children and rays.

    ``lists`` are (positions, pixel numbers) of the cells, their children and the rays, and what the cells show. Both
    numbers are -1 if a list is full.
    """
    cells, where, children, child_where, points, point_where, seen = lists
    full, area = points.shape[1] - 4, width * width
    young, rays = 0, 0
    for i in range(count):
        change2 = seen[1, i]
        if change2 < _ZERO:
            continue
        most = seen[2, i] * area
        if max(young, rays) > full:
            return -1, -1
        if change2 < limits[0] or most * min(_MIDPOINT * change2, _ONE) < limits[2]:
            image[where[i]] += seen[0, i] * area
        elif change2 < limits[1] or most * min(_GAUSSIAN * change2 * change2, _ONE) < limits[2] or last:
            _spread(cells[0, i], cells[1, i], _GAUSS * width, turn, points, rays)
            point_where[rays : rays + 4] = where[i]
            rays += 4
        else:
            _spread(cells[0, i], cells[1, i], _QUARTER * width, turn, children, young)
            child_where[young : young + 4] = where[i]
            young += 4
    return young, rays


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)
def _integrate(scene: Any, row: int, k: int, count: int, width: Any, work: Any, image: Any) -> int:
    """Add component ``k``'s light over the cells of list 0 to ``image`` (flat, last place: off the stamp).

    ``work`` is (9, capacity) float32 and (3, capacity) int32: positions and pixel numbers of two lists of cells and one
    of rays, and what they show. Returns the number of rays traced, -1 if the work space is too small.
    """
    table, pixels = work
    lens, turn, part = scene.lenses[row], scene.turns[row], scene.parts[row, k]
    levels = scene.levels + int(np.ceil(np.log2(width / scene.scale)))
    points, seen = table[4:6], table[6:9]
    now, traced = 0, 0
    for level in range(levels + 1):
        cells, children = table[2 * now : 2 * now + 2], table[2 - 2 * now : 4 - 2 * now]
        _look(cells[0, :count], cells[1, :count], lens, part, width, seen)
        lists = (cells, pixels[now], children, pixels[1 - now], points, pixels[2], seen)
        young, rays = sort(count, width, turn, level == levels, scene.limits, lists, image)
        if young < 0:
            return -1
        _shine(points[0, :rays], points[1, :rays], lens, part, seen[0])
        quarter = _QUARTER * width * width
        for i in range(rays):
            image[pixels[2, i]] += seen[0, i] * quarter
        traced += count + rays
        if young == 0:
            break
        count, width, now = young, _HALF * width, 1 - now
    return traced


@njit(cache=True, nogil=True, error_model="numpy")
def trace(scene: Any, images: Any, rays: Any, work: Any) -> None:
    """Render each injection's lensed light of unit source flux into ``images`` (batch, size^2 + 1) float32.

    ``rays`` (batch,) become the numbers of rays traced, -1 if the work space is too small.
    """
    for row in range(images.shape[0]):
        images[row, :] = np.float32(0.0)
        rays[row] = 0
        for k in range(scene.counts[row]):
            traced = _trace_component(scene, row, k, work, images[row])
            if traced < 0:
                rays[row] = -1
                break
            rays[row] += traced


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _trace_component(scene: Any, row: int, k: int, work: Any, image: Any) -> int:
    """Add one component's light on the stamp and around it; returns the number of rays, -1 without room."""
    size = int(np.sqrt(image.size - 1))
    if size * size > work[0].shape[1]:
        return -1
    count = stamp_cells(scene, row, k, size, work)
    inside = _integrate(scene, row, k, count, scene.scale, work, image)
    offset = max(abs(scene.centres[row, 0]), abs(scene.centres[row, 1]))
    if inside < 0 or scene.reaches[row, k] <= np.float32(0.5 * size) * scene.scale - offset:
        return inside
    count = surroundings(scene, row, size, work)
    outside = _integrate(scene, row, k, count, np.float32(size) * scene.scale, work, image)
    return inside + outside if outside >= 0 else -1


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def count_images(scene: Any, sources: Any, directions: Any, counts: Any) -> None:
    """Write the numbers of images of point sources (batch, 2), in the lens's frame, into ``counts``.

    An isothermal deflection depends only on direction, so an image at angle phi solves
    ``(1 - Gamma) e(phi) r = beta + alpha(phi)`` with r > 0: there the cross product of the two sides changes sign.
    ``directions`` (2, steps) are unit vectors over a whole turn.
    """
    steps = directions.shape[1]
    for row in range(counts.size):
        lens = scene.lenses[row]
        strength, f2, q2, g1, g2 = lens[0], lens[1], lens[2], lens[3], lens[4]
        su, sv = sources[row, 0], sources[row, 1]
        found, before = 0, np.float32(0.0)
        for i in range(steps + 1):
            c, s = directions[0, i % steps], directions[1, i % steps]
            au, av, _ = isothermal(c, s, q2, f2)
            right_u, right_v = su + strength * au, sv + strength * av
            left_u, left_v = c - g1 * c - g2 * s, s - g2 * c + g1 * s
            cross = left_u * right_v - left_v * right_u
            if i > 0 and (cross > _ZERO) != (before > _ZERO) and left_u * right_u + left_v * right_v > _ZERO:
                found += 1
            before = cross
        counts[row] = found
