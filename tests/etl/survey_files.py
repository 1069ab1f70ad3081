"""Small survey files in the real formats, written by astropy, and the parameters tests use."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from etl.config import (
    CandidatesParams,
    CutoutsParams,
    ManifestParams,
    NegativesParams,
    PoolParams,
)
from etl.files import sweeps
from etl.files.sweepfiles import Sweep
from etl.stampconfig import PlanParams, StampCutting, StampManifestParams
from lake.config import Section, SplitParams
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC

SPLIT = SplitParams(seed=42, train_below=0.70, val_below=0.85, threshold_share=0.5, negatives_nside=4096)
_BASE = Path(__file__).resolve().parents[2] / "params" / "base.yaml"
_SECTIONS: dict[str, type[Section]] = {
    "pool": PoolParams,
    "candidates": CandidatesParams,
    "negatives": NegativesParams,
    "cutouts": CutoutsParams,
    "manifest": ManifestParams,
    "plan": PlanParams,
    "stamp_manifest": StampManifestParams,
}


def sweep_of(path: Path) -> Sweep:
    """A sweep file by itself."""
    return Sweep(path.name, str(path))


def read_rows(path: Path, stop: int | None = None) -> pa.Table:
    """All rows of a sweep as they are decoded, or those up to row ``stop``."""
    with sweeps.reading(sweep_of(path), stop) as file:
        read = [
            sweeps.decoded(file, raw.view(file.dtype)[:, 0], path.name, np.arange(start, start + len(raw)))
            for start, raw in file.rows()
        ]
    return pa.concat_tables([sweeps.ROWS_SCHEMA.empty_table(), *read])


@cache
def _base() -> dict[str, Any]:
    """The project's base parameters, read once."""
    values: dict[str, Any] = yaml.safe_load(_BASE.read_text())
    return values


def params(section: str, **changes: object) -> Any:
    """A section of the project's base parameters, with changes."""
    values = _base()[section]
    return _SECTIONS[section].load({**values, **changes}, section)


def stamp_cutting(**changes: object) -> StampCutting:
    """How the hosts of simulated stamps are cut out in the project's base parameters, with changes."""
    values = _base()["stamps"]["cutting"]
    return StampCutting.load({**values, **changes}, "stamps.cutting")


def sources(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Columns of a DR10-style sweep whose rows all pass the pool's cuts."""
    rng = np.random.default_rng(seed)
    flux = rng.uniform(20, 200, count).astype(np.float32)
    columns: dict[str, np.ndarray] = {
        "RELEASE": np.full(count, 10000, np.int16),
        "BRICKNAME": np.full(count, "0001p000", "S8"),
        "OBJID": np.arange(count, dtype=np.int32),
        "TYPE": rng.choice(np.array(["SER", "DEV", "REX"], "S3"), count),
        "RA": rng.uniform(0, 10, count),
        "DEC": rng.uniform(-5, 5, count),
        "DCHISQ": rng.normal(size=(count, 5)).astype(np.float32),
        "EBV": rng.uniform(0, 0.1, count).astype(np.float32),
        "MASKBITS": np.zeros(count, np.int32),
        "FITBITS": np.zeros(count, np.int16),
        "SERSIC": rng.uniform(0.5, 6, count).astype(np.float32),
        "SHAPE_R": rng.uniform(0.3, 3, count).astype(np.float32),
        "SHAPE_E1": rng.uniform(-0.4, 0.4, count).astype(np.float32),
        "SHAPE_E2": rng.uniform(-0.4, 0.4, count).astype(np.float32),
        "FLUX_W1": flux,
    }
    for band, ratio in zip("GRZ", (0.3, 0.6, 1.0), strict=True):
        columns[f"FLUX_{band}"] = (ratio * flux).astype(np.float32)
        columns[f"NOBS_{band}"] = rng.integers(3, 14, count).astype(np.int16)
        columns[f"PSFSIZE_{band}"] = rng.uniform(0.9, 1.8, count).astype(np.float32)
        for kind in ("PSFDEPTH", "GALDEPTH", "MW_TRANSMISSION"):
            columns[f"{kind}_{band}"] = rng.uniform(0.5, 1, count).astype(np.float32)
    return columns


_MADE: dict[tuple[object, ...], bytes] = {}
"""Files that were made before, by what is in them: astropy takes longest to write their headers."""


def _content(array: np.ndarray) -> tuple[object, ...]:
    return (array.shape, array.dtype.str, hashlib.sha256(np.ascontiguousarray(array)).digest())


def write_sweep(path: Path, columns: dict[str, np.ndarray], lower: bool = False) -> Path:
    """Write a sweep; ``lower`` as the releases with lower-case names."""
    named = {name.lower() if lower else name: np.asarray(values) for name, values in columns.items()}
    key = ("sweep", *((name, *_content(values)) for name, values in named.items()))
    if key not in _MADE:
        Table(named).write(path, format="fits", overwrite=True)
        _MADE[key] = path.read_bytes()
    path.write_bytes(_MADE[key])
    return path


def write_brick(survey: Path, name: str, ra_deg: float, dec_deg: float, images: dict[str, np.ndarray]) -> WCS:
    """Write a brick's coadds: images by band, and 'maskbits', 'invvar-r', 'psfsize-r', ..."""
    pixels = next(iter(images.values())).shape[0]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra_deg, dec_deg]
    wcs.wcs.crpix = [pixels / 2 + 0.5, pixels / 2 + 0.5]
    wcs.wcs.cd = np.array([[-1, 0], [0, 1]]) * PIXEL_SCALE_ARCSEC / 3600
    folder = survey / "coadds" / name[:3] / name
    folder.mkdir(parents=True, exist_ok=True)
    for kind, image in images.items():
        suffix = f"image-{kind}" if kind in BANDS else kind
        key = ("coadd", ra_deg, dec_deg, pixels, *_content(image))
        if key not in _MADE:
            _MADE[key] = _coadd(image, wcs)
        (folder / f"legacysurvey-{name}-{suffix}.fits.fz").write_bytes(_MADE[key])
    return wcs


def _coadd(image: np.ndarray, wcs: WCS) -> bytes:
    kind = "RICE_1" if image.dtype.kind == "i" else "GZIP_2"
    compressed = fits.CompImageHDU(image, wcs.to_header(), compression_type=kind, quantize_level=0)
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(file)
    return file.getvalue()


def write_bricks(survey: Path, bricks: dict[str, tuple[float, float]]) -> None:
    """Write ``survey-bricks.fits``."""
    names = list(bricks)
    ra, dec = (np.array([bricks[name][i] for name in names]) for i in (0, 1))
    columns = {"BRICKNAME": np.array(names, "S8"), "RA": ra, "DEC": dec}
    columns |= {"RA1": ra - 0.125, "RA2": ra + 0.125, "DEC1": dec - 0.125, "DEC2": dec + 0.125}
    survey.mkdir(parents=True, exist_ok=True)
    Table(columns).write(survey / "survey-bricks.fits", overwrite=True)
