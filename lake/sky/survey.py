"""What the survey fixes: DESI Legacy Imaging Surveys DR10 south (DECam g, r, z)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BANDS: tuple[str, str, str] = ("g", "r", "z")
PIXEL_SCALE_ARCSEC = 0.262
ZERO_POINT_MAG = 22.5
STAMP_PIXELS = 101
PIXEL_SCALE_TOLERANCE = 0.01
"""Stamps within this relative distance of the survey's pixel scale are accepted (DES: 0.263")."""

PSFSIZE_RELATIVE_TO_R: dict[str, float] = {"g": 1.05, "r": 1.0, "z": 0.94}
"""Typical ``psfsize`` (see :mod:`lake.sky.psfsize`) of each band over that in r."""

MASKBITS: dict[str, int] = {
    "BRIGHT": 1,
    "ALLMASK_G": 5,
    "ALLMASK_R": 6,
    "ALLMASK_Z": 7,
    "MEDIUM": 11,
    "GALAXY": 12,
    "CLUSTER": 13,
}


def magnitude_from_flux(flux_nmgy: ArrayLike) -> NDArray[np.float64]:
    """AB magnitude of a flux in nanomaggies; NaN where the flux is not positive."""
    flux = np.asarray(flux_nmgy, dtype=np.float64)
    positive = np.where(flux > 0, flux, np.nan)
    return ZERO_POINT_MAG - 2.5 * np.log10(positive)


def flux_from_magnitude(mag: ArrayLike) -> NDArray[np.float64]:
    """Flux in nanomaggies of an AB magnitude."""
    return 10.0 ** ((ZERO_POINT_MAG - np.asarray(mag, dtype=np.float64)) / 2.5)


def depth_mag_from_psfdepth(psfdepth: ArrayLike) -> NDArray[np.float64]:
    """5-sigma point-source depth (AB mag) from ``psfdepth``, an inverse variance in nanomaggies^-2."""
    inverse_variance = np.asarray(psfdepth, dtype=np.float64)
    positive = np.where(inverse_variance > 0, inverse_variance, np.nan)
    return -2.5 * (np.log10(5.0 / np.sqrt(positive)) - 9.0)


def axis_ratio_from_ellipticity(e1: ArrayLike, e2: ArrayLike) -> NDArray[np.float64]:
    """Axis ratio b/a from the survey's ellipticity components ``shape_e1``, ``shape_e2``."""
    e = np.hypot(np.asarray(e1, dtype=np.float64), np.asarray(e2, dtype=np.float64))
    return (1.0 - e) / (1.0 + e)
