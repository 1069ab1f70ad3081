"""GalSim's RealGalaxyCatalogs: stamps of galaxies with their PSFs and noise; damaged files and rows are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from injection.galaxies.cleaning import Array, Images
from lake.errors import DataError
from lake.files import fitslayout

_MOST_IMAGES = 1_000_000
"""Largest number of image HDUs examined in one file."""
Colours = Mapping[str, tuple[float, float]]


class Stamp(NamedTuple):
    """One galaxy of a catalogue, not cleaned."""

    image: Images
    noise: float
    """standard deviation per pixel"""
    psf: Array | None = None
    pixel_arcsec: float | None = None


class Refused(NamedTuple):
    """What cannot be used, and why: a galaxy of a file, or ('') a file as a whole."""

    file: str
    galaxy: str
    reason: str


@dataclass
class Catalogue:
    """The galaxies of a catalogue, by identifier, and what of it cannot be read."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    colours: dict[str, tuple[float, float]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)


def read_catalogue(path: Path, with_psf: bool) -> Catalogue:
    """The catalogue ``<path>``, with images (and PSFs) in the same folder, and colours from ``<path>_fits`` if there.

    Each row of the catalogue is a stamp or refused; a catalogue that cannot be read is refused as a whole.
    """
    read = Catalogue()
    kinds = ("GAL", "PSF") if with_psf else ("GAL",)
    try:
        table, colours = _tried(lambda: (_table(path), _colours(path)))
        rows = _tried(lambda: {str(row["IDENT"]): row for row in table})
        files = _tried(lambda: {kind: sorted(set(table[f"{kind}_FILENAME"])) for kind in kinds})
    except DataError as error:
        read.refused.append(Refused(path.name, "", str(error)))
        return read
    read.colours = colours
    planes = {kind: _planes(path, rows, files[kind], kind, read.refused) for kind in kinds}
    for name in rows:
        if all(name in held for held in planes.values()):
            _add(read, path, name, rows[name], planes)
    return read


def _tried(make: Callable[[], Any]) -> Any:
    """What ``make`` returns; damaged files make astropy raise errors of any kind, which become DataErrors."""
    try:
        return make()
    except Exception as error:
        raise DataError(str(error) or type(error).__name__) from error


def _add(read: Catalogue, path: Path, name: str, row: Any, planes: Mapping[str, Mapping[str, Array]]) -> None:
    try:
        noise, pixel = _tried(lambda: (_positive(row, "NOISE_VARIANCE") ** 0.5, _positive(row, "PIXEL_SCALE")))
    except DataError as error:
        read.refused.append(Refused(path.name, name, str(error)))
        return
    psf = planes["PSF"][name] if "PSF" in planes else None
    read.stamps[name] = Stamp(planes["GAL"][name].astype(np.float32), noise, psf, pixel)


def _table(path: Path) -> Any:
    """A FITS table; its layout is checked first."""
    from astropy.table import Table

    fitslayout.walk(path)
    return Table.read(path)


def _positive(row: Any, name: str) -> float:
    value = float(np.ma.filled(row[name], np.nan))
    if not 0.0 < value < np.inf:
        raise DataError(f"{name} of {row['IDENT']} must be positive, got {value}")
    return value


def _planes(
    path: Path, rows: Mapping[str, Any], names: Sequence[Any], kind: str, refused: list[Refused]
) -> dict[str, Array]:
    """Images of each galaxy, or of its PSF, from the files in the catalogue's folder; galaxies of a damaged file, and
    of an image that is not there, are refused, once each.
    """
    planes: dict[str, Array] = {}
    gone = {one.galaxy for one in refused}
    for name in names:
        file = path.parent / str(name).strip()
        mine = [ident for ident, row in rows.items() if row[f"{kind}_FILENAME"] == name and ident not in gone]
        for ident, found in _read_planes(path, file, {ident: rows[ident] for ident in mine}, kind):
            if isinstance(found, str):
                refused.append(Refused(file.name, ident, found))
            else:
                planes[ident] = found
    return planes


def _read_planes(path: Path, file: Path, rows: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Array | str]]:
    """Each galaxy with its image, or with the reason why it has none."""
    from astropy.io import fits

    try:
        if not file.exists():
            raise DataError(f"{path} names its images {file.name}, which is not in the same folder")
        _tried(lambda: fitslayout.walk(file, _MOST_IMAGES))
        images = _tried(lambda: fits.open(file))
    except DataError as error:
        yield from ((ident, str(error)) for ident in rows)
        return
    with images:
        for ident, row in rows.items():
            number = row[f"{kind}_HDU"]
            try:
                plane = _tried(partial(_plane, images, number))
            except DataError as error:
                yield ident, f"HDU {number} of {file.name} cannot be read: {error}"
                continue
            yield ident, plane if plane.ndim == 2 else f"HDU {number} of {file.name} is no image"


def _plane(images: Any, number: Any) -> Array:
    return np.array(images[int(number)].data, np.float64)


def _colours(path: Path) -> dict[str, tuple[float, float]]:
    companion = path.with_name(path.stem + "_fits" + path.suffix)
    if not companion.exists():
        return {}
    table = _table(companion)
    if not {"HSC_g", "HSC_r", "HSC_z"} <= set(table.colnames):
        return {}
    return {str(r["IDENT"]): (float(r["HSC_g"] - r["HSC_r"]), float(r["HSC_r"] - r["HSC_z"])) for r in table}
