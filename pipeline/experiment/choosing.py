"""The setting that a command injects in: hosts, sources and parameters that its options name, on top of params.yaml."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.config import CutoutsParams
from etl.cutouts.cutter import CONDITIONS
from etl.cutouts.external_stamps import Imported, import_cutouts, load_des_hosts
from etl.cutouts.stampfiles import SUFFIXES
from injection.config import GridParams, HostModel, RealSources, StampCleaning
from injection.experiment.hostset import Conditions, HostSet, blank_sky, in_memory
from injection.experiment.measure import sigma_from_annulus
from injection.experiment.setting import Setting
from injection.galaxies.banks import load_bank
from lake.errors import DataError, invalid
from lake.sky.photometry import psfdepth_from_sigma
from lake.sky.survey import SURVEY as IMAGING
from lake.store import delta
from pipeline.experiment.surveyhosts import survey_hosts
from pipeline.project.project import Project

log = logging.getLogger(__name__)

SURVEY, BLANK, PARAMETRIC = "survey", "none", "parametric"
_BANKS = (".h5", ".hdf5")
_NOT_CATALOGUES = ("_fits", "_selection")
"""Suffixes of files that belong to a RealGalaxyCatalog and are not one."""


def chosen_setting(
    project: Project,
    hosts: str,
    psf_fwhm_nea: float,
    depth: tuple[float, ...],
    source_model: str | None,
    min_source_snr: float,
    seed: int | None,
    **changes: Any,
) -> Setting:
    """The setting that options name; ParameterError names an option that cannot be met.

    ``psf_fwhm_nea`` (arcsec) and ``depth`` (mag) are conditions of hosts that bring none. ``min_source_snr``: galaxies
    of a catalogue whose stamps have less signal to noise are left out. ``changes`` are fields of ``GridParams``. None
    leaves what params.yaml says.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if source_model is not None:
        given |= _sources(source_model, min_source_snr)
    grid = GridParams.load({**project.section(GridParams, "grid").model_dump(mode="json"), **given}, "grid")
    seed = project.survey.seed if seed is None else seed
    return Setting.of(grid, host_set(project, hosts, grid, Conditions(psf_fwhm_nea, depth), seed), seed)


def _sources(source: str, min_snr: float) -> dict[str, Any]:
    """The grid's ``real_sources`` and ``source_model`` that an option names."""
    if ":" in source and not Path(source).exists():
        return {"real_sources": None, "source_model": source}
    chosen = None if source == PARAMETRIC else _real_sources(source, min_snr).model_dump(mode="json")
    return {"real_sources": chosen, "source_model": None}


def _real_sources(source: str, min_snr: float) -> RealSources:
    """The grid's ``real_sources`` that a path names; of a folder, the first catalogue whose images are there."""
    path = Path(source)
    if path.is_file() and path.suffix in (*_BANKS, ".fits"):
        return _made(path, min_snr)
    if not path.is_dir():
        allowed = f"'{PARAMETRIC}', a RealGalaxyCatalog (.fits file or folder), a bank (.h5, .hdf5), package:object"
        raise invalid("source_model", allowed, source)
    faults = []
    for file in sorted(path.glob("real_galaxy_catalog*.fits")):
        if file.stem.endswith(_NOT_CATALOGUES):
            continue
        found = _made(file, min_snr)
        try:
            load_bank(found)
        except DataError as error:
            faults.append(str(error))
        else:
            return found
    raise DataError(faults[0] if faults else f"{path} contains no real_galaxy_catalog*.fits")


def _made(path: Path, min_snr: float) -> RealSources:
    cleaning = None
    if path.suffix not in _BANKS:
        cleaning = StampCleaning.load({"min_snr": min_snr, "psf_correction": None}, "source_model")
    values = {"path": str(path), "catalogue_colours": True, "max_pixel_arcsec": None, "cleaning": cleaning}
    return RealSources.load(values, "source_model")


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


def of_stamps(name: str, imported: Imported, facts: pa.Table, host_model: HostModel) -> HostSet:
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
    known = {name: pc.fill_null(facts[name].cast(pa.float64()), np.nan).to_numpy() for name in CONDITIONS}
    known["psfsize_r"] = np.where(known["psfsize_r"] > 0, known["psfsize_r"], fwhm_nea_arcsec)
    usable = np.asarray(np.isfinite(imported.stamps).all(axis=1))
    sigma = sigma_from_annulus(imported.stamps[:, imported.imaging.reference], usable, *grid.sky_annulus_px)
    depth = psfdepth_from_sigma(sigma, known["psfsize_r"], facts["pixel_scale_arcsec"].to_numpy())
    known["psfdepth_r"] = np.where(known["psfdepth_r"] > 0, known["psfdepth_r"], depth)
    return pa.table({name: facts[name] for name in ("galaxy_id", "pixel_scale_arcsec")} | known)
