"""Directions, distances and tangent planes on the sky."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ARCSEC_PER_RADIAN = 180.0 * 3600.0 / np.pi


def unit_vectors(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """Directions (n, 3) of positions on the sky."""
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def chord(separation_arcsec: float) -> float:
    """Length of the chord between two directions this far apart."""
    return float(2.0 * np.sin(separation_arcsec / ARCSEC_PER_RADIAN / 2.0))


def tangent_plane(
    ra0_deg: float | Floats, dec0_deg: float | Floats, ra_deg: Floats, dec_deg: Floats
) -> tuple[Floats, Floats]:
    """Gnomonic coordinates (east, north; radians) of positions about centres; infinite beyond 90 degrees.

    Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3.
    """
    ra0, dec0, ra, dec = (np.deg2rad(v) for v in (ra0_deg, dec0_deg, ra_deg, dec_deg))
    cosine = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
    ahead = np.where(cosine > 0, cosine, np.nan)
    east = np.cos(dec) * np.sin(ra - ra0) / ahead
    north = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(ra - ra0)) / ahead
    return np.where(cosine > 0, east, np.inf), np.where(cosine > 0, north, np.inf)
