"""The setting that a command injects in: its options on top of params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from injection.config import GridParams, RealSources, StampCleaning
from injection.experiment.hostset import Conditions
from injection.experiment.setting import Setting
from injection.galaxies.banks import load_bank
from lake.errors import DataError, invalid
from pipeline.experiment.hostsets import host_set
from pipeline.project.project import Project

PARAMETRIC_NAME = "parametric"
_BANKS = (".h5", ".hdf5")
_BESIDE = ("_fits", "_selection")
"""Suffixes of files that belong to a RealGalaxyCatalog and are not one."""


def chosen_setting(
    project: Project,
    hosts: str,
    conditions: Conditions,
    sources: tuple[str | None, float],
    seed: int | None,
    **changes: Any,
) -> Setting:
    """The setting that options name; what is impossible is refused by name.

    ``sources``: the source model and the least signal to noise of a catalogue's galaxies. ``changes`` are fields of
    ``GridParams``; None leaves what params.yaml says, here and for the source model and the seed.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if sources[0] is not None:
        given |= _sources(sources[0], sources[1])
    grid = GridParams.load({**project.section(GridParams, "grid").model_dump(mode="json"), **given}, "grid")
    seed = project.survey.seed if seed is None else seed
    return Setting.of(grid, host_set(project, hosts, grid, conditions, seed), seed)


def _sources(source: str, min_snr: float) -> dict[str, Any]:
    """The grid's ``real_sources`` and ``source_model`` that an option names."""
    if ":" in source and not Path(source).exists():
        return {"real_sources": None, "source_model": source}
    chosen = real_sources(source, min_snr)
    return {"real_sources": None if chosen is None else chosen.model_dump(mode="json"), "source_model": None}


def real_sources(source: str, min_snr: float) -> RealSources | None:
    """The grid's ``real_sources`` that ``source`` names; None for ``parametric``.

    Of a folder, the first catalogue whose images are there. ``min_snr``: galaxies of a catalogue whose stamps have less
    signal to noise are left out.
    """
    if source == PARAMETRIC_NAME:
        return None
    path = Path(source)
    if path.is_file() and path.suffix in _BANKS:
        return _made(path, None)
    if path.is_file() and path.suffix == ".fits":
        return _made(path, min_snr)
    if not path.is_dir():
        allowed = (
            f"'{PARAMETRIC_NAME}', a RealGalaxyCatalog (.fits file or folder), a bank (.h5, .hdf5), package:object"
        )
        raise invalid("source_model", allowed, source)
    faults = []
    for file in sorted(path.glob("real_galaxy_catalog*.fits")):
        if file.stem.endswith(_BESIDE):
            continue
        found = _made(file, min_snr)
        try:
            load_bank(found)
        except DataError as error:
            faults.append(str(error))
        else:
            return found
    raise DataError(faults[0] if faults else f"{path} contains no real_galaxy_catalog*.fits")


def _made(path: Path, min_snr: float | None) -> RealSources:
    cleaning = (
        None if min_snr is None else StampCleaning.load({"min_snr": min_snr, "psf_correction": None}, "source_model")
    )
    values = {"path": str(path), "catalogue_colours": True, "max_pixel_arcsec": None, "cleaning": cleaning}
    return RealSources.load(values, "source_model")
