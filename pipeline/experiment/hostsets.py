"""Sets of hosts that injections can be shown and checked on: the survey's own, stamps from files, blank sky."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from etl.config import CutoutsParams
from etl.cutouts.external_stamps import OBSERVING_CONDITIONS, Imported, import_cutouts, load_des_hosts
from etl.cutouts.stampfiles import SUFFIXES
from injection.config import GridParams
from injection.experiment.hosts import Hosts
from injection.experiment.measure import sigma_from_annulus
from injection.experiment.stream import LoadHosts
from injection.optics.noise import add_sky
from lake.errors import DataError, invalid
from lake.sky.photometry import flux_from_magnitude
from lake.sky.psfsize import psfdepth_from_sigma
from lake.sky.survey import BANDS
from lake.store.stamps import StampStore
from pipeline.experiment.hosts import host_table, stamp_loader
from pipeline.project import params
from pipeline.project.context import RunContext

log = logging.getLogger(__name__)

SURVEY, BLANK = "survey", "none"
_R = BANDS.index("r")


@dataclass(frozen=True)
class Conditions:
    """Observing conditions of hosts that bring none of their own."""

    psf_fwhm_nea_arcsec: float
    """psfsize in r; g and z by the survey's ratios"""
    depth_mag: tuple[float, float, float]
    """5-sigma point-source depths of blank sky in g, r, z"""

    def __post_init__(self) -> None:
        if not 0.0 < self.psf_fwhm_nea_arcsec < np.inf:
            raise invalid("psf_fwhm_nea_arcsec", "positive", self.psf_fwhm_nea_arcsec)
        if not np.isfinite(self.depth_mag).all():
            raise invalid("depth_mag", "three finite magnitudes (g, r, z)", self.depth_mag)


@dataclass(frozen=True)
class HostSet:
    """Hosts with their conditions and pixels."""

    name: str
    """In words, for captions"""
    hosts: Hosts
    load: LoadHosts
    """Stamps (batch, band, y, x) nMgy by galaxy_id"""
    stamp_pixels: int

    def choose(self, count: int, seed: int, purpose: str) -> list[str]:
        """``count`` galaxy_ids in keyed-hash order, round and round where there are fewer hosts."""
        order = self.hosts.ordered(np.arange(len(self.hosts.ids)), seed, purpose)
        return list(self.hosts.ids.take(pa.array(np.resize(order, count))).to_pylist())


def host_set(source: str, grid: GridParams, conditions: Conditions, seed: int) -> HostSet:
    """The set that ``source`` names: ``survey``, ``none`` (blank sky), a folder (DES or cut-outs), one file."""
    if source == SURVEY:
        return _survey(grid)
    if source == BLANK:
        return _blank(grid, conditions, seed)
    cutouts = params.typed(CutoutsParams, "cutouts")
    path = Path(source)
    if (path / "g.fits").exists():
        imported = load_des_hosts(path, cutouts)
        return of_stamps(f"DES galaxies ({path.name})", imported, imported.facts, grid)
    imported = imported_cutouts(path, cutouts)
    facts = _with_conditions(imported, conditions.psf_fwhm_nea_arcsec, grid)
    own = imported.facts["psfsize_r"].null_count == 0
    taken = "" if own else f', psfsize where unknown taken as {conditions.psf_fwhm_nea_arcsec:g}"'
    return of_stamps(f"cut-outs of {path.name}{taken}", imported, facts, grid)


def _with_conditions(imported: Imported, fwhm_nea_arcsec: float, grid: GridParams) -> pa.Table:
    """Facts of cut-outs with their own conditions; else the given psfsize, and the depth from their noise."""
    facts = imported.facts
    known = {name: pc.fill_null(facts[name].cast(pa.float64()), np.nan).to_numpy() for name in OBSERVING_CONDITIONS}
    known["psfsize_r"] = np.where(known["psfsize_r"] > 0, known["psfsize_r"], fwhm_nea_arcsec)
    usable = np.asarray(np.isfinite(imported.stamps).all(axis=1))
    sigma = sigma_from_annulus(imported.stamps[:, _R], usable, *grid.sky_annulus_px)
    depth = psfdepth_from_sigma(sigma, known["psfsize_r"], facts["pixel_scale_arcsec"].to_numpy())
    known["psfdepth_r"] = np.where(known["psfdepth_r"] > 0, known["psfdepth_r"], depth)
    return pa.table({name: facts[name] for name in ("galaxy_id", "pixel_scale_arcsec")} | known)


def one_cell(grid: GridParams, hosts: Hosts, per_radius: int) -> GridParams:
    """The grid's Einstein radii, ``per_radius`` injections each, in one cell of seeing and depth for all hosts."""
    width, depth = hosts.fwhm_nea_arcsec[:, _R], hosts.depth_mag
    changes = {
        "psf_fwhm_nea_edges_arcsec": (float(width.min()) * 0.99, float(width.max()) * 1.01),
        "depth_edges_mag": (float(depth.min()) - 0.01, float(depth.max()) + 0.01),
        "per_cell": per_radius,
        "max_uses_per_host": -(-per_radius // len(width)),
    }
    return GridParams.load({**grid.model_dump(mode="json"), **changes}, "grid")


def imported_cutouts(path: Path, cutouts: CutoutsParams) -> Imported:
    """The cut-outs of a folder or of one file; at least one must be readable."""
    if not path.exists():
        raise invalid("hosts", f"'{SURVEY}', '{BLANK}', or a folder or file of stamps", str(path))
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise invalid("hosts", "an .npz file or a FITS cube, if it is a file", str(path))
    return import_cutouts(path, params.survey().collection, cutouts)


def _survey(grid: GridParams) -> HostSet:
    """Validation negatives of this checkout's lake."""
    project = params.load(Path())
    survey = project.survey
    name = f"validation negatives of the {survey.name}{' (simulated data)' if survey.simulated else ''}"
    context = RunContext("render", None, project)
    table = host_table(context)
    hosts = Hosts(table, grid.host_model)
    _some(hosts, name)
    load = stamp_loader(table, StampStore(context.root.cutouts))
    return HostSet(name, hosts, load, load([hosts.ids[0].as_py()]).shape[-1])


def _blank(grid: GridParams, conditions: Conditions, seed: int) -> HostSet:
    """Sky without galaxies: Gaussian noise of each band's depth, one sky per identifier."""
    ids = [f"blank:{index:04d}" for index in range(1000)]
    depth = (5.0 / flux_from_magnitude(conditions.depth_mag)) ** 2
    columns = {"galaxy_id": ids, "psfsize_r": np.full(len(ids), conditions.psf_fwhm_nea_arcsec)}
    columns |= {f"psfdepth_{band}": np.full(len(ids), depth[index]) for index, band in enumerate(BANDS)}
    hosts = Hosts(pa.table(columns), grid.host_model)
    pixels = params.typed(CutoutsParams, "cutouts").stamp_pixels
    sigma = hosts.pixel_sigma_nmgy[:1]

    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        empty = np.zeros((len(galaxy_ids), len(BANDS), pixels, pixels), np.float32)
        return add_sky(empty, np.repeat(sigma, len(galaxy_ids), axis=0), seed, pa.array(galaxy_ids))

    depths = ", ".join(f"{band} {mag:g}" for band, mag in zip(BANDS, conditions.depth_mag, strict=True))
    return HostSet(f'blank sky, psfsize {conditions.psf_fwhm_nea_arcsec:g}", depth {depths}', hosts, load, pixels)


def of_stamps(name: str, imported: Imported, facts: pa.Table, grid: GridParams) -> HostSet:
    """Hosts that passed their quality checks."""
    good = np.array([status == "ok" for status in imported.rows["status"].to_pylist()], dtype=bool)
    if not good.all():
        bad = next(reason for reason in imported.rows["reason"].to_pylist() if reason is not None)
        log.warning("%d of %d hosts left out, first: %s", (~good).sum(), len(good), bad)
    hosts = Hosts(facts.filter(pa.array(good)), grid.host_model)
    _some(hosts, name)
    if len(hosts.ids) < good.sum():
        log.warning("%d of %d hosts left out: no PSF, or no depth in r", good.sum() - len(hosts.ids), len(good))
    place = {galaxy_id: index for index, galaxy_id in enumerate(facts["galaxy_id"].to_pylist())}

    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        return imported.stamps[[place[galaxy_id] for galaxy_id in galaxy_ids]]

    return HostSet(name, hosts, load, imported.stamps.shape[-1])


def _some(hosts: Hosts, name: str) -> None:
    if not len(hosts.ids):
        raise DataError(f"no usable host among the {name}: each needs a PSF and a depth in r")
