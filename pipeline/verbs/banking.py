"""Builds a bank of real galaxies, and lists what was left out."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from injection.config import StampCleaning
from injection.galaxies.banks import collected, write_bank
from lake.errors import invalid
from lake.files import atomic


def cleaning_of(min_snr: float, psf_fwhm_arcsec: float | None, max_amplification: float) -> StampCleaning:
    """The cleaning that the command's options describe."""
    exchange = {"fwhm_arcsec": psf_fwhm_arcsec, "max_amplification": max_amplification}
    values = {"min_snr": min_snr, "psf_correction": None if psf_fwhm_arcsec is None else exchange}
    return StampCleaning.load(values, "bank")


def build_bank(catalogues: Sequence[Path], out: Path, cleaning: StampCleaning) -> str:
    """Write the bank and, beside it, ``<name>.rejected.csv``; a sentence with the counts of both."""
    if out.suffix not in (".h5", ".hdf5"):
        raise invalid("out", "a file ending in .h5 or .hdf5", str(out))
    bank, refused = collected(catalogues, cleaning)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "galaxy", "reason"])
    table.writerows(refused)
    rejected = out.with_name(f"{out.stem}.rejected.csv")
    atomic.write_text(rejected, text.getvalue())
    write_bank(out, bank)
    files = sum(not one.galaxy for one in refused)
    return (
        f"wrote {out}: {len(bank.ids)} galaxies; {len(refused) - files} galaxies and {files} catalogues were left out "
        f"({rejected})"
    )
