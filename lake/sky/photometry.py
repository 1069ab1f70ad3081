"""Magnitudes, fluxes and noise: every flux here is in nanomaggies, the unit whose AB zero point is 22.5.

The catalogue's ``psfsize`` is not the FWHM of a profile: the survey's coadd code derives it from the noise-equivalent
area ``1 / sum(psf^2)`` of the effective, pixel-sampled PSF, as the FWHM of the Gaussian of equal area,
``4 pi sigma^2``. Here it is called ``fwhm_nea``; ``fwhm`` is the full width of a named profile. ``psfdepth`` is
``1 / (sigma_pixel^2 x area)`` (nMgy^-2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

NANOMAGGY_MAG = 22.5
"""AB magnitude of one nanomaggy."""
FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))


def magnitude_from_flux(flux_nmgy: ArrayLike) -> Array:
    """AB magnitude of a flux in nanomaggies; NaN where the flux is not positive."""
    flux = np.asarray(flux_nmgy, dtype=np.float64)
    positive = np.where(flux > 0, flux, np.nan)
    return NANOMAGGY_MAG - 2.5 * np.log10(positive)


def flux_from_magnitude(mag: ArrayLike) -> Array:
    """Flux in nanomaggies of an AB magnitude."""
    return 10.0 ** ((NANOMAGGY_MAG - np.asarray(mag, dtype=np.float64)) / 2.5)


def depth_mag_from_psfdepth(psfdepth: ArrayLike) -> Array:
    """5-sigma point-source depth (AB mag) from ``psfdepth``, an inverse variance in nanomaggies^-2."""
    inverse_variance = np.asarray(psfdepth, dtype=np.float64)
    positive = np.where(inverse_variance > 0, inverse_variance, np.nan)
    return -2.5 * (np.log10(5.0 / np.sqrt(positive)) - 9.0)


def area_of_fwhm_nea(fwhm_nea: ArrayLike) -> Array:
    """Noise-equivalent area of a width, in the square of its unit: pixels of a width in pixels."""
    return np.asarray(4.0 * np.pi * (np.asarray(fwhm_nea, dtype=np.float64) / FWHM_PER_SIGMA) ** 2)


def fwhm_nea_of_area(area: ArrayLike) -> Array:
    """FWHM of the Gaussian of a noise-equivalent area, in the root of its unit."""
    return np.asarray(FWHM_PER_SIGMA * np.sqrt(np.asarray(area, dtype=np.float64) / (4.0 * np.pi)))


def sigma_from_psfdepth(psfdepth: ArrayLike, fwhm_nea_arcsec: ArrayLike, pixel_scale_arcsec: ArrayLike) -> Array:
    """Noise per pixel (nMgy) of a depth (nMgy^-2); NaN where depth or width is unknown. Holds for any profile."""
    depth, width = (np.asarray(value, dtype=np.float64) for value in (psfdepth, fwhm_nea_arcsec))
    known = np.where((depth > 0) & (width > 0), depth, np.nan)
    pixels = area_of_fwhm_nea(np.where(width > 0, width, 1.0) / np.asarray(pixel_scale_arcsec))
    return np.asarray(1.0 / np.sqrt(known * pixels))


def psfdepth_from_sigma(sigma_nmgy: ArrayLike, fwhm_nea_arcsec: ArrayLike, pixel_scale_arcsec: ArrayLike) -> Array:
    """Depth (nMgy^-2) of a noise per pixel: the inverse of :func:`sigma_from_psfdepth`; NaN where there is no noise."""
    sigma = np.asarray(sigma_nmgy, dtype=np.float64)
    pixels = area_of_fwhm_nea(np.asarray(fwhm_nea_arcsec, dtype=np.float64) / np.asarray(pixel_scale_arcsec))
    return np.asarray(1.0 / (np.square(np.where(sigma > 0, sigma, np.nan)) * pixels))
