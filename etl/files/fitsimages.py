"""Images of FITS files, also compressed with gzip, with the cards of their headers."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lake.errors import DataError, one_line
from lake.files import fitslayout

SCALE = "pixel_scale"
"""The card that holds the size of the pixels (arcsec), if world coordinates give it."""
_PROSE = ("", "COMMENT", "HISTORY")
_IMAGES = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
_MOST_UNPACKED = 4 << 30
"""Bytes of the largest file that is unpacked."""


@dataclass(frozen=True)
class Hdu:
    """A header of a FITS file, with its image if it has one."""

    name: str
    header: Mapping[str, Any]
    data: NDArray[Any] | None


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """A file, or what it holds if it is compressed with gzip."""
    if path.suffix.lower() != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        try:
            with gzip.open(path) as packed:
                plain.write_bytes(packed.read(_MOST_UNPACKED))
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path.name} cannot be read: {one_line(error)}") from error
        yield plain


def images(path: Path) -> list[Hdu]:
    """The HDUs of a file. DataError where it cannot be read."""
    with _unpacked(path) as plain, fitslayout.opened(plain, f"{path.name} cannot be read") as hdus:
        held = [isinstance(hdu, _IMAGES) and len(hdu.shape) > 1 for hdu in hdus]
        return [
            Hdu(hdu.name, _cards(hdu.header), np.asarray(hdu.data) if image else None)
            for hdu, image in zip(hdus, held, strict=True)
        ]


def _cards(header: fits.Header) -> dict[str, Any]:
    return {key: value for key, value in header.items() if isinstance(value, str | int | float) and key not in _PROSE}


def pixel_scale(header: Mapping[str, Any]) -> dict[str, float]:
    """Side of a pixel (arcsec) by the header's world coordinates, if it has any."""
    if not str(header.get("CTYPE1", "")).startswith("RA"):
        return {}
    prefix, step = ("CD", (1.0, 1.0)) if "CD1_1" in header else ("PC", (header.get("CDELT1"), header.get("CDELT2")))
    rows = [[header.get(f"{prefix}{i}_{j}", float(i == j and prefix == "PC")) for j in (1, 2)] for i in (1, 2)]
    values = [*rows[0], *rows[1], *step]
    if not all(isinstance(value, int | float) for value in values):
        return {}
    area = np.linalg.det(np.array(rows, dtype=float)) * np.prod(np.array(step, dtype=float))
    return {SCALE: float(3600 * np.sqrt(abs(area)))}


def image(hdus: list[Hdu], name: str | None) -> Hdu:
    """The image of a name or number, or the first."""
    held = [hdu for hdu in hdus if hdu.data is not None]
    chosen = [hdu for hdu in held if name is None or hdu.name == name.upper()]
    if name is not None and name.isdigit():
        chosen = [hdu for hdu in hdus[int(name) :][:1] if hdu.data is not None]
    if not chosen:
        known = ", ".join(hdu.name or "-" for hdu in held) or "none"
        raise DataError(f"it has no image{f' {name!r}' if name else ''}; its images: {known}")
    return chosen[0]
