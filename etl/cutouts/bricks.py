"""The survey's bricks, the search for one that contains a window, and the gnomonic projection of their coadds."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lake.errors import DataError
from lake.files import fitslayout
from lake.files.fitsheader import Header
from lake.sky.sphere import tangent_plane, unit_vectors
from lake.sky.survey import PIXEL_SCALE_ARCSEC, PIXEL_SCALE_TOLERANCE

Floats = NDArray[np.float64]
_NEIGHBOURS = 9


@dataclass(frozen=True)
class Bricks:
    """The survey's bricks: names and centres, as in ``survey-bricks.fits``."""

    name: NDArray[np.str_]
    ra_deg: Floats
    dec_deg: Floats

    @classmethod
    def read(cls, place: str) -> Bricks:
        """The table at a path or address."""
        with fitslayout.opened(place, f"{place} is not a table of bricks (BRICKNAME, RA, DEC)") as hdus:
            table = hdus[1].data
            found = cls(
                np.char.strip(table["brickname"].astype(str)), *(table[n].astype(np.float64) for n in ("ra", "dec"))
            )
        placed = (found.ra_deg >= 0) & (found.ra_deg <= 360) & (np.abs(found.dec_deg) <= 90)
        if not len(placed) or not placed.all():
            count = f"{int((~placed).sum())} of {len(placed)}"
            raise DataError(f"{place} must hold bricks at RA 0 to 360 and Dec -90 to 90, but {count} are outside")
        return found


def tangent_pixels(bricks: Bricks, index: NDArray[np.intp], ra_deg: Floats, dec_deg: Floats, pixels: int) -> Floats:
    """Pixel coordinates (n, 2), x and y from 0, of positions in the TAN coadds of the bricks ``index``."""
    east, north = tangent_plane(bricks.ra_deg[index], bricks.dec_deg[index], ra_deg, dec_deg)
    scale = 180 * 3600 / np.pi / PIXEL_SCALE_ARCSEC
    middle = (pixels - 1) / 2
    return np.stack([middle - east * scale, middle + north * scale], axis=-1)


def holding_brick(
    bricks: Bricks, own: NDArray[np.str_], ra_deg: Floats, dec_deg: Floats, stamp_pixels: int, coadd_pixels: int
) -> NDArray[np.str_]:
    """Name of the brick whose coadd contains the whole window round each position: the source's own if it does, or
    the nearest that does, or ''."""
    half = stamp_pixels // 2
    count = min(_NEIGHBOURS, len(bricks.name))
    _, near = cKDTree(unit_vectors(bricks.ra_deg, bricks.dec_deg)).query(unit_vectors(ra_deg, dec_deg), k=count)
    near = near.reshape(len(ra_deg), count)
    chosen = np.full(len(ra_deg), "", dtype=bricks.name.dtype)
    for mine_only in (True, False):
        for rank in range(count):
            index = near[:, rank]
            centre = np.rint(tangent_pixels(bricks, index, ra_deg, dec_deg, coadd_pixels))
            inside = ((centre >= half) & (centre <= coadd_pixels - 1 - half)).all(axis=1)
            use = (chosen == "") & inside & ((bricks.name[index] == own) | (not mine_only))
            chosen[use] = bricks.name[index][use]
    return chosen


@dataclass(frozen=True)
class Tan:
    """A gnomonic projection: reference position, its pixel (from 0), and pixels per degree of the tangent plane."""

    ra_deg: float
    dec_deg: float
    x: float
    y: float
    to_pixels: Floats

    @classmethod
    def of(cls, header: fits.Header | Header, name: str) -> Tan:
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
        same = all(np.array_equal(mine, theirs) for mine, theirs in zip(astuple(self), astuple(other), strict=True))
        if same:
            return 0.0
        reach = pixels / 2 * PIXEL_SCALE_ARCSEC / 3600
        ra = self.ra_deg + reach * np.array([0, 1, -1, 1, -1]) / max(np.cos(np.deg2rad(self.dec_deg)), 0.01)
        dec = self.dec_deg + reach * np.array([0, 1, 1, -1, -1])
        return float(np.abs(np.subtract(self.pixels(ra, dec), other.pixels(ra, dec))).max())


def _number(header: fits.Header, key: str, name: str, default: float | None = None) -> float:
    value = header.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise DataError(f"{name}: {key} must be a number, got {value!r}")
    return float(value)
