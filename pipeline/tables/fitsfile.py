"""Arrow tables of any column types as FITS binary tables.

FITS has no null for text and no lists: a null text is written as an empty one, lists and structs as JSON, times as
ISO 8601 in UTC, non-ASCII characters by their code (``\\xe9``). A null number is NaN or the column's TNULL. A boolean
column with nulls becomes one of integers (0, 1, TNULL), because readers take FITS's own null boolean for false.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.io import fits

from lake.errors import invalid
from pipeline.tables.texttable import as_text

_FORMATS = {"i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}
_KINDS = {8: "i2", 16: "i2", 32: "i4", 64: "i8", 128: "i8"}
"""The signed integer type for a number of bits."""
_LONGEST_INTEGER = 18
"""Numbers of this many digits fit into a signed 64-bit integer."""

_LONGEST_NAME = 60


def write_fits(rows: pa.Table, out: Path) -> None:
    """Write the rows as the first extension of a FITS file, replacing any existing file."""
    if not rows.num_columns:
        raise invalid("out", "a file for rows that have columns", str(out))
    names = _distinct([_plain(name) for name in rows.column_names])
    columns = [_column(name, values.combine_chunks()) for name, values in zip(names, rows.columns, strict=True)]
    table = fits.BinTableHDU.from_columns(columns)
    table.header["TIMESYS"] = ("UTC", "time scale of times given as text")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(out, overwrite=True)


def _column(name: str, values: pa.Array) -> fits.Column:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    for wanted, make in _MAKERS:
        if wanted(values.type):
            return make(name, values)
    return _text(name, as_text(values, ascii_only=True))


def _text(name: str, values: pa.Array) -> fits.Column:
    held = [(v or "").encode("ascii", "backslashreplace") for v in values.to_pylist()]
    width = max((len(v) for v in held), default=1) or 1
    return fits.Column(name, f"{width}A", array=np.array(held, dtype=f"S{width}"))


def _integer(name: str, values: pa.Array) -> fits.Column:
    kind = _KINDS[values.type.bit_width * (2 if pa.types.is_unsigned_integer(values.type) else 1)]
    if pa.types.is_uint64(values.type) and (pc.max(values).as_py() or 0) > np.iinfo("i8").max:
        return _text(name, as_text(values))
    lowest = int(np.iinfo(kind).min)
    plain = pc.fill_null(values.cast(pa.from_numpy_dtype(np.dtype(kind))), lowest).to_numpy(zero_copy_only=False)
    return fits.Column(name, _FORMATS[kind], null=lowest if values.null_count else None, array=plain.astype(kind))


def _real(name: str, values: pa.Array) -> fits.Column:
    kind = "f8" if values.type.bit_width > 32 else "f4"
    return fits.Column(name, _FORMATS[kind], array=values.to_numpy(zero_copy_only=False).astype(kind))


def _decimal(name: str, values: pa.Array) -> fits.Column:
    """Sums of integers come as decimals: written as integers if they fit, else as floating point."""
    digits = max((len(v.as_tuple().digits) for v in values.to_pylist() if v is not None), default=0)
    if values.type.scale == 0 and digits <= _LONGEST_INTEGER:
        return _integer(name, values.cast(pa.int64()))
    return _real(name, values.cast(pa.float64()))


def _truth(name: str, values: pa.Array) -> fits.Column:
    if values.null_count:
        return _integer(name, values.cast(pa.int16()))
    return fits.Column(name, "L", array=values.to_numpy(zero_copy_only=False))


_MAKERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[str, pa.Array], fits.Column]], ...] = (
    (pa.types.is_boolean, _truth),
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _real),
    (pa.types.is_decimal, _decimal),
    (pa.types.is_string, _text),
    (pa.types.is_large_string, _text),
)


def _plain(name: str) -> str:
    """A name of the characters that the FITS standard recommends."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)[:_LONGEST_NAME]


def _distinct(names: list[str]) -> list[str]:
    """Names made distinct as FITS compares them (case-insensitively)."""
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        candidate, count = name, 1
        while candidate.lower() in taken:
            candidate, count = f"{name}_{count}", count + 1
        taken.add(candidate.lower())
        found.append(candidate)
    return found
