"""The host sets that injections are made into: the survey's own, stamps from files, blank sky."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.spatial import cKDTree

from etl.config import CutoutsParams
from etl.cutouts.external_stamps import OBSERVING_CONDITIONS, Imported, import_cutouts, load_des_hosts
from etl.cutouts.stampfiles import SUFFIXES
from injection.config import GridParams
from injection.engine.render import Images
from injection.experiment.hostset import Conditions, HostSet, blank_sky, in_memory
from injection.experiment.measure import R_BAND, sigma_from_annulus
from lake.errors import DataError, invalid
from lake.sky.psfsize import psfdepth_from_sigma
from lake.sky.sphere import ARCSEC_PER_RADIAN, chord, tangent_plane, unit_vectors
from lake.sky.split import HOST, negative_uses
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC
from lake.store import delta
from lake.store.stamps import PLACE, StampStore
from pipeline.project.project import Project

log = logging.getLogger(__name__)

SURVEY, BLANK = "survey", "none"
_CONDITIONS = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in BANDS]
_SHAPES = ["galaxy_id", "type", "shape_e1", "shape_e2"]

Read = Callable[..., pa.Table]
"""Rows of a table: name, columns, ``slices`` and ``ordered`` as in ``lake.store.delta.read``."""


def host_set(project: Project, source: str, grid: GridParams, conditions: Conditions, seed: int) -> HostSet:
    """The set that ``source`` names: ``survey``, ``none`` (blank sky), a folder (DES or cut-outs), one file."""
    if source == SURVEY:
        return survey_hosts(project, partial(delta.read, project.data), grid.host_model)
    cutouts = project.section(CutoutsParams, "cutouts")
    if source == BLANK:
        return blank_sky(conditions, cutouts.stamp_pixels, grid.host_model, seed)
    path = Path(source)
    if (path / "g.fits").exists():
        imported = load_des_hosts(path, cutouts)
        return of_stamps(f"DES galaxies ({path.name})", imported, imported.facts, grid.host_model)
    imported = imported_cutouts(project, path)
    facts = _with_conditions(imported, conditions.psf_fwhm_nea_arcsec, grid)
    own = imported.facts["psfsize_r"].null_count == 0
    taken = "" if own else f', psfsize where unknown taken as {conditions.psf_fwhm_nea_arcsec:g}"'
    return of_stamps(f"cut-outs of {path.name}{taken}", imported, facts, grid.host_model)


def survey_hosts(project: Project, read: Read, host_model: str) -> HostSet:
    """Validation negatives that fix no threshold, with seeing, depth, type and shape.

    One whose stamp holds a listed position is not a host: the injected arc would lie next to a lens.
    """
    survey, where = project.survey, ["ra", "dec", "split", "label"]
    manifest = read("manifest", ["galaxy_id", *PLACE, *_CONDITIONS, *where], slices=[survey.audit_manifest])
    uses = negative_uses(manifest["ra"], manifest["dec"], manifest["split"], manifest["label"], survey.split)
    chosen = manifest.filter(pa.array(uses == HOST))
    name = f"validation negatives of the {survey.name}{' (simulated data)' if survey.simulated else ''}"
    if not chosen.num_rows:
        raise DataError(f"no galaxy can host injections: there are no {name} kept for that")
    store = StampStore(project.data.cutouts)
    pixels = store.shard(chosen["shard"][0].as_py()).shape[-1]
    chosen = without_listed(chosen, read("lens_candidates", ["ra", "dec"], ordered=False), pixels)
    known = pc.and_(pc.greater(chosen["psfsize_r"], 0), pc.greater(chosen["psfdepth_r"], 0))
    if chosen.num_rows and not pc.any(known).as_py():
        raise DataError(
            f"no galaxy can host injections: none of the {chosen.num_rows} validation negatives kept for that has a "
            "psfsize_r and a psfdepth_r, from the sweeps or from the coadds (psfsize-r, invvar-r)"
        )
    pool = read("tractor_pool", _SHAPES, ordered=False)
    table = chosen.drop_columns(where).join(pool, "galaxy_id", join_type="inner").sort_by("galaxy_id")
    place = {galaxy_id: row for row, galaxy_id in enumerate(table["galaxy_id"].to_pylist())}
    places = table.select(list(PLACE)).combine_chunks()

    def load(galaxy_ids: Sequence[str]) -> Images:
        return store.get(places.take(pa.array([place[galaxy_id] for galaxy_id in galaxy_ids])))

    return HostSet(name, table, load, pixels, host_model)


def without_listed(galaxies: pa.Table, listed: pa.Table, stamp_pixels: int) -> pa.Table:
    """Galaxies (ra, dec) without a listed position in their stamp, north up; how many are left out is logged."""
    half = (stamp_pixels + 1) / 2 * PIXEL_SCALE_ARCSEC
    ra, dec = (galaxies[name].to_numpy() for name in ("ra", "dec"))
    listed_ra, listed_dec = (listed[name].to_numpy() for name in ("ra", "dec"))
    around = cKDTree(unit_vectors(listed_ra, listed_dec)).query_ball_point(
        unit_vectors(ra, dec), chord(half * np.sqrt(2.0) * 1.001)
    )
    near = np.repeat(np.arange(len(ra)), [len(each) for each in around])
    others = np.array([each for found in around for each in found], dtype=np.int64)
    offsets = tangent_plane(ra[near], dec[near], listed_ra[others], listed_dec[others])
    inside = np.maximum(*np.abs(offsets)) * ARCSEC_PER_RADIAN <= half
    clear = np.ones(len(ra), dtype=bool)
    clear[near[inside]] = False
    if not clear.all():
        log.info("%d of %d galaxies cannot be hosts: a listed position lies in their stamp", (~clear).sum(), len(ra))
    return galaxies.filter(pa.array(clear))


def imported_cutouts(project: Project, path: Path) -> Imported:
    """The cut-outs of a folder or of one file; at least one must be readable."""
    if not path.exists():
        raise invalid("hosts", f"'{SURVEY}', '{BLANK}', or a folder or file of stamps", str(path))
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise invalid("hosts", "an .npz file or a FITS cube, if it is a file", str(path))
    return import_cutouts(path, project.survey.collection, project.section(CutoutsParams, "cutouts"))


def of_stamps(name: str, imported: Imported, facts: pa.Table, host_model: str) -> HostSet:
    """Hosts that passed their quality checks."""
    good = np.array([status == "ok" for status in imported.rows["status"].to_pylist()], dtype=bool)
    if not good.all():
        bad = next(reason for reason in imported.rows["reason"].to_pylist() if reason is not None)
        log.warning("%d of %d hosts left out, first: %s", (~good).sum(), len(good), bad)
    load = in_memory(imported.stamps, facts["galaxy_id"].to_pylist())
    hosts = HostSet(name, facts.filter(pa.array(good)), load, imported.stamps.shape[-1], host_model)
    if len(hosts.ids) < good.sum():
        log.warning("%d of %d hosts left out: no PSF, or no depth in r", good.sum() - len(hosts.ids), len(good))
    return hosts


def _with_conditions(imported: Imported, fwhm_nea_arcsec: float, grid: GridParams) -> pa.Table:
    """Facts of cut-outs with their own conditions; else the given psfsize, and the depth from their noise."""
    facts = imported.facts
    known = {name: pc.fill_null(facts[name].cast(pa.float64()), np.nan).to_numpy() for name in OBSERVING_CONDITIONS}
    known["psfsize_r"] = np.where(known["psfsize_r"] > 0, known["psfsize_r"], fwhm_nea_arcsec)
    usable = np.asarray(np.isfinite(imported.stamps).all(axis=1))
    sigma = sigma_from_annulus(imported.stamps[:, R_BAND], usable, *grid.sky_annulus_px)
    depth = psfdepth_from_sigma(sigma, known["psfsize_r"], facts["pixel_scale_arcsec"].to_numpy())
    known["psfdepth_r"] = np.where(known["psfdepth_r"] > 0, known["psfdepth_r"], depth)
    return pa.table({name: facts[name] for name in ("galaxy_id", "pixel_scale_arcsec")} | known)
