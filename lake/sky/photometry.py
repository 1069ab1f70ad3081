"""Magnitudes and fluxes: every flux here is in nanomaggies, the unit whose AB zero point is 22.5."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

NANOMAGGY_MAG = 22.5
"""AB magnitude of one nanomaggy."""


def magnitude_from_flux(flux_nmgy: ArrayLike) -> NDArray[np.float64]:
    """AB magnitude of a flux in nanomaggies; NaN where the flux is not positive."""
    flux = np.asarray(flux_nmgy, dtype=np.float64)
    positive = np.where(flux > 0, flux, np.nan)
    return NANOMAGGY_MAG - 2.5 * np.log10(positive)


def flux_from_magnitude(mag: ArrayLike) -> NDArray[np.float64]:
    """Flux in nanomaggies of an AB magnitude."""
    return 10.0 ** ((NANOMAGGY_MAG - np.asarray(mag, dtype=np.float64)) / 2.5)


def depth_mag_from_psfdepth(psfdepth: ArrayLike) -> NDArray[np.float64]:
    """5-sigma point-source depth (AB mag) from ``psfdepth``, an inverse variance in nanomaggies^-2."""
    inverse_variance = np.asarray(psfdepth, dtype=np.float64)
    positive = np.where(inverse_variance > 0, inverse_variance, np.nan)
    return -2.5 * (np.log10(5.0 / np.sqrt(positive)) - 9.0)
