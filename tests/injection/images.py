"""Convergence, magnification, images of a point source, critical curves and caustics of an SIE with shear.

An isothermal deflection depends on direction alone, so everything here is one equation in the angle phi round the
lens's centre. With ``e = (cos phi, sin phi)`` and ``M = 1 - Gamma``, the lens equation is
``r M e = beta + alpha(phi)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from injection.scene.lens import Lens, deflection, shear_deflection, source_position

Array = NDArray[np.float64]

_STEPS = 4096
_NEAR_AXIS = 256
_BISECTIONS = 44
_CENTRE_ARCSEC = 1e-9
"""Distance from the centre at which the direction-only deflection of the SIE is read."""


@dataclass(frozen=True)
class PointImages:
    """Images of a point source: positions (arcsec) and signed magnifications, brightest first."""

    x_arcsec: Array
    y_arcsec: Array
    magnification: Array


def _matched(phi: Array, beta: tuple[float, float], lens: Lens) -> tuple[Array, Array]:
    """Cross product of the two sides of the lens equation in direction phi, and the radius their dot product gives."""
    cos, sin = np.cos(phi), np.sin(phi)
    ax, ay = _isothermal(phi, lens)
    right_x, right_y = beta[0] + ax, beta[1] + ay
    sx, sy = shear_deflection(cos, sin, lens.gamma1, lens.gamma2)
    left_x, left_y = cos - sx, sin - sy
    radius = (left_x * right_x + left_y * right_y) / (left_x**2 + left_y**2)
    return left_x * right_y - left_y * right_x, radius


def _directions(lens: Lens) -> Array:
    """Directions round a whole turn between which the lens equation changes sign at most once.

    Even ones, and closer and closer ones towards the major axis, where a flat lens's deflection turns within q.
    """
    even = 2.0 * np.pi * (np.arange(_STEPS) + 0.5) / _STEPS
    near = np.geomspace(0.01 * float(lens.q), 0.1, _NEAR_AXIS)
    axis = float(lens.pa_rad) + np.concatenate([near, -near, np.pi + near, np.pi - near])
    found = np.sort(np.mod(np.concatenate([even, axis]), 2.0 * np.pi))
    return np.append(found, found[0] + 2.0 * np.pi)


def _isothermal(phi: Array, lens: Lens) -> tuple[Array, Array]:
    """The SIE's deflection in direction phi."""
    unsheared = Lens.of(lens.theta_e_arcsec, lens.q, lens.pa_rad, 0.0, 0.0, 0.0, 0.0)
    return deflection(_CENTRE_ARCSEC * np.cos(phi), _CENTRE_ARCSEC * np.sin(phi), unsheared)


def point_images(source_x_arcsec: float, source_y_arcsec: float, lens: Lens) -> PointImages:
    """All images of a point source, the central image of the singular lens (of no flux) excluded.

    A source on the axis of an unsheared SIS has a ring and no point images: the result is then empty.
    """
    beta = (source_x_arcsec - float(lens.x_arcsec), source_y_arcsec - float(lens.y_arcsec))
    edges = _directions(lens)
    cross, _ = _matched(edges, beta, lens)
    start = np.flatnonzero((cross[:-1] > 0) != (cross[1:] > 0))
    low, high, sign = edges[start], edges[start + 1], cross[start] > 0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        same = (_matched(middle, beta, lens)[0] > 0) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    phi = 0.5 * (low + high)
    _, radius = _matched(phi, beta, lens)
    phi, radius = phi[radius > 0], radius[radius > 0]
    x, y = float(lens.x_arcsec) + radius * np.cos(phi), float(lens.y_arcsec) + radius * np.sin(phi)
    mu = magnification(x, y, lens)
    order = np.argsort(-np.abs(mu))
    return PointImages(x[order], y[order], mu[order])


def convergence(x: ArrayLike, y: ArrayLike, lens: Lens) -> Array:
    """``kappa = theta_E / (2 sqrt(q u^2 + v^2 / q))``; infinite at the centre."""
    u, v = lens.to_frame(x, y)
    with np.errstate(divide="ignore"):
        return lens.theta_e_arcsec * np.sqrt(lens.q) / (2.0 * np.hypot(lens.q * u, v))


def jacobian(x: ArrayLike, y: ArrayLike, lens: Lens) -> tuple[Array, Array, Array]:
    """Elements (xx, xy, yy) of the Jacobian of ``beta(theta)``.

    An isothermal deflection is homogeneous of degree 0, so the SIE's shear is ``kappa`` along the position angle of the
    ray: ``A = 1 - kappa (1 - cos 2phi, -sin 2phi; ., 1 + cos 2phi)``.
    """
    dx, dy = np.asarray(x) - lens.x_arcsec, np.asarray(y) - lens.y_arcsec
    kappa = convergence(x, y, lens)
    angle = 2.0 * np.arctan2(dy, dx)
    cos, sin = np.cos(angle), np.sin(angle)
    xx = 1.0 - kappa * (1.0 - cos) - lens.gamma1
    yy = 1.0 - kappa * (1.0 + cos) + lens.gamma1
    return xx, kappa * sin - lens.gamma2, yy


def magnification(x: ArrayLike, y: ArrayLike, lens: Lens) -> Array:
    """Signed magnification ``1 / det A`` of a point image (negative for saddle points)."""
    xx, xy, yy = jacobian(x, y, lens)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1.0 / (xx * yy - xy * xy)


def critical_curve(lens: Lens, steps: int) -> tuple[Array, Array]:
    """The tangential critical curve, as (x, y) (steps,) in arcsec.

    ``det A = det M - (2 kappa_1 / r) t^T adj(M) t = 0`` with t across the ray and ``kappa = kappa_1(phi) / r``: linear
    in r. Shears below 1 only. Steps are even on the unsheared curve, an ellipse of the lens's axis ratio.
    """
    turn = 2.0 * np.pi * np.arange(steps) / steps
    phi = lens.pa_rad + np.arctan2(lens.q * np.sin(turn), np.cos(turn))
    cos, sin = np.cos(phi), np.sin(phi)
    u, v = np.cos(phi - lens.pa_rad), np.sin(phi - lens.pa_rad)
    twice_kappa = lens.theta_e_arcsec / np.sqrt(lens.q * u**2 + v**2 / lens.q)
    adjoint = (1.0 + lens.gamma1) * sin**2 - 2.0 * lens.gamma2 * sin * cos + (1.0 - lens.gamma1) * cos**2
    radius = twice_kappa * adjoint / (1.0 - lens.gamma1**2 - lens.gamma2**2)
    return lens.x_arcsec + radius * cos, lens.y_arcsec + radius * sin


def caustic(lens: Lens, steps: int) -> tuple[Array, Array]:
    """The tangential caustic (the astroid): the critical curve's source-plane positions."""
    return source_position(*critical_curve(lens, steps), lens)


def cut(lens: Lens, steps: int) -> tuple[Array, Array]:
    """The cut (pseudo-caustic), inside which a source has an image more: where rays by the centre come from."""
    ax, ay = _isothermal(2.0 * np.pi * np.arange(steps) / steps, lens)
    return lens.x_arcsec - ax, lens.y_arcsec - ay


def enclosed_area(x: ArrayLike, y: ArrayLike) -> float:
    """Area of a closed polygon (shoelace), positive whatever its sense."""
    x, y = np.asarray(x), np.asarray(y)
    return float(0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))))
