"""Sizes that a FITS file declares, checked before anything is read or allocated because of them.

Headers are walked card by card up to a limit; sizes must be sizes, and what they add up to must be in the file. Where a
HDU carries a checksum it is verified: damaged bytes of a compressed tile decode to other pixels without an error.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from lake.errors import DataError

BLOCK = 2880
_CARD = 80
_MOST_BLOCKS = 1000
"""Blocks of one header: ten times the longest of the survey's."""
_MOST_HDUS = 64
_MOST_SIDE = 16_384
"""Pixels along a side of an image; the survey's have 3600."""
_CHUNK_BLOCKS = 4096
_LARGEST_PIXEL = 8
_GZIP = b"\x1f\x8b"
FIELD_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16, "X": 1}
"""Bytes of one value by the code of its FITS column format; an array descriptor (P, Q) counts by itself."""
Cards = Mapping[str, str]


@dataclass(frozen=True)
class Unit:
    """One HDU: its cards as text, and where its header and data lie."""

    cards: Cards
    start: int
    data: int
    stop: int

    def whole(self, keyword: str, default: int | None = None) -> int:
        """A card that must hold a whole number of at least zero."""
        text = self.cards.get(keyword)
        if text is None and default is not None:
            return default
        try:
            value = int(text or "")
        except ValueError:
            value = -1
        if value < 0:
            raise DataError(f"{keyword} must be a whole number of at least 0, got {text}")
        return value


@contextmanager
def opened(path: Path, fault: str) -> Iterator[list[Any]]:
    """The HDUs of a complete file, as astropy's objects.

    Faults of the file and errors while it is read are raised as a DataError that begins with ``fault``;
    DataErrors of the caller pass.
    """
    try:
        count = len(walk(path))
    except (DataError, OSError) as error:
        raise DataError(f"{fault}: {error}") from error
    try:
        with warnings.catch_warnings(), fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
            warnings.simplefilter("ignore", AstropyWarning)
            yield [hdus[place] for place in range(count)]
    except DataError:
        raise
    except Exception as error:  # a damaged file makes astropy and its codecs raise whatever they meet
        raise DataError(f"{fault}: {error or type(error).__name__}") from error


def walk(path: Path, most: int = _MOST_HDUS) -> list[Unit]:
    """The HDUs, up to a limit, of a complete file; DataError (without the file's name) if something is wrong."""
    if not path.is_file():
        raise DataError("it is not a file")
    total = path.stat().st_size
    found: list[Unit] = []
    with path.open("rb") as file:
        while (start := _next(found)) < total and len(found) < most:
            file.seek(start)
            cards = _header(file, b"XTENSION" if found else b"SIMPLE  ")
            if cards is None:
                break
            found.append(_unit(cards, start, file.tell(), total))
            _check_sum(file, found[-1])
            if cards.get("ZIMAGE") == "T":
                _check_tile_lengths(file, found[-1])
    return found


def _next(found: list[Unit]) -> int:
    return -(-found[-1].stop // BLOCK) * BLOCK if found else 0


def _header(file: BinaryIO, first: bytes) -> Cards | None:
    """Cards of the header that begins here; None where something else follows the last HDU."""
    cards: dict[str, str] = {}
    for block in range(_MOST_BLOCKS):
        text = file.read(BLOCK)
        if block == 0 and not text.startswith(first):
            if first == b"XTENSION":
                return None
            raise DataError("it is gzip-compressed: unpack it" if text.startswith(_GZIP) else "it is not a FITS file")
        for place in range(0, len(text), _CARD):
            card = text[place : place + _CARD].decode("latin-1")
            if card.rstrip() == "END":
                return cards
            if card[8:10] == "= ":
                cards.setdefault(card[:8].rstrip(), card[10:].split("/")[0].strip())
        if len(text) < BLOCK:
            break
    raise DataError("its header has no END card")


def _unit(cards: Cards, start: int, data: int, total: int) -> Unit:
    unit = Unit(cards, start, data, data)
    axes = unit.whole("NAXIS")
    if axes > 999:
        raise DataError(f"NAXIS must be at most 999, got {axes}")
    sides = [unit.whole(f"NAXIS{axis + 1}") for axis in range(axes)]
    bits = cards.get("BITPIX", "")
    if bits not in ("8", "16", "32", "64", "-32", "-64"):
        raise DataError(f"BITPIX must be one of 8, 16, 32, 64, -32, -64, got {bits or 'none'}")
    values = unit.whole("PCOUNT", 0) + math.prod(sides) if axes else 0
    size = abs(int(bits)) // 8 * values * unit.whole("GCOUNT", 1)
    if data + size > total:
        raise DataError(f"its header declares {size} bytes of data, but the file holds {total - data}")
    if cards.get("ZIMAGE") == "T":
        _check_tiles(unit, sides)
    return Unit(cards, start, data, data + size)


def _check_tiles(unit: Unit, sides: list[int]) -> None:
    """A compressed image: what its tiles expand to must be an image of a sensible size, one table row per tile."""
    axes = unit.whole("ZNAXIS")
    if axes > 3:
        raise DataError(f"ZNAXIS must be at most 3, got {axes}")
    tiles = 1
    for axis in range(1, axes + 1):
        side = unit.whole(f"ZNAXIS{axis}")
        tile = unit.whole(f"ZTILE{axis}", side if axis == 1 else 1)
        if not 0 < tile <= max(side, 1) <= _MOST_SIDE:
            raise DataError(
                f"ZNAXIS{axis} must be at most {_MOST_SIDE} in tiles no larger, got {side} in tiles of {tile}"
            )
        tiles *= -(-side // tile)
    if len(sides) != 2 or sides[1] != tiles:
        raise DataError(f"a compressed image of {tiles} tiles must have one table row per tile, got {sides[1:]}")


def _check_tile_lengths(file: BinaryIO, unit: Unit) -> None:
    """No tile may take more bytes than its pixels need uncompressed, which bounds what it expands to."""
    tile = math.prod(unit.whole(f"ZTILE{axis + 1}", 1) for axis in range(unit.whole("ZNAXIS")))
    width, rows = unit.whole("NAXIS1"), unit.whole("NAXIS2")
    file.seek(unit.data)
    table = np.frombuffer(file.read(width * rows), dtype=np.uint8).reshape(rows, width)
    place = 0
    for field in range(1, unit.whole("TFIELDS") + 1):
        form = re.match(r"'(\d*)([A-Z])([A-Z]?)", unit.cards.get(f"TFORM{field}", ""))
        if form is None or form[2] not in FIELD_BYTES:
            raise DataError(f"TFORM{field} must be a FITS column format, got {unit.cards.get(f'TFORM{field}')}")
        size = FIELD_BYTES[form[2]]
        if form[2] in "PQ" and place + size <= width:
            half = np.ascontiguousarray(table[:, place : place + size // 2]).view(f">u{size // 2}")
            longest = int(half.max(initial=0)) * FIELD_BYTES.get(form[3], 1)
            if longest > _LARGEST_PIXEL * tile + BLOCK:
                raise DataError(f"a tile of {tile} pixels takes {longest} bytes")
        place += int(form[1] or 1) * size


def _check_sum(file: BinaryIO, unit: Unit) -> None:
    """FITS checksum: the ones' complement sum of the HDU's 32-bit words is all ones."""
    if "CHECKSUM" not in unit.cards or unit.cards["CHECKSUM"].strip("' ") == "":
        return
    file.seek(unit.start)
    left, total = -(-unit.stop // BLOCK) * BLOCK - unit.start, 0
    while left > 0:
        part = file.read(min(left, BLOCK * _CHUNK_BLOCKS))
        if not part:
            raise DataError("its last block is incomplete")
        left -= len(part)
        total += int(np.frombuffer(part + bytes(-len(part) % 4), dtype=">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    if total not in (0, 0xFFFFFFFF):
        raise DataError("its bytes do not match its CHECKSUM: the file is damaged")
