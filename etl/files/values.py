"""A column of a FITS table as the lake's type: what can be read exactly is, and rows that cannot are marked.

Text may contain numbers and coordinates, floats may be whole numbers, logicals may be a mask without bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from etl.files import angles
from etl.files.fitstable import Field

_NOTHING = ("", "nan", "null", "none", "-")
_TRUE, _FALSE, _UNSET = ord("T"), ord("F"), 0
_TRUTHS = {"true": "1", "t": "1", "false": "0", "f": "0"}
_EXACT = 2.0**53
_READERS: dict[str, Callable[[str], float | None]] = {"ra": angles.right_ascension, "dec": angles.declination}

Mask = NDArray[np.bool_]
Numbers = NDArray[Any]


@dataclass(frozen=True)
class Values:
    """A column's values, null where there is none, and which ones cannot be read as the type (None: all can)."""

    array: pa.Array
    bad: Mask | None = None

    @classmethod
    def of(cls, found: Numbers, kind: pa.DataType, null: Mask, bad: Mask) -> Values:
        absent = null | bad
        if absent.any() and found.dtype.kind == "f":  # where a mask is given, Arrow keeps NaN
            absent |= np.isnan(found)
        array = pa.array(found, mask=absent if absent.any() else None, from_pandas=True)
        return cls(array.cast(kind), bad if bad.any() else None)


def wanted(kind: pa.DataType) -> str:
    """The values that a column of a type must have, in words."""
    if pa.types.is_boolean(kind):
        return "true or false"
    return "a whole number that fits" if pa.types.is_integer(kind) else "a finite number"


def numbers(field: Field, raw: NDArray[np.void], kind: pa.DataType) -> tuple[Numbers, Mask | None, Mask | None]:
    """A column of numbers as :func:`values` reads it, without Arrow: values, where there is none, and where one is bad.

    A mask without any is None; what is absent is NaN among floats, 0 among other values.
    """
    wanted_type = np.dtype(kind.to_pandas_dtype())
    stored = np.dtype(field.dtype).newbyteorder("=")
    if field.as_stored and (stored == wanted_type or (stored.kind in "iu" and np.can_cast(stored, wanted_type))):
        found = raw[field.name].astype(wanted_type)
        bad = np.isinf(found) if found.dtype.kind == "f" else None
        return found, None, bad if bad is not None and bad.any() else None
    each = values(field, raw, kind)
    null = pc.is_null(each.array).to_numpy(zero_copy_only=False) if each.array.null_count else None
    absent = math.nan if wanted_type.kind == "f" else False if wanted_type.kind == "b" else 0
    return pc.fill_null(each.array, absent).to_numpy(zero_copy_only=False), null, each.bad


def words(field: Field, raw: NDArray[np.void]) -> tuple[list[str], NDArray[np.int32]]:
    """A column of text: the texts it holds, trimmed, and the place of each row's among them."""
    coded = pa.array(field.decode(raw), pa.binary()).dictionary_encode()
    held = pc.utf8_trim_whitespace(_text(np.array(coded.dictionary.to_pylist(), dtype=object)))
    return held.to_pylist(), coded.indices.to_numpy()


def values(field: Field, raw: NDArray[np.void], kind: pa.DataType) -> Values:
    """A column of raw rows; text trimmed, NaN and the header's null value as null."""
    if field.code == "A":
        texts = pc.utf8_trim_whitespace(_text(field.decode(raw)))
        return Values(texts) if pa.types.is_string(kind) else _numbers(texts, _READERS.get(field.name), kind)
    found = field.decode(raw)
    if field.code == "L":
        return _logical(found, kind)
    return _cast(found, field.missing(raw), kind)


def _cast(found: Numbers, null: Mask, kind: pa.DataType) -> Values:
    if pa.types.is_boolean(kind):
        return Values.of(found == 1, kind, null, (found != 0) & (found != 1))
    if pa.types.is_integer(kind):
        return _whole(found, null, kind)
    with np.errstate(over="ignore"):
        single = found.astype(kind.to_pandas_dtype(), copy=False)
    return Values.of(single, kind, null, np.isinf(single) & ~null)


def _whole(found: Numbers, null: Mask, kind: pa.DataType) -> Values:
    """Whole numbers; floats where they are exact."""
    target = np.dtype(kind.to_pandas_dtype())
    if np.can_cast(found.dtype, target):
        return Values.of(found, kind, null, np.zeros(len(found), dtype=bool))
    limits = np.iinfo(target)
    if found.dtype.kind == "f":
        null = null | np.isnan(found)
        exact = (np.abs(found) <= _EXACT) & (found >= limits.min) & (found <= limits.max)
        bad = ~null & ~(exact & (np.floor(found) == found))
    else:
        bad = ~null & ((found < limits.min) | (found > limits.max))
    return Values.of(np.where(null | bad, 0, found).astype(target), kind, null, bad)


def _logical(found: NDArray[np.generic], kind: pa.DataType) -> Values:
    """Logical values; as a number only false has a meaning, 0: true does not say which bits are set."""
    null, true = found == _UNSET, found == _TRUE
    bad = ~(null | true | (found == _FALSE))
    if not pa.types.is_boolean(kind):
        bad |= true
    return Values.of(true.astype(kind.to_pandas_dtype()), kind, null, bad)


def _numbers(texts: pa.Array, reader: Callable[[str], float | None] | None, kind: pa.DataType) -> Values:
    """Numbers written as text, each distinct text read once."""
    coded = texts.dictionary_encode()
    words = coded.dictionary.to_pylist()
    if pa.types.is_boolean(kind):
        reader = _truth
    parsed = [None if word.lower() in _NOTHING else (reader or angles.number)(word) for word in words]
    known = np.array([math.nan if value is None else value for value in parsed], dtype=np.float64)
    unread = np.array(
        [value is None and word.lower() not in _NOTHING for word, value in zip(words, parsed, strict=True)]
    )
    place = coded.indices.to_numpy(zero_copy_only=False)
    cast = _cast(known[place], np.zeros(len(place), dtype=bool), kind)
    bad = unread.astype(bool)[place] | (cast.bad if cast.bad is not None else False)
    return Values(cast.array, bad if bad.any() else None)


def _truth(word: str) -> float | None:
    """1 or 0 for a truth value."""
    return angles.number(_TRUTHS.get(word.lower(), word))


def _text(found: NDArray[np.generic]) -> pa.Array:
    try:
        return pa.array(found, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(np.char.decode(found.astype(np.bytes_), "ascii", "replace").tolist(), pa.string())
