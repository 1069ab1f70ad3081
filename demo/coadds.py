"""Brick coadds in the survey's files: tile-compressed FITS, one image per file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from demo.brick import Plan, Scene
from demo.grid import STEP_DEG
from lake.sky.photometry import NANOMAGGY_MAG
from lake.sky.survey import BANDS

TILE = (100, 100)
STEPS_PER_SIGMA = 8.0
"""Quantisation of images: the subtractive dither adds 0.07 % to the noise."""
INVVAR_STEP, PSFSIZE_STEP = 1e-3, 1e-4
"""Quantisation of inverse variances (relative to the sky's) and of PSF sizes (arcsec)."""
DITHER_KEEPS_ZERO, NO_DITHER = 2, -1


def brick_folder(folder: Path, name: str) -> Path:
    """Where a brick's coadds lie below ``coadds``."""
    return folder / "coadds" / name[:3] / name


def _header(plan: Plan, pixels: int, product: str, band: str) -> fits.Header:
    brick = plan.brick
    header = fits.Header()
    header["SURVEY"] = ("Simulated", "Dark Halo Scope demo: not the real sky")
    header["BRICKNAM"] = (brick.name, "LegacySurvey brick RRRr[pm]DDd")
    header["BRICKID"] = (brick.brickid, "LegacySurvey brick id")
    header["RAMIN"], header["RAMAX"] = brick.ra_edges_deg
    header["DECMIN"], header["DECMAX"] = brick.dec_edges_deg
    header["BRICKRA"], header["BRICKDEC"] = brick.ra_deg, brick.dec_deg
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = brick.ra_deg, brick.dec_deg
    header["CRPIX1"] = header["CRPIX2"] = brick.reference_pixel(pixels)
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -STEP_DEG, 0.0, 0.0, STEP_DEG
    header["EQUINOX"] = 2000.0
    header["IMTYPE"] = (product, "LegacySurvey image type")
    if band:
        header["FILTER"] = (band, "band")
    if product == "image":
        header["MAGZERO"] = (NANOMAGGY_MAG, "Magnitude zeropoint")
        header["BUNIT"] = ("nanomaggy", "AB mag = 22.5 - 2.5*log10(nanomaggy)")
    if product == "psfsize":
        header["BUNIT"] = ("arcsec", "Effective PSF size, FWHM of equal noise area")
    return header


def _write(path: Path, data: NDArray[Any], header: fits.Header, dither_seed: int, **options: Any) -> None:
    compressed = fits.CompImageHDU(
        data, header, compression_type="RICE_1", tile_shape=TILE, dither_seed=dither_seed, **options
    )
    fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(path, output_verify="silentfix")


def write_coadds(folder: Path, plan: Plan, scene: Scene) -> None:
    """Write one brick's files into ``folder``, which exists."""
    pixels = scene.maskbits.shape[0]
    stem = f"legacysurvey-{plan.brick.name}"
    conditions = plan.conditions
    for index, band in enumerate(BANDS):
        if band in (conditions.lost_band, conditions.unobserved_band):
            continue
        seed = 1 + (plan.brick.brickid * 3 + index) % 10000
        sigma = float(conditions.pixel_sigma_nmgy[index])
        size = np.full((pixels, pixels), conditions.psfsize_arcsec[index], dtype=np.float32)
        products = (
            ("image", scene.image[index], sigma / STEPS_PER_SIGMA, DITHER_KEEPS_ZERO),
            ("invvar", scene.invvar[index], INVVAR_STEP / sigma**2, NO_DITHER),
            ("psfsize", size, PSFSIZE_STEP, NO_DITHER),
        )
        for product, data, step, dither in products:
            # a given step (negative level) keeps flat tiles in RICE: astropy's GZIP fallback would write the time
            lossy = {"quantize_method": dither, "quantize_level": -step}
            path = folder / f"{stem}-{product}-{band}.fits.fz"
            _write(path, data, _header(plan, pixels, product, band), seed, **lossy)
    _write(folder / f"{stem}-maskbits.fits.fz", scene.maskbits, _header(plan, pixels, "maskbits", ""), 1)
