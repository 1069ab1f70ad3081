"""Named PSF profiles of unit flux: brightness, Fourier transform, noise-equivalent area, and the width of an area."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gamma, kv

from lake.sky.psfsize import FWHM_PER_SIGMA, area_of_fwhm_nea

Array = NDArray[np.float64]
Named = Literal["gaussian", "moffat"]

_WIDTHS_PX = np.geomspace(0.2, 200.0, 800)
"""FWHM (pixels) at which the area, pixel included, is tabulated; interpolation is accurate to 1e-5."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)
_ANGLES = (np.arange(32) + 0.5) / 32 * np.pi / 4.0


def moffat_scale(fwhm: ArrayLike, beta: ArrayLike) -> Array:
    """Moffat ``alpha`` of a FWHM."""
    return np.asarray(fwhm) / (2.0 * np.sqrt(2.0 ** (1.0 / np.asarray(beta)) - 1.0))


def brightness(kind: Named, fwhm: ArrayLike, beta: ArrayLike, radius: ArrayLike) -> Array:
    """Surface brightness at a radius, per square of the lengths' unit; everything broadcasts."""
    r, beta = np.asarray(radius), np.asarray(beta)
    if kind == "gaussian":
        variance = np.square(np.asarray(fwhm) / FWHM_PER_SIGMA)
        return np.exp(-0.5 * r**2 / variance) / (2.0 * np.pi * variance)
    scale = moffat_scale(fwhm, beta)
    return (beta - 1.0) / (np.pi * scale**2) * (1.0 + (r / scale) ** 2) ** -beta


def transform(kind: Named, fwhm: ArrayLike, beta: ArrayLike, frequency: ArrayLike) -> Array:
    """Fourier transform of :func:`brightness`, real and 1 at frequency 0 (cycles per unit length).

    Moffat: ``2^(2-beta) / Gamma(beta-1) z^(beta-1) K_(beta-1)(z)`` with ``z = 2 pi alpha k`` (Matern), which for
    beta = 3.5 is ``e^-z (1 + z + z^2/3)``.
    """
    k = np.asarray(frequency)
    if kind == "gaussian":
        return np.exp(-2.0 * np.pi**2 * np.square(np.asarray(fwhm) / FWHM_PER_SIGMA) * k**2)
    z = 2.0 * np.pi * moffat_scale(fwhm, beta) * k
    safe = np.where(z > 1e-9, z, 1.0)
    order = np.asarray(beta) - 1.0
    return np.where(z > 1e-9, 2.0 ** (1.0 - order) / gamma(order) * safe**order * kv(order, safe), 1.0)


def area(kind: Named, fwhm: ArrayLike, beta: ArrayLike) -> Array:
    """Noise-equivalent area ``1 / integral(brightness^2)``, in the square of the width's unit.

    The sum over pixels, which is what noise sees, is this integral to 1e-4 where the FWHM exceeds 1.5 pixels.
    """
    if kind == "gaussian":
        return area_of_fwhm_nea(fwhm)
    beta = np.asarray(beta)
    return np.asarray(np.pi * moffat_scale(fwhm, beta) ** 2 * (2.0 * beta - 1.0) / (beta - 1.0) ** 2)


def area_with_pixel(kind: Named, fwhm_px: Array, beta: float) -> Array:
    """Area (batch,) in pixels of a profile convolved with the pixel; NaN for widths outside the table."""
    return _looked_up(fwhm_px, np.log(_WIDTHS_PX), _log_areas(kind, beta))


def width_under_pixel(kind: Named, area_px: Array, beta: float) -> Array:
    """FWHM (batch,) in pixels of the profile that has this area after convolution with the pixel, or NaN."""
    return _looked_up(area_px, _log_areas(kind, beta), np.log(_WIDTHS_PX))


def _looked_up(values: Array, logs: Array, others: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.interp(np.log(values), logs, others, left=np.nan, right=np.nan)
    return np.asarray(np.exp(found))


@lru_cache(maxsize=32)
def _log_areas(kind: Named, beta: float) -> Array:
    """Logarithm of the area at each tabulated width, by Parseval's theorem: profile and pixel over all frequencies."""
    last = 2.0 / _WIDTHS_PX[:, None]
    k, weight = 0.5 * last * (_NODES + 1.0), 0.5 * last * _WEIGHTS
    pixel = (np.sinc(k[..., None] * np.cos(_ANGLES)) * np.sinc(k[..., None] * np.sin(_ANGLES))) ** 2
    squared = transform(kind, _WIDTHS_PX[:, None], beta, k) ** 2
    return -np.log((2.0 * np.pi * k * weight * squared * pixel.mean(axis=-1)).sum(axis=1))
