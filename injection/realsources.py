"""Real galaxies as sources: stamps of a GalSim RealGalaxyCatalog or of an HDF5 bank, cleaned and normalised.

A stamp is cut down to the galaxy (sky subtracted, neighbours and noise outside its footprint masked), centred on its
light and normalised to a flux of one. Its own PSF (0.1 arcsec from HST) stays in it: it is a tenth of a survey's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import ndimage

from injection import _image_rays, _pack
from injection._rays import Scene
from injection.config import Quadrature
from injection.keyed import Keyed
from injection.lens import Lens, largest_deflection, rotated
from injection.priors import Prior, clump_log_density
from injection.render import Images, trace
from lake.errors import DataError, invalid
from lake.survey import PIXEL_SCALE_ARCSEC

Array = NDArray[np.float64]

_SMOOTHING_PX = 2.0
_FOOTPRINT_SIGMAS = 2.0
_ONE_RAY_EXTENT, _FOUR_RAYS_EXTENT = 0.25, 1.0
"""Squared half-extents in image pixels: one ray below an extent of 1 pixel, four below 2."""


@dataclass(frozen=True)
class SourceBank:
    """Cleaned stamps of real galaxies, each of unit flux."""

    ids: tuple[str, ...]
    images: tuple[Images, ...]
    """(y, x), sum one, the outermost pixels empty"""
    centres_px: Array
    """(galaxy, 2) x, y of the light's centroid"""
    half_light_px: Array
    """(galaxy,) circularised half-light radius"""
    colours: Array
    """(galaxy, 2) g - r and r - z; NaN where the catalogue has none"""

    def index(self, stamp_id: str) -> int:
        if stamp_id not in self.ids:
            raise invalid("src_stamp_id", f"one of the bank's {len(self.ids)} galaxies", stamp_id)
        return self.ids.index(stamp_id)


def read_real_galaxy_catalog(path: Path, min_snr: float) -> tuple[SourceBank, dict[str, str]]:
    """The bank of a RealGalaxyCatalog (``<path>``, ``<path>_fits`` beside it if any), and why others were left out."""
    from astropy.io import fits
    from astropy.table import Table

    try:
        catalogue = Table.read(path)
        colours = _catalogue_colours(path)
        stamps: dict[str, Images] = {}
        for name in sorted(set(catalogue["GAL_FILENAME"])):
            file = path.parent / str(name).strip()
            if not file.exists():
                raise DataError(f"{path} names its images {file.name}, which does not exist beside it")
            rows = catalogue[catalogue["GAL_FILENAME"] == name]
            with fits.open(file) as images:
                stamps |= {str(row["IDENT"]): np.array(images[int(row["GAL_HDU"])].data, np.float32) for row in rows}
    except (OSError, KeyError, IndexError) as error:
        raise DataError(f"{path} is no RealGalaxyCatalog: {error}") from error
    noise = {str(row["IDENT"]): float(np.sqrt(row["NOISE_VARIANCE"])) for row in catalogue}
    return make_bank(stamps, noise, colours, min_snr)


def _catalogue_colours(path: Path) -> dict[str, tuple[float, float]]:
    from astropy.table import Table

    beside = path.with_name(path.stem + "_fits" + path.suffix)
    if not beside.exists():
        return {}
    table = Table.read(beside)
    if not {"HSC_g", "HSC_r", "HSC_z"} <= set(table.colnames):
        return {}
    return {str(r["IDENT"]): (float(r["HSC_g"] - r["HSC_r"]), float(r["HSC_r"] - r["HSC_z"])) for r in table}


def make_bank(
    stamps: dict[str, Images], noise: dict[str, float], colours: dict[str, tuple[float, float]], min_snr: float
) -> tuple[SourceBank, dict[str, str]]:
    """Clean stamps (y, x) with a noise per pixel; returns the bank and the reason for each galaxy left out."""
    kept, refused = [], {}
    for stamp_id, stamp in stamps.items():
        cleaned = clean(stamp, noise[stamp_id], min_snr)
        if isinstance(cleaned, str):
            refused[stamp_id] = cleaned
        else:
            kept.append((stamp_id, cleaned))
    if not kept:
        raise DataError(f"none of {len(stamps)} source stamps can be used, first: {next(iter(refused.values()), '')}")
    shapes = [_centre_and_radius(image) for _, image in kept]
    bank = SourceBank(
        tuple(stamp_id for stamp_id, _ in kept),
        tuple(image for _, image in kept),
        np.array([shape[:2] for shape in shapes]),
        np.array([shape[2] for shape in shapes]),
        np.array([colours.get(stamp_id, (np.nan, np.nan)) for stamp_id, _ in kept]),
    )
    return bank, refused


def clean(stamp: Images, noise: float, min_snr: float) -> Images | str:
    """The galaxy alone, of unit flux with an empty border, or why it cannot be used."""
    if not np.isfinite(stamp).all() or not noise > 0:
        return "stamp or noise is not finite"
    edge = np.concatenate([stamp[0], stamp[-1], stamp[:, 0], stamp[:, -1]])
    image = stamp.astype(np.float64) - np.median(edge)
    smooth = ndimage.gaussian_filter(image, _SMOOTHING_PX)
    bright = smooth > _FOOTPRINT_SIGMAS * noise / (2.0 * np.sqrt(np.pi) * _SMOOTHING_PX)
    labels, _ = ndimage.label(bright)
    middle = labels[image.shape[0] // 2, image.shape[1] // 2]
    if middle == 0:
        return "nothing significant at the stamp's centre"
    footprint = ndimage.binary_dilation(labels == middle, iterations=2)
    inside = np.where(footprint, image, 0.0)
    snr = inside.sum() / (noise * np.sqrt(footprint.sum()))
    if not snr >= min_snr:
        return f"signal to noise {snr:.1f} is below {min_snr:g}"
    return (np.pad(inside, 2) / inside.sum()).astype(np.float32)


def _centre_and_radius(image: Images) -> tuple[float, float, float]:
    y, x = np.indices(image.shape)
    cx, cy = float((image * x).sum()), float((image * y).sum())
    radius = np.hypot(x - cx, y - cy).ravel()
    order = np.argsort(radius)
    enclosed = np.cumsum(image.ravel()[order], dtype=np.float64)
    return cx, cy, float(np.interp(0.5, np.maximum.accumulate(enclosed), radius[order]))


def with_real_sources(rows: pa.Table, bank: SourceBank, prior: Prior, seed: int, catalogue_colours: bool) -> pa.Table:
    """Drawn rows with real galaxies for sources: any of the bank alike, at the drawn size, turn, place and magnitude.

    Colours are the catalogue's where asked for and known, else the drawn ones. ``log_prior`` loses what no longer
    applies (index, axis ratio, clumps) and gains the choice of the galaxy.
    """
    ids = rows.column("injection_id").combine_chunks()
    chosen = np.minimum((Keyed(seed, ids).uniform("src_stamp_id") * len(bank.ids)).astype(int), len(bank.ids) - 1)
    count = rows.num_rows

    def column(name: str) -> Array:
        return np.asarray(rows.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)

    gone = clump_log_density(prior, column)
    for name in ("src_n", "src_q"):
        gone = gone + getattr(prior, name).log_density(column(name))
    changes: dict[str, pa.Array] = {name: pa.nulls(count, pa.float64()) for name in ("src_n", "src_q")}
    changes |= {
        f"src_clump{k}_{part}_arcsec": pa.nulls(count, pa.float64()) for k in (1, 2, 3) for part in ("x", "y", "re")
    }
    changes["src_clumps"] = pa.array(np.zeros(count, np.int32))
    changes["src_clump_fraction"] = pa.array(np.zeros(count))
    changes["src_model"] = pa.array(["real"] * count)
    changes["src_stamp_id"] = pa.array([bank.ids[index] for index in chosen])
    changes["log_prior"] = pa.array(column("log_prior") - gone - np.log(len(bank.ids)))
    if catalogue_colours:
        for place, name in enumerate(("src_g_minus_r", "src_r_minus_z")):
            own = bank.colours[chosen, place]
            changes[name] = pa.array(np.where(np.isfinite(own), own, column(name)))
    for name, values in changes.items():
        rows = rows.set_column(rows.column_names.index(name), name, values)
    return rows


@dataclass(frozen=True)
class BankSources:
    """The sources of ``render_arcs`` where rows may be real galaxies of a bank."""

    bank: SourceBank

    def faults(self, rows: pa.Table) -> list[str | None]:
        models, ids = (rows.column(name).to_pylist() for name in ("src_model", "src_stamp_id"))
        known = set(self.bank.ids)
        return [
            str(invalid("src_stamp_id", "a galaxy of the bank", stamp_id))
            if model == "real" and stamp_id not in known
            else None
            for model, stamp_id in zip(models, ids, strict=True)
        ]

    def trace(self, rows: pa.Table, stamp_pixels: int, quadrature: Quadrature) -> tuple[Images, NDArray[np.int64]]:
        real = np.asarray(rows.column("src_model")) == "real"
        images = np.empty((rows.num_rows, stamp_pixels**2 + 1), dtype=np.float32)
        rays = np.zeros(rows.num_rows, dtype=np.int64)
        if real.any():
            images[real], rays[real] = trace_real(rows.filter(pa.array(real)), self.bank, stamp_pixels, quadrature)
        if not real.all():
            images[~real], rays[~real] = trace(rows.filter(pa.array(~real)), stamp_pixels, quadrature)
        return images, rays


def trace_real(
    rows: pa.Table, bank: SourceBank, stamp_pixels: int, quadrature: Quadrature
) -> tuple[Images, NDArray[np.int64]]:
    """Pixel integrals of lensed real galaxies of unit flux, as ``render.trace`` gives them, and the rays."""
    lens = Lens.from_rows(rows)
    images = np.empty((rows.num_rows, stamp_pixels**2 + 1), dtype=np.float32)
    rays = np.zeros(rows.num_rows, dtype=np.int64)
    places = [
        np.asarray(rows.column(f"src_{name}").to_numpy()) for name in ("x_arcsec", "y_arcsec", "re_arcsec", "pa_rad")
    ]
    for row, stamp_id in enumerate(rows.column("src_stamp_id").to_pylist()):
        galaxy = bank.index(stamp_id)
        scene = _scene(lens.row(row), tuple(float(place[row]) for place in places), bank, galaxy, quadrature)
        capacity = 1 << 16
        rays[row] = -1
        while rays[row] < 0:
            work = (np.empty((9, capacity), np.float32), np.empty((3, capacity), np.int32))
            rays[row] = _image_rays.trace(scene, bank.images[galaxy], work, images[row])
            capacity *= 4
    return images, rays


def _scene(lens: Lens, place: tuple[float, ...], bank: SourceBank, galaxy: int, quadrature: Quadrature) -> Scene:
    """The backend's scene of one real galaxy."""
    x, y, half_light, angle = place
    u, v = rotated(x - lens.x_arcsec, y - lens.y_arcsec, lens.pa_rad)
    per_arcsec = bank.half_light_px[galaxy] / half_light
    turn = angle - float(lens.pa_rad)
    fields = {
        "u": float(u),
        "v": float(v),
        "along": per_arcsec * np.cos(turn),
        "across": per_arcsec * np.sin(turn),
        "centre_x": bank.centres_px[galaxy, 0],
        "centre_y": bank.centres_px[galaxy, 1],
        "brightness": per_arcsec**2,
    }
    extent = np.hypot(*bank.images[galaxy].shape) / per_arcsec
    shear = float(np.hypot(lens.gamma1, lens.gamma2))
    offset = float(np.hypot(u, v)) + float(largest_deflection(lens.theta_e_arcsec, lens.q))
    limits = np.array([_ONE_RAY_EXTENT, _FOUR_RAYS_EXTENT, 0.1 * quadrature.negligible_flux], np.float32)
    return Scene(
        **_pack.lens_fields(Lens.of(*(np.atleast_1d(getattr(lens, name)) for name in lens.__dataclass_fields__))),
        parts=np.array([[[fields[name] for name in _image_rays.PART_FIELDS]]], np.float32),
        counts=np.ones(1, np.int64),
        reaches=np.array([[(offset + extent) / (1.0 - shear) + PIXEL_SCALE_ARCSEC]], np.float32),
        scale=np.float32(PIXEL_SCALE_ARCSEC),
        levels=quadrature.levels,
        limits=limits,
    )


def write_bank(path: Path, bank: SourceBank) -> None:
    """Write a bank as HDF5, one data set per galaxy."""
    import h5py

    with h5py.File(path, "w") as file:
        for k, stamp_id in enumerate(bank.ids):
            data = file.create_dataset(f"images/{stamp_id}", data=bank.images[k])
            data.attrs["centre_px"] = bank.centres_px[k]
            data.attrs["half_light_px"] = bank.half_light_px[k]
            data.attrs["colours"] = bank.colours[k]


def read_bank(path: Path) -> SourceBank:
    """A bank written by :func:`write_bank`."""
    import h5py

    try:
        with h5py.File(path) as file:
            sets = [(name, data[()], dict(data.attrs)) for name, data in sorted(file["images"].items())]
    except (OSError, KeyError) as error:
        raise DataError(f"{path} is no source bank: {error}") from error
    return SourceBank(
        tuple(name for name, _, _ in sets),
        tuple(np.asarray(image, np.float32) for _, image, _ in sets),
        np.array([attributes["centre_px"] for _, _, attributes in sets]),
        np.array([attributes["half_light_px"] for _, _, attributes in sets]),
        np.array([attributes["colours"] for _, _, attributes in sets]),
    )
