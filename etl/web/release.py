"""Files of a data release as the survey serves them: which of them a region needs, and their published checksums.

Layout and names: https://www.legacysurvey.org/dr10/files. Checksum files are those of ``sha256sum``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from etl.config import DownloadParams
from lake.errors import DataError, invalid
from lake.files import fitslayout
from lake.sky.survey import BANDS

_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_SWEEP = re.compile(r"sweep-(\d{3})([pm])(\d{3})-(\d{3})([pm])(\d{3})\.fits")
_BRICK = re.compile(r"\d{4}[pm]\d{3}")
_WITHOUT_BAND = ("maskbits",)


@dataclass(frozen=True)
class Box:
    """A part of the sky in degrees; where ``ra_low`` is the larger one, it reaches through RA 0."""

    ra_low: float
    ra_high: float
    dec_low: float
    dec_high: float

    def __post_init__(self) -> None:
        if not (0 <= self.ra_low <= 360 and 0 <= self.ra_high <= 360 and self.ra_low != self.ra_high):
            raise invalid("ra", "two different numbers from 0 to 360 (degrees)", (self.ra_low, self.ra_high))
        if not -90 <= self.dec_low < self.dec_high <= 90:
            raise invalid("dec", "two ascending numbers from -90 to 90 (degrees)", (self.dec_low, self.dec_high))

    def meets(self, other: Box) -> bool:
        """Whether the two have a part in common that is more than an edge."""
        parts = ((a, b) for a in self._spans() for b in other._spans())
        across = any(max(a[0], b[0]) < min(a[1], b[1]) for a, b in parts)
        return across and max(self.dec_low, other.dec_low) < min(self.dec_high, other.dec_high)

    def _spans(self) -> list[tuple[float, float]]:
        if self.ra_low < self.ra_high:
            return [(self.ra_low, self.ra_high)]
        return [(self.ra_low, 360.0), (0.0, self.ra_high)]


@dataclass(frozen=True)
class File:
    """A file of the release: its address, its place below the survey's folder, and its published hash, if any."""

    url: str
    place: str
    kind: str
    sha256: str | None = None


def checksums(text: str) -> dict[str, str]:
    """Hash of each file by its name, of a file as ``sha256sum`` writes it; folders before the names are left out."""
    lines = [line for line in text.splitlines() if line.strip()]
    found = [_SUM.fullmatch(line.strip()) for line in lines]
    if not lines or not all(found):
        raise DataError("it is no list of checksums as `sha256sum` writes it")
    return {match[2].rpartition("/")[2]: match[1] for match in found if match}


def sweep_box(name: str) -> Box | None:
    """The part of the sky that a sweep covers, by its name; None for other files."""
    match = _SWEEP.fullmatch(name)
    if match is None:
        return None
    ra_low, sign_low, dec_low, ra_high, sign_high, dec_high = match.groups()
    low, high = (float(dec) * (1 if sign == "p" else -1) for sign, dec in ((sign_low, dec_low), (sign_high, dec_high)))
    return Box(float(ra_low), float(ra_high), low, high)


def sweeps(params: DownloadParams, sums: dict[str, str], boxes: Sequence[Box]) -> list[File]:
    """The sweeps, among those with a checksum, that cover a part of the boxes."""
    found = []
    for name, digest in sorted(sums.items()):
        box = sweep_box(name)
        if box is not None and any(box.meets(each) for each in boxes):
            found.append(File(f"{params.url}/{params.sweeps}/{name}", f"sweeps/{name}", "sweep", digest))
    return found


def coadds(params: DownloadParams, bricks: Iterable[str]) -> list[File]:
    """The coadds of bricks; their checksums are not known yet."""
    found = []
    for brick in bricks:
        for kind in params.kinds:
            for ending in [kind] if kind in _WITHOUT_BAND else [f"{kind}-{band}" for band in BANDS]:
                below = f"{brick[:3]}/{brick}/legacysurvey-{brick}-{ending}.fits.fz"
                found.append(File(f"{params.url}/{params.coadds}/{below}", f"coadds/{below}", kind))
    return found


def brick_boxes(table: Path) -> dict[str, Box]:
    """The part of the sky of each brick, of ``survey-bricks.fits``."""
    with fitslayout.opened(table, f"{table} is not a table of bricks (BRICKNAME, RA1, RA2, DEC1, DEC2)") as hdus:
        return dict(_boxes(hdus[1]))


def _boxes(hdu: fits.BinTableHDU) -> Iterable[tuple[str, Box]]:
    names = np.char.strip(hdu.data["brickname"].astype(str)).tolist()
    edges = [hdu.data[name].astype(np.float64).tolist() for name in ("ra1", "ra2", "dec1", "dec2")]
    for name, *box in zip(names, *edges, strict=True):
        yield name, Box(*box)


def chosen(boxes: dict[str, Box], region: Box | None, named: Sequence[str]) -> list[str]:
    """Names of the bricks in a region or in a list, all of which must be in the release."""
    for name in named:
        if not _BRICK.fullmatch(name):
            raise invalid("bricks", "names of bricks such as 0001m002", name)
        if name not in boxes:
            raise invalid("bricks", "bricks of the release (survey-bricks.fits)", name)
    found = set(named) | {name for name, box in boxes.items() if region is not None and region.meets(box)}
    if not found:
        raise DataError("the release has no brick in this region")
    return sorted(found)
