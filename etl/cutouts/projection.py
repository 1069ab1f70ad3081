"""The gnomonic projection of brick coadds: positions on the sky to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lake.errors import DataError
from lake.sky.sphere import tangent_plane
from lake.sky.survey import PIXEL_SCALE_ARCSEC, PIXEL_SCALE_TOLERANCE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tan:
    """A gnomonic projection: reference position, its pixel (from 0), and pixels per degree of the tangent plane."""

    ra_deg: float
    dec_deg: float
    x: float
    y: float
    to_pixels: Floats

    @classmethod
    def of(cls, header: fits.Header, name: str) -> Tan:
        """Projection of a coadd's header; any but TAN at the survey's pixel scale is an error."""
        kinds = (header.get("CTYPE1"), header.get("CTYPE2"))
        if kinds != ("RA---TAN", "DEC--TAN"):
            raise DataError(f"{name}: the projection must be RA---TAN, DEC--TAN, got {kinds}")
        if "CD1_1" in header:
            matrix = [[_number(header, f"CD{i}_{j}", name, 0.0) for j in (1, 2)] for i in (1, 2)]
        else:
            matrix = [
                [
                    _number(header, f"PC{i}_{j}", name, float(i == j)) * _number(header, f"CDELT{i}", name)
                    for j in (1, 2)
                ]
                for i in (1, 2)
            ]
        scale = float(np.sqrt(abs(matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0])) * 3600)
        if not abs(scale / PIXEL_SCALE_ARCSEC - 1) <= PIXEL_SCALE_TOLERANCE:
            raise DataError(f"{name}: the pixel scale must be {PIXEL_SCALE_ARCSEC} arcsec, got {scale:.4f}")
        ra, dec, x, y = (_number(header, key, name) for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"))
        return cls(ra, dec, x - 1, y - 1, np.linalg.inv(np.array(matrix, np.float64)))

    def pixels(self, ra_deg: Floats, dec_deg: Floats) -> tuple[Floats, Floats]:
        """Pixel coordinates x, y (from 0) of positions."""
        east, north = tangent_plane(self.ra_deg, self.dec_deg, ra_deg, dec_deg)
        x, y = self.to_pixels @ np.rad2deg(np.stack([east, north]))
        return self.x + x, self.y + y

    def apart_px(self, other: Tan, pixels: int) -> float:
        """Largest distance between the places that two projections give a position, over images this wide."""
        reach = pixels / 2 * PIXEL_SCALE_ARCSEC / 3600
        ra = self.ra_deg + reach * np.array([0, 1, -1, 1, -1]) / max(np.cos(np.deg2rad(self.dec_deg)), 0.01)
        dec = self.dec_deg + reach * np.array([0, 1, 1, -1, -1])
        return float(np.abs(np.subtract(self.pixels(ra, dec), other.pixels(ra, dec))).max())


def _number(header: fits.Header, key: str, name: str, default: float | None = None) -> float:
    value = header.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise DataError(f"{name}: {key} must be a number, got {value!r}")
    return float(value)
