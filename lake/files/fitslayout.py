"""Sizes that a FITS file declares, checked before anything is read or allocated because of them.

Headers are walked card by card up to a limit; sizes must be sizes, and what they add up to must be in the file. Where a
HDU carries a checksum it is verified: damaged bytes of a compressed tile decode to other pixels without an error.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from lake.addresses import is_remote
from lake.errors import DataError
from lake.files import storage
from lake.files.fitsheader import BLOCK, FIELD_BYTES, Header, blocks, read_header

_MOST_HDUS = 64
_MOST_SIDE = 16_384
"""Pixels along a side of an image; the survey's have 3600."""
_CHUNK_BLOCKS = 4096
_LARGEST_PIXEL = 8


@dataclass(frozen=True)
class Unit:
    """One HDU: its header, and where that and its data lie."""

    header: Header
    start: int
    data: int
    stop: int


@contextmanager
def opened(place: Path | str, fault: str) -> Iterator[list[Any]]:
    """The HDUs of a complete file, as astropy's objects; faults and errors as in :func:`located`."""
    with located(place, fault) as (file, units), astropys(file) as hdus:
        yield [hdus[place] for place in range(len(units))]


@contextmanager
def astropys(file: BinaryIO) -> Iterator[fits.HDUList]:
    """The HDUs of an open file as astropy reads them."""
    file.seek(0)
    with warnings.catch_warnings(), fits.open(file, memmap=False, lazy_load_hdus=True) as hdus:
        warnings.simplefilter("ignore", AstropyWarning)
        yield hdus


@contextmanager
def located(place: Path | str, fault: str) -> Iterator[tuple[BinaryIO, list[Unit]]]:
    """A complete file, open, and where its HDUs lie; one in an object store is fetched as a whole.

    Faults of the file and errors while it is read are raised as a DataError that begins with ``fault``;
    DataErrors of the caller pass.
    """
    try:
        source = io.BytesIO(storage.read(str(place))) if is_remote(str(place)) else Path(place)
        units = walk(source)
    except (DataError, OSError) as error:
        raise DataError(f"{fault}: {error}") from error
    try:
        with source if isinstance(source, io.BytesIO) else source.open("rb") as file:
            yield file, units
    except DataError:
        raise
    except Exception as error:  # a damaged file makes astropy and its codecs raise any exception
        raise DataError(f"{fault}: {error or type(error).__name__}") from error


def walk(source: Path | io.BytesIO, most: int = _MOST_HDUS) -> list[Unit]:
    """The HDUs, up to a limit, of a complete file; DataError (without the file's name) if something is wrong."""
    if isinstance(source, io.BytesIO):
        found = _walked(source, len(source.getbuffer()), most)
        source.seek(0)
        return found
    if not source.is_file():
        raise DataError("it is not a file")
    with source.open("rb") as file:
        return _walked(file, source.stat().st_size, most)


def _walked(file: BinaryIO, total: int, most: int) -> list[Unit]:
    place = 0
    found: list[Unit] = []
    while place < total and len(found) < most:
        file.seek(place)
        if found and file.read(8) != b"XTENSION":
            break
        header, data = read_header(file, place)
        size = header.data_bytes()
        if data + size > total:
            raise DataError(f"its header declares {size} bytes of data, but the file holds {total - data}")
        found.append(Unit(header, place, data, data + size))
        place = blocks(found[-1].stop)
        _check_sum(file, found[-1])
        if header.value("ZIMAGE") is True:
            _check_tiles(header)
            _check_tile_lengths(file, found[-1])
    return found


def _check_tiles(header: Header) -> None:
    """A compressed image: what its tiles expand to must be an image of a sensible size, one table row per tile."""
    tiles = 1
    for axis in range(1, header.whole("ZNAXIS", high=3) + 1):
        side = header.whole(f"ZNAXIS{axis}")
        tile = header.whole(f"ZTILE{axis}", default=side if axis == 1 else 1)
        if not 0 < tile <= max(side, 1) <= _MOST_SIDE:
            raise DataError(
                f"ZNAXIS{axis} must be at most {_MOST_SIDE} in tiles no larger, got {side} in tiles of {tile}"
            )
        tiles *= -(-side // tile)
    rows = header.whole("NAXIS2")
    if header.whole("NAXIS") != 2 or rows != tiles:
        raise DataError(f"a compressed image of {tiles} tiles must have one table row per tile, got {rows}")


def _check_tile_lengths(file: BinaryIO, unit: Unit) -> None:
    """No tile may take more bytes than its pixels need uncompressed, which bounds what it expands to."""
    header = unit.header
    tile = math.prod(header.whole(f"ZTILE{axis + 1}", default=1) for axis in range(header.whole("ZNAXIS")))
    width, rows = header.whole("NAXIS1"), header.whole("NAXIS2")
    file.seek(unit.data)
    table = np.frombuffer(file.read(width * rows), dtype=np.uint8).reshape(rows, width)
    place = 0
    for field in range(1, header.whole("TFIELDS") + 1):
        form = re.match(r"(\d*)([A-Z])([A-Z]?)", header.text(f"TFORM{field}"))
        if form is None or form[2] not in FIELD_BYTES:
            raise DataError(f"TFORM{field} must be a FITS column format, got {header.text(f'TFORM{field}')}")
        size = FIELD_BYTES[form[2]]
        if form[2] in "PQ" and place + size <= width:
            half = np.ascontiguousarray(table[:, place : place + size // 2]).view(f">u{size // 2}")
            longest = int(half.max(initial=0)) * FIELD_BYTES.get(form[3], 1)
            if longest > _LARGEST_PIXEL * tile + BLOCK:
                raise DataError(f"a tile of {tile} pixels takes {longest} bytes")
        place += int(form[1] or 1) * size


def _check_sum(file: BinaryIO, unit: Unit) -> None:
    """FITS checksum: the ones' complement sum of the HDU's 32-bit words is all ones."""
    if not unit.header.text("CHECKSUM", ""):
        return
    file.seek(unit.start)
    left, total = blocks(unit.stop) - unit.start, 0
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
