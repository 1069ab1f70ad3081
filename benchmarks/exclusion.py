"""``python -m benchmarks.exclusion``: sources a second compared with 5,104 listed positions, as the pool does it.

One core; the sources lie all over the survey, and the first ones near positions. A k-d tree must find the same.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.pool import made_up
from etl.catalogues.near import Listed
from lake.errors import LakeError
from lake.sky.sphere import chord, unit_vectors

RADIUS_ARCSEC = 11.0
_TOGETHER = 8_192
_CHECKED = 1_000_000


def sources(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions (deg), even on the sphere; the first lie within 20 arcsec of listed ones."""
    rng = np.random.default_rng(0)
    ra = rng.uniform(0, 360, count)
    dec = np.rad2deg(np.arcsin(rng.uniform(*np.sin(np.deg2rad([-18.0, 32.0])), count)))
    listed_ra, listed_dec = made_up.positions()
    near = slice(0, min(count, len(listed_ra)))
    step = rng.uniform(-20, 20, (2, count))[:, near] / 3600
    dec[near] = listed_dec[near] + step[0]
    ra[near] = (listed_ra[near] + step[1] / np.cos(np.deg2rad(dec[near]))) % 360
    return ra, dec


def excluded(listed: Listed, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which sources lie within the radius of a position."""
    found = []
    for first in range(0, len(ra), _TOGETHER):
        some = slice(first, first + _TOGETHER)
        maybe = np.flatnonzero(listed.maybe(ra[some], dec[some])) + first
        index, _ = listed.nearest(ra[maybe], dec[maybe])
        found.append(maybe[index >= 0])
    return np.concatenate(found)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.exclusion", description=__doc__)
    options.add_argument("--rows", type=int, default=26_700_000)
    count = options.parse_args().rows
    listed_ra, listed_dec = made_up.positions()
    ra, dec = sources(count)
    start, processor = time.perf_counter(), time.process_time()
    listed = Listed([f"c{number:04d}" for number in range(len(listed_ra))], listed_ra, listed_dec, RADIUS_ARCSEC)
    found = excluded(listed, ra, dec)
    wall_s, processor_s = time.perf_counter() - start, time.process_time() - processor
    tree = cKDTree(unit_vectors(listed_ra, listed_dec))
    some = slice(0, _CHECKED)
    far, _ = tree.query(unit_vectors(ra[some], dec[some]))
    expected = np.flatnonzero(far <= chord(RADIUS_ARCSEC))
    if not np.array_equal(expected, found[found < _CHECKED]):
        raise LakeError("a k-d tree finds other sources near the positions")
    print(f"{count:,} sources, {len(found):,} within {RADIUS_ARCSEC} arcsec of {len(listed_ra):,} positions")
    print(f"{wall_s:.1f} s, {processor_s:.1f} s of processor time")
    print(f"rate {count / processor_s / 1e6:.1f} million a second and core")


if __name__ == "__main__":
    main()
