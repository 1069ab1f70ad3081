"""A choice of bricks in distinct HEALPix pixels whose split hash meets wanted counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demo.config import SkyParams
from demo.grid import BRICK_DEG, Brick, brick_name, columns_per_row
from lake.config import SplitParams
from lake.errors import invalid
from lake.sky.healpix import pixel
from lake.sky.split import SPLITS, split_of
from lake.sky.survey import PIXEL_SCALE_ARCSEC


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
        chosen.append(Brick(**{**brick.__dict__, "split": part}))
    if any(missing.values()):
        raise invalid("demo.sky", "a region with enough HEALPix pixels for the wanted bricks", f"{missing} missing")
    return sorted(chosen, key=lambda brick: brick.brickid)
