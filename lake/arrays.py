"""Arrow's arrays from Python's and NumPy's values, and back, without pandas.

pyarrow imports pandas when it is given any such value (`pa.array`, `pa.scalar`, `pa.table`, a comparison with a number
or a text), for `to_numpy`, and when `pyarrow.dataset` is imported. That takes a third of a short command's time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Plain = str | float | bool | None
"""A value of a row; NumPy's numbers and truth values are as good."""


def texts(values: Iterable[str | None]) -> pa.Array:
    """Texts, or null."""
    builder = pa.lib.StringBuilder()
    for value in values:
        builder.append(value)
    return builder.finish()


def text(value: str) -> pa.Scalar:
    """A text to compare with, or to repeat."""
    return texts([value])[0]


def numbers(values: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> pa.Array:
    """Numbers or truth values (rows); null where the mask is true. NaN stays a number."""
    values = values.astype(values.dtype.newbyteorder("="), copy=False)  # Arrow takes the bytes as they are
    held = None if mask is None else pa.py_buffer(np.packbits(~mask, bitorder="little"))
    if values.dtype == np.bool_:
        bits = pa.py_buffer(np.packbits(values, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), len(values), [held, bits])
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [held, pa.py_buffer(np.ascontiguousarray(values))])


def table(parts: Mapping[str, pa.Array | pa.ChunkedArray | NDArray[Any]]) -> pa.Table:
    """A table of columns that are Arrow's or NumPy's already."""
    made = [one if isinstance(one, pa.Array | pa.ChunkedArray) else _column_of(one) for one in parts.values()]
    return pa.Table.from_arrays(made, list(parts))


def _column_of(column: NDArray[Any]) -> pa.Array:
    return texts(column.tolist()) if column.dtype.kind == "U" else numbers(column)


def values(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """NumPy's array of a column of texts, numbers or truth values (read-only where it shares Arrow's memory).

    Numbers are NaN where they are null (integers are then of double precision); texts, and truth values of which some
    are null, are objects with None.
    """
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    whole = whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole
    if pa.types.is_integer(whole.type) or pa.types.is_floating(whole.type):
        if whole.null_count:
            whole = whole.cast(pa.float64(), safe=False) if pa.types.is_integer(whole.type) else whole
            whole = pc.fill_null(whole, numbers(np.array([np.nan]))[0].cast(whole.type))
        return np.from_dlpack(whole)
    if pa.types.is_boolean(whole.type):
        if whole.null_count:
            return np.array(whole.to_pylist(), dtype=object)
        return np.from_dlpack(whole.cast(pa.uint8())).view(np.bool_)
    encoded = whole.dictionary_encode(null_encoding="encode")
    return np.array(encoded.dictionary.to_pylist(), dtype=object)[np.from_dlpack(encoded.indices)]


def columns(rows: pa.Table) -> dict[str, NDArray[Any]]:
    """The columns of a table by name (:func:`values`)."""
    return {name: values(rows[name]) for name in rows.column_names}


def of_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table of rows that have the same columns, each of texts, numbers or truth values; null for None and NaN."""
    names = list(rows[0]) if rows else []
    return pa.Table.from_arrays([_column([row[name] for row in rows]) for name in names], names)


def _column(values: list[Plain]) -> pa.Array:
    absent = np.array([value is None or value != value for value in values], dtype=bool)
    if any(isinstance(value, str) for value in values):
        return texts(None if lost else str(value) for value, lost in zip(values, absent, strict=True))
    if absent.all():
        return pa.nulls(len(values), pa.float64())
    known = np.array([value for value in values if value is not None])
    return numbers(np.array([known.dtype.type() if value is None else value for value in values]), absent)
