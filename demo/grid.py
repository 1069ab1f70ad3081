"""The survey's official grid of bricks, and the names of its files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lake.sky.survey import PIXEL_SCALE_ARCSEC

Floats = NDArray[np.float64]

BRICK_DEG = 0.25
STEP_DEG = PIXEL_SCALE_ARCSEC / 3600
"""Size of a pixel."""


@dataclass(frozen=True)
class Brick:
    """One brick of the official grid."""

    name: str
    brickid: int
    row: int
    column: int
    ra_deg: float
    dec_deg: float
    ra_edges_deg: tuple[float, float]
    dec_edges_deg: tuple[float, float]
    split: str

    def reference_pixel(self, pixels: int) -> float:
        """FITS CRPIX (one-based) of the coadd, on both axes: its centre."""
        return pixels / 2 + 0.5

    def sky(self, position_px: Floats, pixels: int) -> tuple[Floats, Floats]:
        """Right ascension and declination (deg) of zero-based pixel positions (n, 2), by the coadd's TAN projection.

        Calabretta & Greisen (2002), section 5.1.3; x runs west, y north.
        """
        plane = np.deg2rad((position_px + 1 - self.reference_pixel(pixels)) * STEP_DEG)
        west, north = plane[:, 0], plane[:, 1]
        sin, cos = np.sin(np.deg2rad(self.dec_deg)), np.cos(np.deg2rad(self.dec_deg))
        towards = cos - north * sin
        ra = self.ra_deg + np.rad2deg(np.arctan2(-west, towards))
        dec = np.rad2deg(np.arctan2(sin + north * cos, np.hypot(west, towards)))
        return ra % 360.0, dec


def columns_per_row() -> NDArray[np.int64]:
    """Bricks in each declination row of the survey's grid: an even number, one at the poles."""
    rows = round(180 / BRICK_DEG) + 1
    edge = np.abs(-90 + BRICK_DEG * np.arange(rows)) - BRICK_DEG / 2
    count = np.ceil(360 / BRICK_DEG * np.cos(np.deg2rad(edge))).astype(np.int64)
    count += count % 2
    count[[0, -1]] = 1
    return count


def brick_name(ra_deg: float, dec_deg: float) -> str:
    """Survey name of the brick with this centre: 10 ra, sign of dec (p or m), 10 abs(dec), truncated."""
    sign = "p" if dec_deg >= 0 else "m"
    return f"{int(ra_deg * 10):04d}{sign}{int(abs(dec_deg) * 10):03d}"


def sweep_name(ra_deg: float, dec_deg: float) -> str:
    """File name of the 10 x 5 degree sweep that holds a position."""
    ra, dec = int(ra_deg // 10) * 10, int(dec_deg // 5) * 5
    corners = [f"{r:03d}{'p' if d >= 0 else 'm'}{abs(d):03d}" for r, d in ((ra, dec), (ra + 10, dec + 5))]
    return f"sweep-{corners[0]}-{corners[1]}.fits"
