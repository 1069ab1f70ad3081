"""Singular isothermal ellipsoid with external shear: the public definition of each formula, in float64.

Convention (used everywhere in this package; for other codes see :mod:`injection.scene.conventions`):

* x to the right (image columns), y up (image rows), arcsec from the centre of the stamp; angles in radians,
  counter-clockwise from +x;
* ``theta_e_arcsec`` is the intermediate-axis Einstein radius: the critical curve of the unsheared lens,
  ``q u^2 + v^2 / q = theta_E^2``, encloses ``pi theta_E^2`` (Kormann, Schneider & Bartelmann 1994, whose
  ``sqrt(f)`` prefactor this is);
* (u, v) are coordinates along the mass's major and minor axis, ``pa_rad`` is the angle of the major axis;
* the shear acts about the lens's centre: ``alpha = (gamma1 x + gamma2 y, gamma2 x - gamma1 y)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_PARAMETERS = ("theta_e_arcsec", "q", "pa_rad", "x_arcsec", "y_arcsec", "gamma1", "gamma2")
COLUMNS = tuple(f"lens_{name}" for name in _PARAMETERS)
_SERIES_BELOW = 1e-3


@dataclass(frozen=True)
class Lens:
    """Parameters of one lens or of many (arrays that broadcast against positions)."""

    theta_e_arcsec: Array
    q: Array
    pa_rad: Array
    x_arcsec: Array
    y_arcsec: Array
    gamma1: Array
    gamma2: Array

    @classmethod
    def of(cls, *values: ArrayLike) -> Lens:
        """A lens from the values of :data:`COLUMNS`, in that order."""
        return cls(*(np.asarray(value, dtype=np.float64) for value in values))

    @classmethod
    def from_rows(cls, rows: pa.Table) -> Lens:
        """Lenses (batch,) from the ``lens_*`` columns of drawn rows."""
        return cls.of(*(rows.column(name).to_numpy() for name in COLUMNS))

    def row(self, index: int) -> Lens:
        return Lens.of(*(getattr(self, name)[index] for name in _PARAMETERS))

    def to_frame(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Coordinates (u, v) from the lens's centre, along its major and minor axis."""
        return rotated(np.asarray(x) - self.x_arcsec, np.asarray(y) - self.y_arcsec, self.pa_rad)


def rotated(x: ArrayLike, y: ArrayLike, angle_rad: ArrayLike) -> tuple[Array, Array]:
    """Components of (x, y) along axes turned by ``angle_rad``."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return cos * x + sin * y, cos * y - sin * x


def _over_argument(function: np.ufunc, second: float, fourth: float, argument: Array) -> Array:
    """``function(x) / x`` of a function with the series ``x + second x^3 + fourth x^5``, exact at and near 0."""
    small = np.abs(argument) < _SERIES_BELOW
    if not small.any():
        return np.asarray(function(argument) / argument)
    safe = np.where(small, _SERIES_BELOW, argument)
    square = np.where(small, argument, 0.0) ** 2
    return np.where(small, 1.0 + second * square + fourth * square * square, function(safe) / safe)


def sie_deflection(u: ArrayLike, v: ArrayLike, theta_e_arcsec: ArrayLike, q: ArrayLike) -> tuple[Array, Array]:
    """Deflection (arcsec) of an SIE in its own frame; zero at the centre, that of an SIS at q = 1.

    ``alpha_u = theta_E sqrt(q)/f atan(f u / psi)``, ``alpha_v = theta_E sqrt(q)/f atanh(f v / psi)``,
    ``f = sqrt(1 - q^2)``, ``psi = sqrt(q^2 u^2 + v^2)`` (Kormann et al. 1994, eq. 27a, with the intermediate-axis
    radius). The atanh is computed as ``asinh(f v / (q r))``: the same number, but exact for flat lenses too, where
    ``f v / psi`` is close to 1.
    """
    u, v, q = (np.asarray(value, dtype=np.float64) for value in (u, v, q))
    psi = np.hypot(q * u, v)
    centre = psi == 0.0
    f = np.sqrt(1.0 - q * q)
    strength = np.asarray(theta_e_arcsec) * np.sqrt(q)
    a, b = u / np.where(centre, 1.0, psi), v / np.where(centre, 1.0, q * np.hypot(u, v))
    return (
        strength * a * _over_argument(np.arctan, -1.0 / 3.0, 1.0 / 5.0, f * a),
        strength * b * _over_argument(np.arcsinh, -1.0 / 6.0, 3.0 / 40.0, f * b),
    )


def shear_deflection(x: ArrayLike, y: ArrayLike, gamma1: ArrayLike, gamma2: ArrayLike) -> tuple[Array, Array]:
    """Deflection of an external shear about the origin."""
    x, y, g1, g2 = (np.asarray(value, dtype=np.float64) for value in (x, y, gamma1, gamma2))
    return g1 * x + g2 * y, g2 * x - g1 * y


def deflection(x: ArrayLike, y: ArrayLike, lens: Lens) -> tuple[Array, Array]:
    """Total deflection (arcsec) along x and y of SIE and shear at image-plane positions (arcsec)."""
    au, av = sie_deflection(*lens.to_frame(x, y), lens.theta_e_arcsec, lens.q)
    ax, ay = rotated(au, av, -lens.pa_rad)
    dx, dy = np.asarray(x) - lens.x_arcsec, np.asarray(y) - lens.y_arcsec
    sx, sy = shear_deflection(dx, dy, lens.gamma1, lens.gamma2)
    return ax + sx, ay + sy


def source_position(x: ArrayLike, y: ArrayLike, lens: Lens) -> tuple[Array, Array]:
    """Source-plane position (arcsec) of image-plane positions: ``beta = theta - alpha(theta)``."""
    ax, ay = deflection(x, y, lens)
    return np.asarray(x) - ax, np.asarray(y) - ay


def largest_deflection(theta_e_arcsec: ArrayLike, q: ArrayLike) -> Array:
    """Upper bound (arcsec) of the SIE's deflection over all directions."""
    along_u, _ = sie_deflection(1.0, 0.0, theta_e_arcsec, q)
    _, along_v = sie_deflection(0.0, 1.0, theta_e_arcsec, q)
    return np.maximum(along_u, along_v)
