"""Where the columns of a FITS binary table lie in its bytes, so that a reader can stream and pick."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from lake.errors import DataError

BLOCK = 2880
_FORMAT = re.compile(r"^(\d*)([LXBIJKAEDCMPQ])")
_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_NUMPY = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}


@dataclass(frozen=True)
class Field:
    """A scalar column: place in a row, NumPy dtype, and the linear scale, null value and unit its header gives."""

    name: str
    offset: int
    dtype: str
    scale: float
    zero: float
    null: int | None
    unit: str

    def decode(self, raw: NDArray[np.void]) -> NDArray[np.generic]:
        """Values in native byte order, scaled as the header says."""
        values = raw[self.name]
        native = values.astype(values.dtype.newbyteorder("="))
        if self.scale == 1.0 and self.zero == 0.0:
            return native
        if self.scale == 1.0 and self.zero == int(self.zero) and native.dtype.kind in "iu":
            return native.astype(np.int64) + int(self.zero)
        return native.astype(np.float64) * self.scale + self.zero

    def missing(self, raw: NDArray[np.void]) -> NDArray[np.bool_]:
        """Where the raw value is the header's null value."""
        if self.null is None:
            return np.zeros(len(raw), dtype=bool)
        found: NDArray[np.bool_] = raw[self.name] == self.null
        return found


@dataclass(frozen=True)
class Layout:
    """A binary table in a file: where its rows begin, how many, how long, and its scalar columns by lower-case name."""

    start: int
    rows: int
    row_bytes: int
    fields: dict[str, Field]

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


def layout(file: pa.NativeFile) -> Layout:
    """Layout of the first binary table of a FITS file; a file that is none, or is cut short, is an error."""
    size = file.size()
    if size == 0:
        raise DataError("the file is empty")
    place = 0
    while True:
        header, start = _header(file, place, size)
        if header.get("XTENSION", "").strip() == "BINTABLE":
            break
        place = start + _padded(_data_bytes(header))
        if place >= size:
            raise DataError("the file holds no binary table, or ends before it")
    found = Layout(start, int(header["NAXIS2"]), int(header["NAXIS1"]), _fields(header))
    needed = start + found.rows * found.row_bytes
    if size < needed:
        raise DataError(f"the file is truncated: {size} bytes of at least {needed}")
    return found


def _header(file: pa.NativeFile, place: int, size: int) -> tuple[fits.Header, int]:
    text = b""
    file.seek(place)
    while place < size:
        block = file.read(BLOCK)
        place += BLOCK
        if not text and block[:8] not in (b"SIMPLE  ", b"XTENSION"):
            raise DataError("the file is no FITS file")
        text += block
        if any(text[card : card + 8] == b"END     " for card in range(len(text) - len(block), len(text), 80)):
            return _parse(text), place
    raise DataError("the file is truncated: a header has no end")


def _parse(text: bytes) -> fits.Header:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)
            header = fits.Header.fromstring(text)
            _ = list(header.items())
    except (ValueError, KeyError, TypeError, fits.VerifyError, AstropyWarning) as error:
        raise DataError(f"a header cannot be read: {error}") from error
    return header


def _data_bytes(header: fits.Header) -> int:
    axes = [int(header[f"NAXIS{i + 1}"]) for i in range(int(header.get("NAXIS", 0)))]
    if not axes:
        return 0
    return (
        abs(int(header["BITPIX"]))
        // 8
        * int(header.get("GCOUNT", 1))
        * (int(header.get("PCOUNT", 0)) + math.prod(axes))
    )


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _fields(header: fits.Header) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    offset = 0
    try:
        for i in range(1, int(header["TFIELDS"]) + 1):
            name = str(header.get(f"TTYPE{i}", f"col{i}")).strip().lower()
            repeat, code = _format(str(header[f"TFORM{i}"]).strip())
            dtype = f"S{repeat}" if code == "A" else _NUMPY.get(code)
            if dtype is not None and (repeat == 1 or code == "A") and name not in fields:
                scale, zero = float(header.get(f"TSCAL{i}", 1.0)), float(header.get(f"TZERO{i}", 0.0))
                null = header.get(f"TNULL{i}")
                unit = str(header.get(f"TUNIT{i}", ""))
                fields[name] = Field(name, offset, dtype, scale, zero, None if null is None else int(null), unit)
            offset += math.ceil(repeat / 8) if code == "X" else repeat * _BYTES[code]
    except (KeyError, ValueError) as error:
        raise DataError(f"the table's header cannot be read: {error}") from error
    if offset != int(header["NAXIS1"]):
        raise DataError(f"the table's columns take {offset} bytes of a row of {header['NAXIS1']}")
    return fields


def _format(text: str) -> tuple[int, str]:
    match = _FORMAT.match(text)
    if match is None:
        raise ValueError(f"TFORM '{text}'")
    return int(match.group(1) or 1), match.group(2)
