"""Formulas of ``_rays`` and ``_simd`` on tensors, element by element, each one kernel on a GPU.

The light of a cell does not depend on the list it is in. Elementary functions are the polynomials that the processor
uses, since a GPU's own functions would treat borderline cells differently.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import torch
from torch import Tensor

from injection.engine import _rays, _simd

SCALE = 2.0**36
"""Light is summed in whole multiples of 1 / SCALE, since sums of integers do not depend on their order."""

NOT_FINITE = 1 << 40
"""Number of rays that marks a cell, and so its row, whose light is not finite."""
_BRIGHTEST = 2.0**24
"""More light than a cell can have from a source of unit flux; above it, integers would overflow."""
_SQRT2 = float(np.float32(np.sqrt(2.0)))
_GAUSS, _QUARTER = float(_rays._GAUSS), 0.25
_FLAT, _SOFT, _HALF_LN2 = (float(value) for value in (_rays._FLAT, _rays._SOFT, _rays._HALF_LN2))
_ATAN, _ATANH = ([float(c) for c in series] for series in (_rays._ATAN, _rays._ATANH))
_LOG2, _EXP2 = ([float(c) for c in series] for series in (_simd._LOG2, _simd._EXP2))
_ROUGH_LOG2, _ROUGH_EXP2 = ([float(c) for c in series] for series in (_simd._ROUGH_LOG2, _simd._ROUGH_EXP2))


def _series(x: Tensor, coefficients: list[float]) -> Tensor:
    """Polynomial with ascending coefficients, by Horner's scheme."""
    value = coefficients[-1] * x + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = coefficient + x * value
    return value


def _exponent_and_mantissa(x: Tensor) -> tuple[Tensor, Tensor]:
    """Binary exponent and mantissa in [1, 2) of positive float32."""
    bits = x.view(torch.int32)
    mantissa = ((bits & 0x007FFFFF) | 0x3F800000).view(torch.float32)
    return ((bits >> 23) - 127).to(torch.float32), mantissa


def _log2(x: Tensor) -> Tensor:
    e, m = _exponent_and_mantissa(x)
    high = m > _SQRT2
    e, m = torch.where(high, e + 1.0, e), torch.where(high, 0.5 * m, m)
    t = (m - 1.0) / (m + 1.0)
    return e + t * _series(t * t, _LOG2)


def _rough_log2(x: Tensor) -> Tensor:
    e, m = _exponent_and_mantissa(x)
    return e + (m - 1.0) * _series(m, _ROUGH_LOG2)


def _power(x: Tensor, coefficients: list[float]) -> Tensor:
    x = x.clamp(min=float(_simd._LOWEST))
    whole = torch.where(x < 0.0, x - 0.5, x + 0.5).to(torch.int32)
    return ((whole + 127) << 23).view(torch.float32) * _series(x - whole.to(torch.float32), coefficients)


def _exp2(x: Tensor) -> Tensor:
    return _power(x, _EXP2)


def _rough_exp2(x: Tensor) -> Tensor:
    return _power(x, _ROUGH_EXP2)


def isothermal(u: Tensor, v: Tensor, q2: Tensor, f2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Deflection (u, v) of an SIE of unit strength, and 1/psi, by the three half-angle steps of flat lenses for all."""
    flat, f = f2 > _FLAT, torch.sqrt(f2)
    inverse_psi = 1.0 / torch.sqrt(q2 * u * u + v * v + torch.where(flat, _SOFT, 1e-12))
    a, b = u * inverse_psi, v * inverse_psi
    sine, cosine2 = f * b.abs(), (q2 * (u * u + v * v) + _SOFT) * inverse_psi * inverse_psi
    steep = torch.copysign(_HALF_LN2 / f * _log2((1.0 + sine) * (1.0 + sine) / cosine2), v)
    for half in (1.0, 1.0, 2.0):
        a = half * a / (1.0 + torch.sqrt(1.0 + f2 * a * a))
        b = half * b / (1.0 + torch.sqrt((1.0 - f2 * b * b).clamp(min=0.0)))
    s, t = 0.25 * f2 * a * a, 0.25 * f2 * b * b
    return 4.0 * a * _series(s, _ATAN), torch.where(flat, steep, 4.0 * b * _series(t, _ATANH)), inverse_psi


_Part = namedtuple(
    "_Part", "strength f2 q2 g1 g2 shear cos sin u v auu auv avv power steepness amplitude scale cut sharpness"
)
"""Fields of components and their lenses, each a tensor of the same shape."""


def _part(table: Tensor, which: Tensor) -> _Part:
    return _Part(*table.index_select(1, which).unbind(0))


def _light(u: Tensor, v: Tensor, p: _Part) -> tuple[Tensor, Tensor, Tensor]:
    """Surface brightness of rays, the squared profile radius they hit, and 1/psi."""
    au, av, inverse_psi = isothermal(u, v, p.q2, p.f2)
    du = u - p.strength * au - p.g1 * u - p.g2 * v - p.u
    dv = v - p.strength * av - p.g2 * u + p.g1 * v - p.v
    radius2 = p.auu * du * du + p.auv * du * dv + p.avv * dv * dv + 1e-12
    return p.amplitude * _exp2(-p.steepness * _exp2(p.power * _log2(radius2))), radius2, inverse_psi


def _whole(light: Tensor) -> tuple[Tensor, Tensor]:
    """Light of single rays in whole multiples of 1 / SCALE, and their number of rays, int64."""
    known = light < _BRIGHTEST
    return (torch.where(known, light, 0.0) * SCALE).to(torch.int64), torch.where(known, 1, NOT_FINITE)


def classify(u: Tensor, v: Tensor, which: Tensor, table: Tensor, width: Tensor, limits: Tensor) -> tuple[Tensor, ...]:
    """Light and rays of the cells for which one ray is enough; which cells need four rays; which need four children.

    ``table`` is (fields of :class:`_Part`, component), ``which`` the component of each cell, ``limits`` a scene's.
    """
    p = _part(table, which)
    light, radius2, inverse_psi = _light(u, v, p)
    area = width * width
    steep = p.strength / torch.maximum(1.0 / inverse_psi - width, 0.1 * width)
    span = width * ((steep - 1.0).clamp(min=1.0) + p.shear) * p.scale
    radius = torch.sqrt(radius2)
    far, near = radius + 0.5 * span, (radius - span).clamp(min=1e-12)
    change = span / far * p.sharpness * p.steepness * _rough_exp2(2.0 * p.power * _rough_log2(far))
    change2 = change * change
    most = area * p.amplitude * _rough_exp2(-p.steepness * _rough_exp2(2.0 * p.power * _rough_log2(near)))
    seen = radius <= p.cut + span
    one = (change2 < limits[0]) | (most * (change2 / 12.0).clamp(max=1.0) < limits[2])
    four = (change2 < limits[1]) | (most * (change2 * change2 / 500.0).clamp(max=1.0) < limits[2])
    done = torch.where(seen, torch.where(one, light * area, 0.0), torch.where(radius == radius, 0.0, torch.inf))
    return *_whole(done), seen & ~one & four, seen & ~one & ~four


def _corners(u: Tensor, v: Tensor, p: _Part, step: Tensor) -> tuple[Tensor, Tensor]:
    """Four points around cells, at +-step along the stamp's axes: (cell, 4) each."""
    cu, su = (step * p.cos)[:, None], (step * p.sin)[:, None]
    corner = torch.arange(4, device=u.device)
    x, y = 2.0 * (corner % 2) - 1.0, 2.0 * (corner // 2) - 1.0
    return u[:, None] + x * cu + y * su, v[:, None] - x * su + y * cu


def four_rays(u: Tensor, v: Tensor, which: Tensor, table: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Light of cells by four Gauss-Legendre rays, and the number of rays."""
    p = _part(table, which)
    us, vs = _corners(u, v, p, _GAUSS * width)
    light = _light(us, vs, _Part(*(field[:, None] for field in p)))[0]
    light, rays = _whole(light * (_QUARTER * width * width))
    return light.sum(dim=1), rays.sum(dim=1)


def children(u: Tensor, v: Tensor, which: Tensor, table: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the four quarters of cells, (4 cells,) each."""
    us, vs = _corners(u, v, _part(table, which), _QUARTER * width)
    return us.flatten(), vs.flatten()
