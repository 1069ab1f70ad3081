"""Stamps made elsewhere: folders of cut-outs, and the 46 DES galaxies; judged and packed like our own."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.config import CutoutsParams
from etl.cutouts import qa, stampfiles
from etl.cutouts.cutter import CONDITIONS
from lake import tables
from lake.errors import DataError
from lake.files import fitslayout
from lake.sky.imaging import Imaging
from lake.sky.photometry import depth_mag_from_psfdepth, psfdepth_from_sigma
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC, PIXEL_SCALE_TOLERANCE, PSFSIZE_RELATIVE_TO_R, SURVEY
from lake.store import quarantine
from lake.store.stamps import stamp_hash

log = logging.getLogger(__name__)

DES = Imaging(
    name="DES",
    bands=BANDS,
    reference_band="r",
    pixel_scale_arcsec=0.263,
    zero_point_mag=30.0,
    psf=SURVEY.psf,
    width_ratios=SURVEY.width_ratios,
    noise="pixel_sigma",
    picture_weights=SURVEY.picture_weights,
)
"""The stamps of the DES galaxies: DECam's bands, on DES's own pixels; their noise is measured on them."""
_DES_COUNT = 46
_SKY_BEYOND_PX = 38.0
"""Pixels of a DES stamp farther out than this measure its sky noise."""
_SIGMA_PER_MAD = 1.4826


@dataclass(frozen=True)
class Imported:
    """Stamps (n, band, y, x) in nMgy with their ``cutouts`` rows (not yet in a shard) and facts, row by row.

    ``rejected`` are the files that could not be used (``quarantine.SCHEMA``).
    """

    stamps: NDArray[np.float32]
    rows: pa.Table
    facts: pa.Table
    rejected: pa.Table
    imaging: Imaging = SURVEY


def import_cutouts(place: Path, collection: str, params: CutoutsParams) -> Imported:
    """Cut-outs of one file, or of a folder and its subfolders: NPZ files, FITS cubes from the survey's viewer.

    Everything found there is a row of ``facts`` or, with its reason, of ``rejected``; a warning counts the latter.
    Of files with the same pixels the first is kept; of those with the same identifier but other pixels the later ones
    carry their file's name in it.
    Facts: galaxy_id, name, ra, dec, tier, pixel_scale_arcsec, source_file.
    """
    entries = stampfiles.listed(place)
    if all(entry.fault == stampfiles.OTHER_KIND for entry in entries):
        raise DataError(f"{place} contains no cut-out: no .npz or .fits file among {len(entries)} files")
    stamps, facts, bad = [], [], []
    pixels: dict[str, str] = {}
    for entry in entries:
        try:
            stamp, fact = _cutout(entry, collection, params)
            first = pixels.setdefault(stamp_hash(stamp), entry.name)
            if first != entry.name:
                raise DataError(f"{entry.name} has the same pixels as {first}")
        except DataError as error:
            bad.append({"source_file": entry.name, "row_index": -1, "reason": str(error)})
        else:
            stamps.append(without_zeros(stamp))
            facts.append(fact)
    if not facts:
        raise DataError(f"none of the {len(bad)} files of {place} can be used: {bad[0]['reason']}")
    if bad:
        log.warning("%d of %d files of %s are not used, first: %s", len(bad), len(entries), place, bad[0]["reason"])
    _tell_apart(facts)
    whole = np.stack(stamps)
    rows = judged(whole, [str(fact["galaxy_id"]) for fact in facts], params, f"npz {collection}")
    return Imported(whole, rows, pa.Table.from_pylist(facts), pa.Table.from_pylist(bad, schema=quarantine.SCHEMA))


def _cutout(
    entry: stampfiles.Entry, collection: str, params: CutoutsParams
) -> tuple[NDArray[np.float32], dict[str, object]]:
    """The stamp of one file, cut to size, and its facts."""
    if entry.fault:
        raise DataError(f"{entry.name}: {entry.fault}")
    stamp, meta = stampfiles.read(entry.path)
    size, extra = params.stamp_pixels, stamp.shape[-1] - params.stamp_pixels
    if extra < 0 or extra % 2:
        raise DataError(
            f"{entry.name}: the stamp must be {size} px wide, got {stamp.shape[-1]}; cut out a window of {size} px, or "
            "of a larger odd number, with the source on its central pixel"
        )
    lacking = [name for name in ("galaxy_id", "ra", "dec", "pixel_scale") if name not in meta]
    if lacking:
        raise DataError(f"{entry.name} lacks {', '.join(f'meta_{name}' for name in lacking)}")
    ra, dec, scale = (_number(meta, name, entry.name) for name in ("ra", "dec", "pixel_scale"))
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        raise DataError(f"{entry.name}: meta_ra and meta_dec must lie in [0, 360] and [-90, 90], got {ra}, {dec}")
    if not abs(scale / PIXEL_SCALE_ARCSEC - 1) <= PIXEL_SCALE_TOLERANCE:
        raise DataError(
            f"{entry.name}: the pixel scale must be within {PIXEL_SCALE_TOLERANCE:.0%} of {PIXEL_SCALE_ARCSEC} arcsec, "
            f"got {scale}; resample the image"
        )
    name = str(meta["galaxy_id"])
    fact: dict[str, object] = {
        "galaxy_id": f"{collection}:{name}",
        "name": name,
        "ra": ra,
        "dec": dec,
        "tier": str(meta["tier"]) if "tier" in meta else None,
        "pixel_scale_arcsec": scale,
        "source_file": entry.name,
        **{n: _number(meta, n, entry.name) if n in meta else None for n in CONDITIONS},
    }
    inner = slice(extra // 2, extra // 2 + size)
    return np.ascontiguousarray(stamp[:, inner, inner]), fact


def _number(meta: Mapping[str, object], name: str, file: str) -> float:
    try:
        value = float(str(meta[name]))
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{file}: meta_{name} must be a finite number, got {meta[name]!r}")
    return value


def _tell_apart(facts: Sequence[dict[str, object]]) -> None:
    """Make the identifiers of the cut-outs unique."""
    first_of = {fact["galaxy_id"]: fact for fact in reversed(facts)}
    repeated = [fact for fact in facts if fact is not first_of[fact["galaxy_id"]]]
    for fact in repeated:
        fact["galaxy_id"] = f"{fact['galaxy_id']}@{fact['source_file']}"
    if repeated:
        first = repeated[0]["source_file"]
        log.warning(
            "%d cut-outs repeat a galaxy_id, first: %s; they carry their file's name in it", len(repeated), first
        )


def load_des_hosts(folder: Path, params: CutoutsParams) -> Imported:
    """The 46 DES red galaxies as host stamps (46, 3, 91, 91) in nMgy, 0.263" per pixel.

    Their files carry no header: the zero point is 30 by convention, so a unit is 1e-3 nMgy. The seeing of single
    images is not known: each gets the mean of the distribution in ``seeing.txt`` in r, and the survey's ratios to it in
    g and z. As in the lens simulations these files come from, it is the FWHM of a Gaussian, and so a psfsize as
    it is. The depth follows from it and from the noise of the image's outer part.
    Facts: galaxy_id, name, psfsize_g, psfsize_r, psfsize_z, psfdepth_r, depth_mag_r, sky_sigma_r_nmgy,
    pixel_scale_arcsec.
    """
    unit_nmgy = DES.nanomaggies_per_unit
    planes = [_des_band(folder, band) * unit_nmgy for band in DES.bands]
    stamps = without_zeros(np.stack(planes, axis=1).astype(np.float32))
    fwhm = _mean_seeing(folder / "seeing.txt")
    sigma = _sky_sigma(stamps[:, DES.reference])
    depth = psfdepth_from_sigma(sigma, fwhm, DES.pixel_scale_arcsec)
    ids = [f"des46:{i:03d}" for i in range(len(stamps))]
    facts = {
        "galaxy_id": ids,
        "name": ids,
        **{f"psfsize_{b}": np.full(len(ids), fwhm * PSFSIZE_RELATIVE_TO_R[b], dtype=np.float32) for b in BANDS},
        "psfdepth_r": depth.astype(np.float32),
        "depth_mag_r": depth_mag_from_psfdepth(depth),
        "sky_sigma_r_nmgy": sigma,
        "pixel_scale_arcsec": np.full(len(ids), DES.pixel_scale_arcsec),
    }
    rows = judged(stamps, ids, params, "des46")
    return Imported(stamps, rows, pa.table(facts), quarantine.SCHEMA.empty_table(), DES)


def _des_band(folder: Path, band: str) -> NDArray[np.float64]:
    path = folder / f"{band}.fits"
    with fitslayout.opened(path, f"{path} cannot be read") as hdus:
        shape = tuple(hdus[0].shape)
        if len(shape) != 3 or shape[0] != _DES_COUNT or shape[1] != shape[2]:
            raise ValueError(f"it must be ({_DES_COUNT}, n, n), got {shape}")
        return np.asarray(hdus[0].data, dtype=np.float64)


def _mean_seeing(path: Path) -> float:
    try:
        if not path.is_file():
            raise ValueError("it is not a file")
        table = np.loadtxt(path, skiprows=1, ndmin=2)
        mean = float(np.average(table[:, 0], weights=table[:, 1]))
    except (OSError, ValueError, IndexError, ZeroDivisionError) as error:
        raise DataError(f"{path} is not a table of seeing and weight: {error}") from error
    if not 0 < mean < np.inf:
        raise DataError(f"{path} must give a positive seeing, got {mean}")
    return mean


def _sky_sigma(images: NDArray[np.float32]) -> NDArray[np.float64]:
    centre = (images.shape[-1] - 1) / 2
    y, x = np.indices(images.shape[1:])
    sky = images[:, np.hypot(x - centre, y - centre) > _SKY_BEYOND_PX].astype(np.float64)
    known = np.isfinite(sky).any(axis=1)
    sky[~known] = 0.0
    spread = np.abs(sky - np.nanmedian(sky, axis=1, keepdims=True))
    return np.where(known, _SIGMA_PER_MAD * np.nanmedian(spread, axis=1), np.nan)


def without_zeros(stamps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stamps without weights, NaN where a band is exactly zero: surveys write zeros where they have no data."""
    return np.where(stamps == 0, np.float32(np.nan), stamps)


def judged(stamps: NDArray[np.float32], ids: Sequence[str], params: CutoutsParams, source: str) -> pa.Table:
    """``cutouts`` rows of stamps (n, band, y, x), in their order, without a place in a shard."""
    made = hashlib.sha256(f"{source} {stamps.shape[-1]} {params.digest()}".encode()).hexdigest()[:16]
    verdicts = qa.judged(stamps, None, params)
    return tables.spec("cutouts").table(
        [
            {"galaxy_id": name, "cutout_version": made, "sha256": stamp_hash(stamp), **verdict}
            for name, stamp, verdict in zip(ids, stamps, verdicts, strict=True)
        ]
    )
