"""PSF profiles of unit flux: Fourier transform, noise-equivalent area, and the width of an area.

A profile is a Moffat of exponent ``beta``; an infinite exponent is a Gaussian.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gamma, kv

from lake.sky.photometry import FWHM_PER_SIGMA, area_of_fwhm_nea

Array = NDArray[np.float64]

_WIDTHS_PX = np.geomspace(0.2, 200.0, 800)
"""FWHM (pixels) at which the area, pixel included, is tabulated; interpolation is accurate to 1e-5."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)
_ANGLES = (np.arange(32) + 0.5) / 32 * np.pi / 4.0


def moffat_scale(fwhm: ArrayLike, beta: ArrayLike) -> Array:
    """Moffat ``alpha`` of a FWHM."""
    return np.asarray(fwhm) / (2.0 * np.sqrt(2.0 ** (1.0 / np.asarray(beta)) - 1.0))


def transform(fwhm: ArrayLike, beta: float, frequency: ArrayLike) -> Array:
    """Fourier transform of a profile, real, and 1 at frequency 0 (cycles per unit length).

    Moffat: ``2^(2-beta) / Gamma(beta-1) z^(beta-1) K_(beta-1)(z)`` with ``z = 2 pi alpha k`` (Matern), which for
    beta = 3.5 is ``e^-z (1 + z + z^2/3)``.
    """
    k = np.asarray(frequency)
    if np.isinf(beta):
        return np.exp(-2.0 * np.pi**2 * np.square(np.asarray(fwhm) / FWHM_PER_SIGMA) * k**2)
    z = 2.0 * np.pi * moffat_scale(fwhm, beta) * k
    safe = np.where(z > 1e-9, z, 1.0)
    order = np.asarray(beta) - 1.0
    return np.where(z > 1e-9, 2.0 ** (1.0 - order) / gamma(order) * safe**order * kv(order, safe), 1.0)


def area(fwhm: ArrayLike, beta: float) -> Array:
    """Noise-equivalent area ``1 / integral(brightness^2)``, in the square of the width's unit.

    The sum over pixels, which is what counts for noise, equals this integral to 1e-4 for a FWHM above 1.5 pixels.
    """
    if np.isinf(beta):
        return area_of_fwhm_nea(fwhm)
    exponent = np.array([beta])
    return np.asarray(np.pi * moffat_scale(fwhm, exponent) ** 2 * (2.0 * exponent - 1.0) / (exponent - 1.0) ** 2)


def area_with_pixel(fwhm_px: Array, beta: float) -> Array:
    """Area (batch,) in pixels of a profile convolved with the pixel; NaN for widths outside the table."""
    return _looked_up(fwhm_px, np.log(_WIDTHS_PX), _log_areas(beta))


def width_under_pixel(area_px: Array, beta: float) -> Array:
    """FWHM (batch,) in pixels of the profile that has this area after convolution with the pixel, or NaN."""
    return _looked_up(area_px, _log_areas(beta), np.log(_WIDTHS_PX))


def _looked_up(values: Array, logs: Array, others: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.interp(np.log(values), logs, others, left=np.nan, right=np.nan)
    return np.asarray(np.exp(found))


@lru_cache(maxsize=32)
def _log_areas(beta: float) -> Array:
    """Logarithm of the area at each tabulated width, by Parseval's theorem: profile and pixel over all frequencies."""
    k, weight, pixel = _pixel()
    squared = transform(_WIDTHS_PX[:, None], beta, k) ** 2
    return -np.log((2.0 * np.pi * k * weight * squared * pixel).sum(axis=1))


@lru_cache(maxsize=1)
def _pixel() -> tuple[Array, Array, Array]:
    """Frequencies (width, node), their weights, and the squared transform of the pixel there, averaged over angles."""
    last = 2.0 / _WIDTHS_PX[:, None]
    k, weight = 0.5 * last * (_NODES + 1.0), 0.5 * last * _WEIGHTS
    pixel = (np.sinc(k[..., None] * np.cos(_ANGLES)) * np.sinc(k[..., None] * np.sin(_ANGLES))) ** 2
    return k, weight, pixel.mean(axis=-1)
