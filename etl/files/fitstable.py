"""Offsets of the columns of a FITS binary table, for reading only some rows and columns."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lake.errors import DataError
from lake.files.fitsheader import FIELD_BYTES, Header, blocks, read_header

_FORMAT = re.compile(r"(\d*)([LXBIJKAEDCMPQ])")
_NUMPY = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_WORDS = {"X": "bits", "C": "complex numbers", "M": "complex numbers", "P": "arrays", "Q": "arrays"}
_MOST_TABLES = 1000
_MOST_ROWS = 1 << 40
_MOST_ROW_BYTES = 1 << 24
_SIGN = np.uint64(1 << 63)


@dataclass(frozen=True)
class Field:
    """A scalar column: place in a row, format and NumPy dtype, linear scale, null value and unit its header gives."""

    name: str
    offset: int
    code: str
    dtype: str
    scale: float
    zero: float
    null: int | None
    unit: str

    @property
    def as_stored(self) -> bool:
        """Whether its values are numbers as they are stored: neither scaled nor one of them null."""
        return self.code in "BIJKED" and self.scale == 1.0 and self.zero == 0.0 and self.null is None

    def decode(self, raw: NDArray[np.void]) -> NDArray[np.generic]:
        """Values in native byte order, scaled as the header says."""
        values = raw[self.name]
        native = values.astype(values.dtype.newbyteorder("="))
        if self.scale == 1.0 and self.zero == 0.0:
            return native
        if native.dtype == np.int64 and self.scale == 1.0 and self.zero == 2.0**63:
            return native.view(np.uint64) ^ _SIGN
        small = native.dtype.kind in "iu" and native.dtype != np.int64 and abs(self.zero) < 2.0**53
        if small and self.scale == 1.0 and self.zero.is_integer():
            return native.astype(np.int64) + int(self.zero)
        with np.errstate(over="ignore"):
            return native.astype(np.float64) * self.scale + self.zero

    def missing(self, raw: NDArray[np.void]) -> NDArray[np.bool_]:
        """Where the raw value is the header's null value."""
        if self.null is None:
            return np.zeros(len(raw), dtype=bool)
        found: NDArray[np.bool_] = raw[self.name] == self.null
        return found


@dataclass(frozen=True)
class Layout:
    """A binary table in a file: where its rows begin, how many, how long, and its columns by lower-case name.

    ``faults`` are the columns that are not scalar or whose cards cannot be read, with the reason.
    """

    start: int
    rows: int
    row_bytes: int
    fields: dict[str, Field]
    faults: dict[str, str]

    @property
    def end(self) -> int:
        """Where the rows end."""
        return self.start + self.rows * self.row_bytes

    def dtype(self, names: list[str]) -> np.dtype[np.void]:
        """Structured dtype that sees only the named columns of a row."""
        chosen = [self.fields[name] for name in names]
        return np.dtype(
            {
                "names": [field.name for field in chosen],
                "formats": [field.dtype for field in chosen],
                "offsets": [field.offset for field in chosen],
                "itemsize": self.row_bytes,
            }
        )


def layout(file: BinaryIO, size: int, too_short: str = "the file is truncated") -> Layout:
    """Layout of the first binary table of a FITS file of ``size`` bytes; an error if it is absent or cut short."""
    if size == 0:
        raise DataError("the file is empty")
    place = 0
    for _ in range(_MOST_TABLES):
        header, start = read_header(file, place)
        if header.value("XTENSION") is not None and header.text("XTENSION") == "BINTABLE":
            fields, faults = _fields(header)
            rows, row_bytes = header.whole("NAXIS2", 0, _MOST_ROWS), header.whole("NAXIS1", 1, _MOST_ROW_BYTES)
            found = Layout(start, rows, row_bytes, fields, faults)
            if size < found.end:
                raise DataError(f"{too_short}: {size} bytes of at least {found.end}")
            return found
        place = start + blocks(header.data_bytes())
        if place >= size:
            break
    raise DataError("the file contains no binary table, or ends before it")


def _fields(header: Header) -> tuple[dict[str, Field], dict[str, str]]:
    if header.value("ZTABLE") is True:
        raise DataError("the table is compressed column by column (ZTABLE); unpack it with funpack")
    fields: dict[str, Field] = {}
    faults: dict[str, str] = {}
    offset = 0
    names = [_name(header, i) for i in range(1, header.whole("TFIELDS", high=999) + 1)]
    often = Counter(names)
    for i, name in enumerate(names, 1):
        repeat, code = _format(header, i)
        try:
            if often[name] > 1:
                raise DataError(f"{often[name]} columns have this name")
            fields[name] = _field(header, i, name, (offset, repeat, code))
        except DataError as error:
            faults[name] = f"column {name}: {error}"
        offset += math.ceil(repeat / 8) if code == "X" else repeat * FIELD_BYTES[code]
    row_bytes = header.whole("NAXIS1")
    if offset != row_bytes:
        raise DataError(f"the table's columns take {offset} bytes, but a row has {row_bytes}")
    return fields, faults


def _name(header: Header, i: int) -> str:
    """A column's name in lower case; one that cannot be read is never one that is looked for."""
    try:
        return header.text(f"TTYPE{i}", f"col{i}").lower()
    except DataError:
        return f"col{i}"


def _field(header: Header, i: int, name: str, place: tuple[int, int, str]) -> Field:
    offset, repeat, code = place
    if code not in _NUMPY and code != "A":
        raise DataError(f"it must hold single values, but the header declares {_WORDS[code]}")
    if repeat == 0 or (repeat != 1 and code != "A"):
        raise DataError(f"it must hold single values, but the header declares {repeat} per row")
    scale, zero = (1.0, 0.0) if code in "AL" else (header.real(f"TSCAL{i}", 1.0), header.real(f"TZERO{i}", 0.0))
    if scale == 0:
        raise DataError("its scale TSCAL is 0")
    null = header.whole(f"TNULL{i}", -(1 << 63), (1 << 63) - 1) if code in "BIJK" and f"TNULL{i}" in header else None
    dtype = f"S{repeat}" if code == "A" else _NUMPY[code]
    return Field(name, offset, code, dtype, scale, zero, null, header.text(f"TUNIT{i}", ""))


def _format(header: Header, i: int) -> tuple[int, str]:
    text = header.text(f"TFORM{i}")
    match = _FORMAT.match(text)
    if match is None or len(match[1]) > 9:
        raise DataError(f"the header's TFORM{i} must be a FITS format, got {text!r}")
    return int(match[1] or 1), match[2]
