"""Converters between this package's convention (see :mod:`injection.scene.lens`) and lenstronomy's.

lenstronomy has the same axes, and also gives the Einstein radius and the Sersic radius on the intermediate axis; its
shapes are ellipticities. Codes that give a radius on the major axis (galfit, Tractor's ``shape_r``, caustics) need
``radius / sqrt(q)``. Keeton & Kochanek's ``b``, of ``kappa = b / (2 sqrt(q^2 u^2 + v^2))``, is ``theta_E sqrt(q)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from injection.scene.lens import Lens
from injection.scene.sources import Components, b_n

Array = NDArray[np.float64]


def ellipticity(q: ArrayLike, pa_rad: ArrayLike) -> tuple[Array, Array]:
    """lenstronomy's (e1, e2) of an axis ratio and position angle."""
    modulus = (1.0 - np.asarray(q)) / (1.0 + np.asarray(q))
    return modulus * np.cos(2.0 * np.asarray(pa_rad)), modulus * np.sin(2.0 * np.asarray(pa_rad))


def shape(e1: ArrayLike, e2: ArrayLike) -> tuple[Array, Array]:
    """Axis ratio and position angle of lenstronomy's (e1, e2)."""
    modulus = np.hypot(e1, e2)
    return (1.0 - modulus) / (1.0 + modulus), 0.5 * np.arctan2(e2, e1)


def lenstronomy_lens(lens: Lens) -> list[dict[str, float]]:
    """``kwargs_lens`` of lenstronomy's ``["SIE", "SHEAR"]`` for one lens."""
    e1, e2 = ellipticity(lens.q, lens.pa_rad)
    x, y = float(lens.x_arcsec), float(lens.y_arcsec)
    sie = {"theta_E": float(lens.theta_e_arcsec), "e1": float(e1), "e2": float(e2), "center_x": x, "center_y": y}
    return [sie, {"gamma1": float(lens.gamma1), "gamma2": float(lens.gamma2), "ra_0": x, "dec_0": y}]


def from_lenstronomy_lens(kwargs_lens: list[dict[str, float]]) -> Lens:
    """The lens of lenstronomy's ``["SIE", "SHEAR"]`` keywords; the shear must act about the lens's centre."""
    sie, shear = kwargs_lens
    q, angle = shape(sie["e1"], sie["e2"])
    return Lens.of(sie["theta_E"], q, angle, sie["center_x"], sie["center_y"], shear["gamma1"], shear["gamma2"])


def lenstronomy_source(parts: Components, row: int) -> list[dict[str, float]]:
    """``kwargs_lens_light`` of one ``SERSIC_ELLIPSE`` per component, unit total flux, amplitude at R_e.

    lenstronomy uses ``b_n = 1.9992 n - 0.3271``; radii and amplitudes are computed for it, so the profile agrees.
    """
    kwargs = []
    for k in np.flatnonzero(parts.fraction[row] > 0):
        n = parts.n[row, k]
        re = parts.re_arcsec[row, k] * _radius_ratio(n)
        flux = _lenstronomy_flux(n, re)
        e1, e2 = ellipticity(parts.q[row, k], parts.pa_rad[row, k])
        values = {"amp": parts.fraction[row, k] / flux, "R_sersic": re, "n_sersic": n, "e1": e1, "e2": e2}
        values |= {"center_x": parts.x_arcsec[row, k], "center_y": parts.y_arcsec[row, k]}
        kwargs.append({name: float(value) for name, value in values.items()})
    return kwargs


def from_lenstronomy_source(kwargs_light: list[dict[str, float]]) -> tuple[Components, float]:
    """The source of lenstronomy's ``SERSIC_ELLIPSE`` keywords, scaled to unit flux, and its total flux before."""
    kwargs = {name: np.array([values[name] for values in kwargs_light]) for name in kwargs_light[0]}
    n, radius = kwargs["n_sersic"], kwargs["R_sersic"]
    flux = kwargs["amp"] * _lenstronomy_flux(n, radius)
    q, angle = shape(kwargs["e1"], kwargs["e2"])
    x, y = kwargs["center_x"], kwargs["center_y"]
    fields = (flux / flux.sum(), x, y, radius / _radius_ratio(n), n, q, angle)
    return Components(*(np.asarray(field)[None] for field in fields)), float(flux.sum())


def _lenstronomy_b_n(n: ArrayLike) -> Array:
    return 1.9992 * np.asarray(n) - 0.3271


def _radius_ratio(n: ArrayLike) -> Array:
    """lenstronomy's ``R_sersic`` over the half-light radius of the same profile; not 1, as its b_n is approximate."""
    return (_lenstronomy_b_n(n) / b_n(n)) ** np.asarray(n, dtype=np.float64)


def _lenstronomy_flux(n: ArrayLike, radius: ArrayLike) -> Array:
    """Total flux of a profile of amplitude 1 at lenstronomy's ``R_sersic``."""
    n, b = np.asarray(n), _lenstronomy_b_n(n)
    return 2.0 * np.pi * n * np.square(radius) * np.exp(b - 2.0 * n * np.log(b) + gammaln(2.0 * n))
