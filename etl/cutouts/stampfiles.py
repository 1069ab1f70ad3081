"""Cut-outs made elsewhere: the files of a folder, and reading one (NPZ, or a FITS cube from the viewer)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from etl.cutouts.bricks import Tan
from lake.errors import DataError
from lake.files import fitslayout
from lake.files.fitsheader import unit_fault
from lake.files.npz import read_npz
from lake.sky.survey import BANDS

_CUBE = (".fits", ".fit")
SUFFIXES = (".npz", *_CUBE)
OTHER_KIND = "it is neither an .npz nor a .fits file"
_MOST_BYTES = 64 << 20
_OFF_CENTRE_PX = 0.6
"""A cube whose reference pixel is farther than this (in pixels) from its centre is not centred on its position."""


@dataclass(frozen=True)
class Entry:
    """A file in a folder, by its path relative to it, and why it is not read."""

    name: str
    path: Path
    fault: str | None


def listed(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Entry]:
    """Everything in a folder and its subfolders, by name; for a file, the file itself."""
    if folder.is_file():
        return [Entry(folder.name, folder, _fault(folder, suffixes))]
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        odd = [name for name in folders if Path(name).suffix.lower() in suffixes]
        for name in (*files, *links, *odd):
            path = Path(place) / name
            found.append(Entry(_spelt(path.relative_to(folder)), path, _fault(path, suffixes)))
    return sorted(set(found), key=lambda entry: entry.name)


def _spelt(path: Path) -> str:
    """A path as text; bytes that are none by their number (``\\xff``)."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")


def _fault(path: Path, suffixes: Sequence[str]) -> str | None:
    if _spelt(path) != path.as_posix():
        return "its path is not UTF-8 text"
    if path.is_dir():
        return "a link to a folder is not followed" if path.is_symlink() else "it is a folder"
    if path.is_symlink() and not path.exists():
        return "it is a broken link"
    if not path.is_file():
        return "it is not a regular file"
    if path.suffix.lower() not in suffixes:
        return OTHER_KIND
    return None


def read(path: Path) -> tuple[NDArray[np.float32], Mapping[str, Any]]:
    """A stamp (band, y, x) in nMgy and what its file says about it: galaxy_id, ra, dec, pixel_scale, tier, ..."""
    return read_cube(path) if path.suffix.lower() in _CUBE else read_npz(path)


def read_cube(path: Path) -> tuple[NDArray[np.float32], Mapping[str, Any]]:
    """A cube (band, y, x) from the survey's viewer (`fits-cutout`), bands as in its card ``BANDS``, else g, r, z."""
    planes, projection = cube(path, path.name)
    middle = (planes.shape[-1] - 1) / 2
    if max(abs(projection.x - middle), abs(projection.y - middle)) > _OFF_CENTRE_PX:
        raise DataError(f"{path.name}: its position must be that of the image's centre (CRPIX1, CRPIX2)")
    scale = 3600 / np.sqrt(abs(np.linalg.det(projection.to_pixels)))
    meta = {"galaxy_id": path.stem, "ra": projection.ra_deg % 360, "dec": projection.dec_deg, "pixel_scale": scale}
    return planes, meta


def cube(path: Path, name: str) -> tuple[NDArray[np.float32], Tan]:
    """Planes (band, y, x) in nMgy, in our order, and projection of a viewer's cube, called ``name`` in errors."""
    with fitslayout.opened(path, f"{name} cannot be read") as hdus:
        header, planes = hdus[0].header, _planes(hdus[0])
    return planes, Tan.of(header, name)


def _planes(hdu: fits.PrimaryHDU) -> NDArray[np.float32]:
    """The bands of a cube; ValueError if it is not one."""
    shape = hdu.shape
    if len(shape) != 3 or shape[1] != shape[2] or not shape[1]:
        raise ValueError(f"it must contain a cube (band, n, n), got {tuple(shape)}")
    if int(np.prod(shape)) * 8 > _MOST_BYTES:
        raise ValueError(f"a cube of {tuple(shape)} is too large for a cut-out")
    if problem := unit_fault("it", str(hdu.header.get("BUNIT", "")), "nMgy"):
        raise ValueError(problem)
    names = str(hdu.header.get("BANDS", "".join(BANDS))).strip()
    if len(names) != shape[0] or not set(BANDS) <= set(names):
        raise ValueError(
            f"its {shape[0]} planes must be the bands {', '.join(BANDS)}, named by the card BANDS, got {names}"
        )
    with np.errstate(over="ignore"):
        return np.asarray(hdu.data, dtype=np.float32)[[names.index(band) for band in BANDS]]
