"""Where the bricks are: the survey's official brick grid, and a choice of bricks with given splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from demo.config import SkyParams
from lake.errors import invalid
from lake.healpix import pixel
from lake.split import SPLITS, split_of
from lake.survey import PIXEL_SCALE_ARCSEC

BRICK_DEG = 0.25


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

    def wcs(self, pixels: int) -> WCS:
        """TAN projection of the brick's coadd, as in the survey."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [self.ra_deg, self.dec_deg]
        wcs.wcs.crpix = [pixels / 2 + 0.5, pixels / 2 + 0.5]
        step = PIXEL_SCALE_ARCSEC / 3600
        wcs.wcs.cd = [[-step, 0.0], [0.0, step]]
        wcs.wcs.equinox = 2000.0
        return wcs


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


def _grid(params: SkyParams) -> list[Brick]:
    counts = columns_per_row()
    before = np.concatenate([[0], np.cumsum(counts)])
    found = []
    for row in range(counts.size):
        dec = -90 + BRICK_DEG * row
        if not params.dec_range_deg[0] <= dec < params.dec_range_deg[1]:
            continue
        width = 360 / int(counts[row])
        first = int(np.ceil(params.ra_range_deg[0] / width - 0.5))
        last = int(np.ceil(params.ra_range_deg[1] / width - 0.5))
        for column in range(first, last):
            ra = (column + 0.5) * width
            edges = ((column * width, (column + 1) * width), (dec - BRICK_DEG / 2, dec + BRICK_DEG / 2))
            identity = int(before[row]) + column + 1
            found.append(Brick(brick_name(ra, dec), identity, row, column, ra, dec, *edges, split=""))
    return found


def _pixel_if_whole(bricks: list[Brick], pixels: int) -> NDArray[np.int64]:
    """HEALPix pixel of each brick, or -1 where the coadd crosses a pixel's edge."""
    ra = np.array([brick.ra_deg for brick in bricks])
    dec = np.array([brick.dec_deg for brick in bricks])
    half = 0.5 * pixels * PIXEL_SCALE_ARCSEC / 3600 * 1.05
    centre = pixel(ra, dec)
    whole = np.ones(len(bricks), dtype=bool)
    for step_ra in np.linspace(-half, half, 5):
        for step_dec in np.linspace(-half, half, 5):
            there = pixel((ra + step_ra / np.cos(np.deg2rad(dec))) % 360.0, dec + step_dec)
            whole &= there == centre
    return np.where(whole, centre, -1)


def place_bricks(params: SkyParams, brick_pixels: int, seed: int) -> list[Brick]:
    """Bricks in distinct HEALPix pixels whose split hash meets the wanted counts, ordered by brick id."""
    grid = _grid(params)
    pixels = _pixel_if_whole(grid, brick_pixels)
    splits = split_of(pixels, params.split)
    missing = dict(zip(SPLITS, (params.train_bricks, params.val_bricks, params.test_bricks), strict=True))
    taken: set[int] = set()
    chosen: list[Brick] = []
    for index in np.random.default_rng([seed, 1]).permutation(len(grid)):
        brick, where, split = grid[index], int(pixels[index]), str(splits[index])
        if where < 0 or where in taken or missing[split] == 0:
            continue
        taken.add(where)
        missing[split] -= 1
        chosen.append(Brick(**{**brick.__dict__, "split": split}))
    if any(missing.values()):
        raise invalid("demo.sky", "a region with enough HEALPix pixels for the wanted bricks", f"{missing} missing")
    return sorted(chosen, key=lambda brick: brick.brickid)


def sweep_name(ra_deg: float, dec_deg: float) -> str:
    """File name of the 10 x 5 degree sweep that holds a position."""
    ra, dec = int(ra_deg // 10) * 10, int(dec_deg // 5) * 5
    corners = [f"{r:03d}{'p' if d >= 0 else 'm'}{abs(d):03d}" for r, d in ((ra, dec), (ra + 10, dec + 5))]
    return f"sweep-{corners[0]}-{corners[1]}.fits"
