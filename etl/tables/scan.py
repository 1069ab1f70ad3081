"""A large table read by Spark's Python workers: each row group becomes Arrow there, and only what is chosen leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from etl.tables.arrowbytes import packed, unpacked
from lake import tables
from lake.errors import LakeError
from lake.files import storage
from lake.root import DataRoot
from lake.sky.hashing import hash_strings
from lake.store import delta

_BYTES_PER_TASK = 64 << 20
_BATCH_ROWS = 65_536
_FILTER = np.uint64((1 << 22) - 1)
Task = TypeVar("Task")


class Choice(Protocol):
    """What is taken from each batch of a table's rows; it is sent to the workers."""

    @property
    def columns(self) -> Sequence[str]:
        """Columns that are read."""

    @property
    def schema(self) -> pa.Schema:
        """What a batch becomes."""

    def __call__(self, rows: pa.Table) -> pa.Table: ...


Scan = Callable[[Choice], pa.Table]
"""What a choice takes from all rows of one table, in no order."""


def scan(spark: SparkSession, root: DataRoot, name: str, choice: Choice) -> pa.Table:
    """What ``choice`` takes from the rows of a table without slices, at its pinned version."""
    entries = delta.chosen(root, name, None, None)
    if entries[0].card.where:
        raise LakeError(f"table '{name}' has slices, and only tables without slices can be read this way")
    table = delta.open_pinned(root, entries[0])
    delta.require_files(root, entries[0], table)
    delta.require_columns(name, table, choice.columns)
    files = delta.added(table, {})
    dealt = shared_out([path for path, _ in files], [size for _, size in files], _BYTES_PER_TASK)
    texts = [c.name for c in tables.spec(name).columns if c.type == "string" and c.role != "key"]
    job = partial(_read, dealt=dealt, folder=root.table(name), repeated=texts, choice=choice)
    numbers = spark.range(0, len(dealt), 1, len(dealt))
    found = [bytes(row["rows"]) for row in numbers.mapInArrow(job, "rows binary").collect()]
    return pa.concat_tables([choice.schema.empty_table(), *map(unpacked, found)])


def shared_out(tasks: Sequence[Task], sizes: Sequence[int], bytes_each: int) -> list[list[Task]]:
    """The tasks in shares of about equal size, at least two if there are two tasks."""
    ordered = sorted(range(len(tasks)), key=lambda number: -sizes[number])
    shares = max(1, min(len(tasks), max(2, math.ceil(sum(sizes) / bytes_each))))
    return [[tasks[number] for number in ordered[first::shares]] for first in range(shares)]


def _read(
    shares: Iterator[pa.RecordBatch],
    dealt: Sequence[Sequence[str]],
    folder: str,
    repeated: Sequence[str],
    choice: Choice,
) -> Iterator[pa.RecordBatch]:
    """``mapInArrow`` function: numbers of shares -> what is chosen of each, as one value."""
    for batch in shares:
        for number in batch["id"].to_pylist():
            files = (f"{folder}/{path}" for path in dealt[number])
            rows = (choice(each) for file in files for each in batches(file, choice.columns, repeated))
            chosen = pa.concat_tables([choice.schema.empty_table(), *(each.cast(choice.schema) for each in rows)])
            yield pa.RecordBatch.from_pydict({"rows": [packed(chosen)]})


def batches(place: str, columns: Sequence[str], repeated: Sequence[str] = ()) -> Iterator[pa.Table]:
    """The rows of a file, with the columns of ``repeated`` texts as dictionaries."""
    with storage.open_file(place) as source:
        file = pq.ParquetFile(source, read_dictionary=repeated)
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number, list(columns), use_threads=False)
            yield from (rows.slice(first, _BATCH_ROWS) for first in range(0, rows.num_rows, _BATCH_ROWS))


@dataclass(frozen=True)
class Named:
    """The rows with certain values of ``galaxy_id``."""

    hashes: NDArray[np.uint64]
    """Of these values, in ascending order."""
    schema: pa.Schema

    @classmethod
    def of(cls, ids: pa.ChunkedArray, schema: pa.Schema) -> Named:
        """Of ``ids`` the columns of ``schema``, with ``galaxy_id`` among them."""
        return cls(np.unique(hash_strings(ids)), schema)

    @property
    def columns(self) -> Sequence[str]:
        return list(self.schema.names)

    def __call__(self, rows: pa.Table) -> pa.Table:
        hashes = hash_strings(rows["galaxy_id"])
        maybe = np.flatnonzero(self._seen[hashes & _FILTER])
        place = np.searchsorted(self.hashes, hashes[maybe])
        found = self.hashes[np.minimum(place, len(self.hashes) - 1)] == hashes[maybe]
        return rows.take(pa.array(maybe[found]))

    @cached_property
    def _seen(self) -> NDArray[np.bool_]:
        """Whether any hash ends with certain bits: a table in the processor's cache, which excludes most rows."""
        seen = np.zeros(int(_FILTER) + 1, dtype=bool)
        seen[self.hashes & _FILTER] = True
        return seen
