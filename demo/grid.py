"""The survey's official grid of bricks, the names of its files, and the choice of the bricks that are made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from demo.config import SkyParams
from demo.mixtures import Floats
from lake.config import SplitParams
from lake.errors import invalid
from lake.sky.healpix import pixel
from lake.sky.split import SPLITS, split_of
from lake.sky.survey import PIXEL_SCALE_ARCSEC

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
    """File name of the 10 x 5 degree sweep that contains a position."""
    ra, dec = int(ra_deg // 10) * 10, int(dec_deg // 5) * 5
    corners = [f"{r:03d}{'p' if d >= 0 else 'm'}{abs(d):03d}" for r, d in ((ra, dec), (ra + 10, dec + 5))]
    return f"sweep-{corners[0]}-{corners[1]}.fits"


def place_bricks(params: SkyParams, brick_pixels: int, split: SplitParams, seed: int) -> list[Brick]:
    """Bricks in distinct HEALPix pixels whose split hash meets the wanted counts, ordered by brick id."""
    grid = _grid(params)
    pixels = _pixel_if_whole(grid, brick_pixels)
    splits = split_of(pixels, split)
    missing = dict(zip(SPLITS, (params.train_bricks, params.val_bricks, params.test_bricks), strict=True))
    taken: set[int] = set()
    chosen: list[Brick] = []
    for index in np.random.default_rng([seed, 1]).permutation(len(grid)):
        brick, where, part = grid[index], int(pixels[index]), str(splits[index])
        if where < 0 or where in taken or missing[part] == 0:
            continue
        taken.add(where)
        missing[part] -= 1
        chosen.append(replace(brick, split=part))
    if any(missing.values()):
        raise invalid("demo.sky", "a region with enough HEALPix pixels for the wanted bricks", f"{missing} missing")
    return sorted(chosen, key=lambda brick: brick.brickid)


def _grid(params: SkyParams) -> list[Brick]:
    counts = columns_per_row()
    before = np.concatenate([[0], np.cumsum(counts)])
    found = []
    for row in range(counts.size):
        dec = -90 + BRICK_DEG * row
        if not params.dec_range_deg[0] <= dec < params.dec_range_deg[1]:
            continue
        width = 360 / int(counts[row])
        for column in range(*(int(np.ceil(edge / width - 0.5)) for edge in params.ra_range_deg)):
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
    for step_ra, step_dec in product(np.linspace(-half, half, 5), repeat=2):
        whole &= pixel((ra + step_ra / np.cos(np.deg2rad(dec))) % 360.0, dec + step_dec) == centre
    return np.where(whole, centre, -1)
