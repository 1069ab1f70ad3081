"""Source light of injections by name: the parametric profiles, or a file or folder of real galaxies."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from injection.priors import Prior
from injection.realsources import BankSources, SourceBank, read_bank, read_real_galaxy_catalog, with_real_sources
from injection.render import PARAMETRIC, Sources
from lake.errors import DataError, invalid

log = logging.getLogger(__name__)

PARAMETRIC_NAME = "parametric"
_BANKS = (".h5", ".hdf5")
_BESIDE = ("_fits", "_selection")
"""Endings of the files that lie beside a RealGalaxyCatalog and are none."""


@dataclass(frozen=True)
class SourceModel:
    """What lensed galaxies look like."""

    name: str
    """In words, for captions"""
    bank: SourceBank | None

    @property
    def sources(self) -> Sources:
        """As the renderer takes it."""
        return PARAMETRIC if self.bank is None else BankSources(self.bank)

    def dress(self, rows: pa.Table, prior: Prior, seed: int) -> pa.Table:
        """Drawn rows with sources of this kind; real galaxies bring their catalogue's colours where it has them."""
        return rows if self.bank is None else with_real_sources(rows, self.bank, prior, seed, catalogue_colours=True)


def source_model(source: str, min_snr: float) -> SourceModel:
    """``parametric``, a GalSim RealGalaxyCatalog (file, or folder of one), or an HDF5 bank.

    ``min_snr``: galaxies of a catalogue whose stamps have less signal to noise are left out.
    """
    if source == PARAMETRIC_NAME:
        return SourceModel("Sersic profiles with clumps", None)
    path = Path(source)
    known = path.is_dir() or (path.is_file() and path.suffix in (".fits", *_BANKS))
    if not known:
        allowed = f"'{PARAMETRIC_NAME}', a RealGalaxyCatalog (.fits file or folder), or a bank (.h5, .hdf5)"
        raise invalid("source_model", allowed, source)
    if path.suffix in _BANKS:
        bank = read_bank(path)
        return SourceModel(f"{len(bank.ids)} real galaxies of {path.name}", bank)
    if not path.is_dir():
        return _catalogue(path, min_snr)
    faults = []
    for file in sorted(path.glob("real_galaxy_catalog*.fits")):
        if file.stem.endswith(_BESIDE):
            continue
        try:
            return _catalogue(file, min_snr)
        except DataError as error:
            faults.append(str(error))
    raise DataError(faults[0] if faults else f"{path} holds no real_galaxy_catalog*.fits")


def _catalogue(path: Path, min_snr: float) -> SourceModel:
    bank, refused = read_real_galaxy_catalog(path, min_snr)
    if refused:
        log.info(
            "%d of %d galaxies left out, first: %s",
            len(refused),
            len(refused) + len(bank.ids),
            next(iter(refused.values())),
        )
    return SourceModel(f"{len(bank.ids)} real galaxies of {path.parent.name}/{path.name}", bank)
