"""The host sets that a command may name: the survey's own, stamps from files, blank sky."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.config import CutoutsParams
from etl.cutouts.external_stamps import OBSERVING_CONDITIONS, Imported, import_cutouts, load_des_hosts
from etl.cutouts.stampfiles import SUFFIXES
from injection.config import GridParams
from injection.experiment.hostset import Conditions, HostSet, blank_sky, in_memory
from injection.experiment.measure import sigma_from_annulus
from lake.errors import invalid
from lake.sky.psfsize import psfdepth_from_sigma
from lake.sky.survey import SURVEY as IMAGING
from lake.store import delta
from pipeline.experiment.surveyhosts import survey_hosts
from pipeline.project.project import Project

log = logging.getLogger(__name__)

SURVEY, BLANK = "survey", "none"


def host_set(project: Project, source: str, grid: GridParams, conditions: Conditions, seed: int) -> HostSet:
    """The set that ``source`` names: ``survey``, ``none`` (blank sky), a folder (DES or cut-outs), one file."""
    if source == SURVEY:
        return survey_hosts(project, partial(delta.read, project.data), grid.host_model)
    cutouts = project.section(CutoutsParams, "cutouts")
    if source == BLANK:
        return blank_sky(conditions, cutouts.stamp_pixels, grid.host_model, seed, IMAGING)
    path = Path(source)
    if (path / "g.fits").exists():
        imported = load_des_hosts(path, cutouts)
        return of_stamps(f"DES galaxies ({path.name})", imported, imported.facts, grid.host_model)
    imported = imported_cutouts(project, path)
    facts = _with_conditions(imported, conditions.psf_fwhm_nea_arcsec, grid)
    own = imported.facts["psfsize_r"].null_count == 0
    taken = "" if own else f', psfsize where unknown taken as {conditions.psf_fwhm_nea_arcsec:g}"'
    return of_stamps(f"cut-outs of {path.name}{taken}", imported, facts, grid.host_model)


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
    side, imaging = imported.stamps.shape[-1], imported.imaging
    hosts = HostSet(name, facts.filter(pa.array(good)), load, side, host_model, imaging)
    if len(hosts.ids) < good.sum():
        lost, band = good.sum() - len(hosts.ids), imaging.reference_band
        log.warning("%d of %d hosts left out: no PSF, or no depth in %s", lost, len(good), band)
    return hosts


def _with_conditions(imported: Imported, fwhm_nea_arcsec: float, grid: GridParams) -> pa.Table:
    """Facts of cut-outs with their own conditions; else the given psfsize, and the depth from their noise."""
    facts = imported.facts
    known = {name: pc.fill_null(facts[name].cast(pa.float64()), np.nan).to_numpy() for name in OBSERVING_CONDITIONS}
    known["psfsize_r"] = np.where(known["psfsize_r"] > 0, known["psfsize_r"], fwhm_nea_arcsec)
    usable = np.asarray(np.isfinite(imported.stamps).all(axis=1))
    sigma = sigma_from_annulus(imported.stamps[:, imported.imaging.reference], usable, *grid.sky_annulus_px)
    depth = psfdepth_from_sigma(sigma, known["psfsize_r"], facts["pixel_scale_arcsec"].to_numpy())
    known["psfdepth_r"] = np.where(known["psfdepth_r"] > 0, known["psfdepth_r"], depth)
    return pa.table({name: facts[name] for name in ("galaxy_id", "pixel_scale_arcsec")} | known)
