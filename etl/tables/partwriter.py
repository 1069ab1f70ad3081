"""Writing a part of a table: a Parquet file of rows that meet its contract, fingerprinted on the way."""

from __future__ import annotations

from contextlib import ExitStack
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from lake.contract.fingerprint import Sums, row_hashes
from lake.contract.spec import TableSpec
from lake.files import storage
from lake.store import parts
from lake.store.parts import Part


class PartWriter:
    """A part while it is written; it appears when it is closed. Without rows there is none."""

    def __init__(self, folder: str, name: str, spec: TableSpec) -> None:
        self._folder, self._name, self.spec = folder, name, spec
        self._stack = ExitStack()
        self._file: BinaryIO | None = None
        self._writer: pq.ParquetWriter | None = None
        self.sums = Sums()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def write(self, rows: pa.Table) -> None:
        """Write rows with all columns of the contract as a row group; those of the slice are in the file's path."""
        if not rows.num_rows:
            return
        held = rows.drop_columns(list(self.spec.slice_by))
        if self._writer is None:
            self._file = self._stack.enter_context(storage.writing(f"{self._folder}/{self._name}"))
            self._writer = pq.ParquetWriter(self._file, held.schema, **parts.options(self.spec))
        self._writer.write_table(held)
        self.sums += Sums.of(row_hashes(rows, self.spec))

    def closed(self) -> Part | None:
        """The part, complete and in its place."""
        if self._writer is None or self._file is None:
            return None
        self._writer.close()
        size = self._file.tell()
        self._stack.close()
        return Part(self._name, size, self.sums.rows, parts.statistics(self._writer.writer.metadata))
