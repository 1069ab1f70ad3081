"""Made-up sweeps with the columns of DR10 (505 bytes a row), and listed positions of which some lie on sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lake.files import atomic

ROWS_PER_FILE = 400_000
POSITIONS = 5_104
_HERE = 100
_OPTICAL, _WISE = ("g", "r", "i", "z"), ("w1", "w2", "w3", "w4")
_TYPES = np.array([b"SER", b"DEV", b"REX", b"EXP", b"PSF", b"DUP"])
_SHARES = (0.20, 0.18, 0.24, 0.13, 0.24, 0.01)
_GAIA = (
    "phot_g_mean_mag", "phot_g_mean_flux_over_error", "phot_bp_mean_mag", "phot_bp_mean_flux_over_error",
    "phot_rp_mean_mag", "phot_rp_mean_flux_over_error", "astrometric_excess_noise",
)  # fmt: skip


def _each(kinds: tuple[str, ...], bands: tuple[str, ...], code: str) -> list[tuple[str, str]]:
    return [(f"{kind}_{band}", code) for kind in kinds for band in bands]


LAYOUT: list[tuple[str, str] | tuple[str, str, int]] = [
    ("release", ">i2"), ("brickid", ">i4"), ("brickname", "S8"), ("objid", ">i4"), ("type", "S3"),
    ("ra", ">f8"), ("dec", ">f8"), ("ra_ivar", ">f4"), ("dec_ivar", ">f4"), ("dchisq", ">f4", 5), ("ebv", ">f4"),
    *_each(("flux", "flux_ivar", "mw_transmission"), _OPTICAL + _WISE, ">f4"),
    *_each(("nobs",), _OPTICAL + _WISE, ">i2"),
    *_each(("rchisq", "fracflux"), _OPTICAL + _WISE, ">f4"),
    *_each(("fracmasked", "fracin"), _OPTICAL, ">f4"),
    *_each(("anymask", "allmask"), _OPTICAL, ">i2"),
    ("wisemask_w1", "u1"), ("wisemask_w2", "u1"),
    *_each(("psfsize", "psfdepth", "galdepth"), _OPTICAL, ">f4"),
    ("psfdepth_w1", ">f4"), ("psfdepth_w2", ">f4"), ("wise_coadd_id", "S8"),
    *((f"shape_{part}{end}", ">f4") for part in ("r", "e1", "e2") for end in ("", "_ivar")),
    *_each(("fiberflux", "fibertotflux"), _OPTICAL, ">f4"),
    ("ref_cat", "S2"), ("ref_id", ">i8"), ("ref_epoch", ">f4"),
    *((f"gaia_{name}", ">f4") for name in _GAIA),
    ("gaia_duplicated_source", "u1"), ("gaia_phot_bp_rp_excess_factor", ">f4"),
    ("gaia_astrometric_sigma5d_max", ">f4"), ("gaia_astrometric_params_solved", "u1"),
    *((f"{name}{end}", ">f4") for name in ("parallax", "pmra", "pmdec") for end in ("", "_ivar")),
    ("maskbits", ">i4"), ("fitbits", ">i2"), ("sersic", ">f4"), ("sersic_ivar", ">f4"),
]  # fmt: skip
"""Columns of a DR10 sweep in order: name, type and, of an array, its length."""


def sweeps(folder: Path, rows: int) -> Path:
    """The folder with sweeps of ``rows`` rows in all, made unless it is there."""
    from astropy.io import fits  # the product's process takes only the positions

    for number, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        path = folder / f"sweep-{number:03d}p000-{number + 1:03d}p005.fits"
        if not path.exists():
            made = _rows(min(ROWS_PER_FILE, rows - start), number)
            with atomic.replacing(path) as draft:
                fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(made)]).writeto(draft)
    return folder


def positions() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascension and declination (degrees) of listed positions: over the survey, and some in the first file."""
    rng = np.random.default_rng(5104)
    here = np.arange(POSITIONS) < _HERE
    ra = np.where(here, rng.uniform(0, 1, POSITIONS), rng.uniform(0, 360, POSITIONS))
    return ra, np.where(here, rng.uniform(0, 5, POSITIONS), rng.uniform(-18, 32, POSITIONS))


def _rows(count: int, number: int) -> NDArray[np.void]:
    """Rows of one file, one by five degrees; a quarter of them pass the cuts."""
    rng = np.random.default_rng(number)
    rows = np.frombuffer(rng.bytes(count * np.dtype(LAYOUT).itemsize), dtype=LAYOUT).copy()
    rows["release"], rows["ra"], rows["dec"] = 10000, number + rng.random(count), 5 * rng.random(count)
    brick = (rows["dec"] // 0.25).astype(int) * 4 + ((rows["ra"] - number) // 0.25).astype(int)
    names = np.array([f"{int(10 * (number + i % 4 / 4 + 0.125)):04d}p{i // 4:03d}" for i in range(80)], "S8")
    rows["brickname"], rows["objid"] = names[brick], np.arange(count)
    rows["type"] = rng.choice(_TYPES, count, p=_SHARES)
    rows["maskbits"] = np.where(rng.random(count) < 0.08, 1 << rng.integers(1, 14, count), 0)
    rows["fitbits"] = rng.integers(0, 2, count)
    flux = 10 ** rng.normal(1.0, 0.7, count)
    for band, ratio in zip((*_OPTICAL, *_WISE), (0.3, 0.6, 0.8, 1.0, 1.4, 1.0, 0.5, 0.2), strict=True):
        rows[f"flux_{band}"] = flux * ratio * rng.normal(1, 0.1, count)
        rows[f"nobs_{band}"] = rng.poisson(6, count)
        rows[f"mw_transmission_{band}"] = rng.uniform(0.8, 1, count)
    for band in _OPTICAL:
        rows[f"psfsize_{band}"] = rng.uniform(0.9, 1.8, count)
        rows[f"psfdepth_{band}"], rows[f"galdepth_{band}"] = rng.uniform(100, 900, count), rng.uniform(80, 700, count)
    rows["ebv"], rows["sersic"] = rng.uniform(0, 0.1, count), rng.uniform(0.5, 6, count)
    rows["shape_r"] = rng.uniform(0.1, 4, count)
    rows["shape_e1"], rows["shape_e2"] = rng.uniform(-0.6, 0.6, count), rng.uniform(-0.6, 0.6, count)
    return rows
