"""Real galaxies as sources, named on the command line: a catalogue, the folder of one, or a bank."""

from __future__ import annotations

from pathlib import Path

from injection.config import GridParams, RealSources, StampCleaning
from injection.engine.render import Sources
from injection.galaxies.banks import load_bank
from injection.galaxies.realsources import BankSources
from lake.errors import DataError, invalid

PARAMETRIC_NAME = "parametric"
_BANKS = (".h5", ".hdf5")
_BESIDE = ("_fits", "_selection")
"""Suffixes of files that belong to a RealGalaxyCatalog and are not one."""


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
        allowed = f"'{PARAMETRIC_NAME}', a RealGalaxyCatalog (.fits file or folder), or a bank (.h5, .hdf5)"
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


def in_words(grid: GridParams, sources: Sources) -> str:
    """What the sources are, for captions."""
    if grid.real_sources is None or not isinstance(sources, BankSources):
        return "Sersic profiles with clumps"
    return f"{len(sources.bank.ids)} real galaxies of {Path(grid.real_sources.path).name}"
