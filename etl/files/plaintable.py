"""CSV and Parquet tables as rows of a FITS table, so that catalogues of all formats are processed alike.

A CSV file may be compressed by gzip; its first bytes show it.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from etl.files import sweepfiles
from etl.files.fitstable import Field, Layout
from etl.files.sweepfiles import Opened
from lake.errors import DataError, one_line
from lake.files import storage

_CSV = (".csv", ".csv.gz")
_ENDINGS = (*_CSV, ".parquet")
_TEXT_BYTES = 64
"""Longest text of a cell that is read, in bytes."""
_CHUNK = 8 << 20
_NO_NUMBER = np.iinfo(np.int64).min
"""Stands for no value among whole numbers."""
_PART_ROWS = 65_536
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
_BINARIES = (
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary,
)  # fmt: skip


def is_plain(name: str) -> bool:
    """Whether a file is such a table, by its name."""
    return name.lower().endswith(_ENDINGS)


@dataclass(frozen=True)
class PlainTable:
    """A table in a file; the names of its columns count in any case."""

    path: str
    schema: pa.Schema
    rows: int

    def layout(self) -> Layout:
        """Its columns as a FITS table would have them: numbers as such, everything else as text."""
        often = Counter(name.lower() for name in self.schema.names)
        fields, faults, offset = {}, {}, 0
        for each in self.schema:
            name, code = each.name.lower(), _code(each.type)
            if often[name] > 1:
                faults[name] = f"column {name}: {often[name]} columns have this name"
            elif code is None:
                faults[name] = f"column {name}: it must hold single values, but the file has {each.type}"
            else:
                dtype = f"S{_TEXT_BYTES}" if code == "A" else {"D": "<f8", "K": "<i8", "L": "u1"}[code]
                null = _NO_NUMBER if code == "K" else None
                fields[name] = Field(name, offset, code, dtype, 1.0, 0.0, null, "")
                offset += np.dtype(dtype).itemsize
        return Layout(0, self.rows, max(offset, 1), fields, faults)

    def parts(self, found: Layout, stop: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Consecutive rows as bytes (rows, row_bytes), with the number of the first."""
        there = {each.offset: name for name, each in self.layout().fields.items()}
        written = {name.lower(): name for name in self.schema.names}
        columns = {name: written[there[each.offset]] for name, each in found.fields.items()}
        start = 0
        for batch in self._batches(list(columns.values())):
            for part in (batch.slice(first, _PART_ROWS) for first in range(0, batch.num_rows, _PART_ROWS)):
                part = part.slice(0, stop - start)
                if part.num_rows:
                    yield start, _packed(part, found, columns)
                    start += part.num_rows
        if start != stop:
            raise DataError(f"the file changed while it was read: it has {start} rows instead of {stop}")

    def _batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if self.path.lower().endswith(_CSV):
            with _csv(self.path, columns) as cells:
                yield from cells
            return
        with storage.open_file(self.path) as file, _named_faults():
            yield from pq.ParquetFile(file).iter_batches(_PART_ROWS, columns=list(columns))

    def sha256(self) -> str:
        """Hash of the whole file."""
        digest = hashlib.sha256()
        with storage.open_file(self.path) as file:
            while content := file.read(_CHUNK):
                digest.update(content)
        return digest.hexdigest()


def opened(path: str) -> PlainTable:
    """A table to be read; DataError if it is none."""
    with storage.open_file(path) as file, _named_faults():
        if not file.size():
            raise DataError("the file is empty")
        if not path.lower().endswith(_CSV):
            held = pq.ParquetFile(file)
            return PlainTable(path, held.schema_arrow, held.metadata.num_rows)
    with _csv(path, None) as cells:
        names = cells.schema.names
    with _csv(path, names[:1] if len(set(names)) == len(names) else None) as cells:
        rows = sum(batch.num_rows for batch in cells)
    return PlainTable(path, pa.schema([(name, pa.string()) for name in names]), rows)


@contextmanager
def _named_faults() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, EOFError, zlib.error) as error:
        raise DataError(f"the file cannot be read: {one_line(error)}") from error


@contextmanager
def _csv(path: str, columns: Sequence[str] | None) -> Iterator[pyarrow.csv.CSVStreamingReader]:
    """A reader of a CSV file's cells as text."""
    kinds = {name: pa.string() for name in columns or ()}
    texts = pyarrow.csv.ConvertOptions(include_columns=columns, column_types=kinds)
    with sweepfiles.opened(path) as file, _named_faults():
        yield pyarrow.csv.open_csv(_Bounded(file), convert_options=texts)


class _Bounded(io.RawIOBase):
    """The bytes of a file in order, decompressed if it is compressed; DataError if it decompresses to too many."""

    def __init__(self, file: Opened) -> None:
        self._file, self._read = file, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        content = self._file.file.read(_CHUNK if size is None or size < 0 else size)
        self._read += len(content)
        if self._read > self._file.size:
            raise DataError(f"the file unpacks to more than {self._file.size} bytes")
        return content


def _code(kind: pa.DataType) -> str | None:
    """The FITS format for values of a type; None if there is none."""
    if pa.types.is_dictionary(kind):
        return _code(kind.value_type)
    if pa.types.is_boolean(kind):
        return "L"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "D"
    if pa.types.is_integer(kind):
        return "A" if kind == pa.uint64() else "K"
    return "A" if _is_binary(kind) or any(test(kind) for test in _TEXTS) else None


def _is_binary(kind: pa.DataType) -> bool:
    return any(test(kind) for test in _BINARIES)


def _packed(batch: pa.RecordBatch, found: Layout, columns: dict[str, str]) -> NDArray[np.uint8]:
    raw = np.zeros(batch.num_rows, dtype=found.dtype(list(found.fields)))
    for field in found.fields.values():
        raw[field.name] = _values(batch.column(columns[field.name]), field)
    return raw.view(np.uint8).reshape(batch.num_rows, -1)


def _values(column: Any, field: Field) -> NDArray[Any]:
    """A column's values as FITS stores them."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if field.code == "L":
        return pc.if_else(column, ord("T"), ord("F")).fill_null(0).to_numpy(zero_copy_only=False).astype(np.uint8)
    if field.code == "D":
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if field.code == "K":
        return column.cast(pa.int64()).fill_null(_NO_NUMBER).to_numpy(zero_copy_only=False)
    return _texts((column if _is_binary(column.type) else column.cast(pa.string())).cast(pa.binary()), field.name)


def _texts(column: pa.Array, name: str) -> NDArray[np.bytes_]:
    """Texts of fixed length, filled up with spaces."""
    longest = pc.max(pc.binary_length(column)).as_py() or 0
    if longest > _TEXT_BYTES:
        raise DataError(f"column {name.lower()}: a text has {longest} bytes, more than {_TEXT_BYTES}")
    return np.array(column.fill_null(b"").to_pylist(), dtype=f"S{_TEXT_BYTES}")
