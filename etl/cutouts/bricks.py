"""The survey's bricks, and the search for one that contains a window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lake.errors import DataError
from lake.files import fitslayout
from lake.sky.sphere import tangent_plane, unit_vectors
from lake.sky.survey import PIXEL_SCALE_ARCSEC

Floats = NDArray[np.float64]
_NEIGHBOURS = 9


@dataclass(frozen=True)
class Bricks:
    """The survey's bricks: names and centres, as in ``survey-bricks.fits``."""

    name: NDArray[np.str_]
    ra_deg: Floats
    dec_deg: Floats

    @classmethod
    def read(cls, path: Path) -> Bricks:
        with fitslayout.opened(path, f"{path} is not a table of bricks (BRICKNAME, RA, DEC)") as hdus:
            table = hdus[1].data
            found = cls(
                np.char.strip(table["brickname"].astype(str)), *(table[n].astype(np.float64) for n in ("ra", "dec"))
            )
        placed = (found.ra_deg >= 0) & (found.ra_deg <= 360) & (np.abs(found.dec_deg) <= 90)
        if not len(placed) or not placed.all():
            count = f"{int((~placed).sum())} of {len(placed)}"
            raise DataError(f"{path} must hold bricks at RA 0 to 360 and Dec -90 to 90, but {count} are outside")
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
