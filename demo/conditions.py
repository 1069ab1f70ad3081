"""What the telescope did in each brick: seeing, depth, exposures, flaws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from demo.config import ConditionsParams
from demo.grid import Brick
from demo.mixtures import Floats, Mixture, psf_of_psfsize
from lake.sky.split import SPLITS
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC, PSFSIZE_RELATIVE_TO_R

MOFFAT_BETA = {"g": 2.75, "r": 2.7, "z": 2.9}
"""Moffat exponents of the simulated PSFs: within the range of DECam's coadds, but not those the grid injects with, so
that closure tests include a PSF that is known by its psfsize alone."""
PSFSIZE_SCATTER = (0.05, 0.0, 0.05)
DEPTH_RELATIVE_TO_R_MAG = (0.4, 0.0, -1.05)
DEPTH_SCATTER_MAG = (0.1, 0.0, 0.1)
ELECTRONS_PER_NMGY_AND_EXPOSURE = 900.0
"""About a 90 s DECam exposure at zero point 25 (e-/s)."""
_PER_INTERVAL = 3
STRIP_EXPOSURES = 0.4
"""Share of the exposures that a short strip has."""


@dataclass(frozen=True)
class Conditions:
    """One brick's observing conditions; arrays are (band)."""

    psfsize_arcsec: Floats
    depth_mag: Floats
    nobs: NDArray[np.int64]
    ebv: float
    strip: tuple[float, float] | None
    """x limits of the strip with fewer exposures, as fractions of the width."""
    bad_pixels: bool
    bright_star: bool
    lost_band: str
    """Band whose image is missing although the catalogue has it, or ''."""
    unobserved_band: str
    """Band never observed, or ''."""

    @property
    def psfs(self) -> tuple[Mixture, ...]:
        """Effective PSF of each band, in pixels."""
        return tuple(
            psf_of_psfsize(size / PIXEL_SCALE_ARCSEC, MOFFAT_BETA[band])
            for band, size in zip(BANDS, self.psfsize_arcsec, strict=True)
        )

    @property
    def pixel_sigma_nmgy(self) -> Floats:
        """Sky noise per pixel, from ``psfdepth = sum(psf^2) / sigma^2`` (nMgy^-2)."""
        point_source_sigma = 10 ** ((22.5 - self.depth_mag) / 2.5) / 5
        return point_source_sigma * np.sqrt([p.squared_integral for p in self.psfs])

    def exposures(self, pixels: int) -> NDArray[np.int64]:
        """Exposures per (band, column)."""
        columns = np.repeat(self.nobs[:, None], pixels, axis=1)
        if self.strip is not None:
            inside = slice(int(self.strip[0] * pixels), int(self.strip[1] * pixels))
            columns[:, inside] = np.maximum(1, np.round(self.nobs * STRIP_EXPOSURES))[:, None]
        if self.unobserved_band:
            columns[BANDS.index(self.unobserved_band)] = 0
        return columns


def _spread(rng: Generator, within: Generator, count: int) -> Floats:
    """Uniform draws in random order, about three in each of equal intervals: splits get similar conditions, not equal
    ones."""
    intervals = max(count // _PER_INTERVAL, min(count, 2))
    return (rng.permutation(count) * intervals // count + within.random(count)) / intervals


def draw_conditions(params: ConditionsParams, bricks: list[Brick], seed: int) -> list[Conditions]:
    """Conditions of all bricks, spread over their range within each split."""
    rng, within = np.random.default_rng([seed, 2]), np.random.default_rng([seed, 2, 1])
    seeing, depth = np.zeros(len(bricks)), np.zeros(len(bricks))
    for split in SPLITS:
        here = np.array([brick.split == split for brick in bricks])
        seeing[here], depth[here] = (_spread(rng, within, int(here.sum())) for _ in range(2))
    shares = (params.short_strip_fraction, params.bad_pixel_fraction, params.bright_star_fraction)
    # Mid-quantiles of a uniform distribution in random order meet any share exactly.
    flaws = np.stack([(rng.permutation(len(bricks)) + 0.5) / len(bricks) < share for share in shares], axis=1)
    training = np.flatnonzero([brick.split == "train" for brick in bricks])
    broken = rng.permutation(training)[: params.lost_band_bricks + params.unobserved_band_bricks]
    without = np.split(broken, [params.lost_band_bricks])
    found = []
    for i in range(len(bricks)):
        missing = [str(rng.choice(BANDS)) * (i in chosen) for chosen in without]
        found.append(_one(params, rng, (seeing[i], depth[i]), flaws[i].tolist(), missing))
    return found


def _one(
    params: ConditionsParams, rng: Generator, quantile: tuple[float, float], flaws: list[bool], missing: list[str]
) -> Conditions:
    size = params.psfsize_r_range_arcsec[0] + quantile[0] * np.ptp(params.psfsize_r_range_arcsec)
    depth = params.depth_r_range_mag[0] + quantile[1] * np.ptp(params.depth_r_range_mag)
    nobs_z = np.clip(round(2.5 + 10.5 * quantile[1] + rng.normal(0, 1.5)), 3, 18)
    nobs = np.clip(nobs_z + np.array([*rng.integers(-1, 4, size=2), 0]), 3, 20)
    start, width = rng.uniform(0.05, 0.75), rng.uniform(0.08, 0.2)
    short_strip, bad_pixels, bright_star = flaws
    return Conditions(
        psfsize_arcsec=size * np.array([*PSFSIZE_RELATIVE_TO_R.values()]) * (1 + rng.normal(0, PSFSIZE_SCATTER)),
        depth_mag=depth + np.array(DEPTH_RELATIVE_TO_R_MAG) + rng.normal(0, DEPTH_SCATTER_MAG),
        nobs=nobs.astype(np.int64),
        ebv=rng.uniform(0.02, 0.12),
        strip=(start, start + width) if short_strip else None,
        bad_pixels=bad_pixels,
        bright_star=bright_star,
        lost_band=missing[0],
        unobserved_band=missing[1],
    )
