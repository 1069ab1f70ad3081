"""The ends of columns that files and the log claim: lowest and highest values, and how many values are absent.

Engines pass over files and row groups by them. A damaged one hides rows from filtered queries, while all rows can be
read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from lake.root import DataRoot
from lake.store import delta, held
from lake.store.cards import Slice


@dataclass(frozen=True)
class Ends:
    """Of a column: lowest and highest value (None: none, or not claimed), and how many nulls (None: not claimed)."""

    low: Any
    high: Any
    nulls: int | None

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Ends | None:
        """The ends of numbers, truth values and texts; None for other types."""
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if not any(test(column.type) for test in _KINDS):
            return None
        nulls = column.null_count
        if pa.types.is_floating(column.type):
            column = column.filter(pc.invert(pc.is_nan(column)))
        found = pc.min_max(column).as_py() if len(column) > column.null_count else {"min": None, "max": None}
        return cls(found["min"], found["max"], nulls)

    @classmethod
    def claimed(cls, footer: pq.Statistics | None) -> Ends | None:
        """What a footer says of a column of one row group; None for what cannot be read."""
        if footer is None:
            return cls(None, None, None)
        try:
            low, high = (footer.min, footer.max) if footer.has_min_max else (None, None)
        except UnicodeDecodeError:
            return None
        return cls(low, high, footer.null_count if footer.has_null_count else None)

    def __add__(self, other: Ends) -> Ends:
        lows = [each for each in (self.low, other.low) if each is not None]
        highs = [each for each in (self.high, other.high) if each is not None]
        return Ends(min(lows, default=None), max(highs, default=None), (self.nulls or 0) + (other.nulls or 0))

    def hides(self, true: Ends) -> bool:
        """Whether a reader who believes these would pass over rows that are there; NaN claims nothing."""
        if self.nulls is not None and self.nulls != true.nulls:
            return True
        if true.low is None:
            return False
        return (self.low is not None and self.low > true.low) or (self.high is not None and self.high < true.high)


_KINDS = (
    pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string,
)  # fmt: skip


def require(root: DataRoot, entry: Slice, table: DeltaTable) -> None:
    """Raise DamagedError where a file of a slice claims ends that are not those of its rows, DamagedLogError where the
    log does. Reads all rows, a row group at a time.
    """
    for claims in delta.claims(table, entry.card.where):
        path = unquote(claims["path"])
        true: dict[str, Ends] = {}
        try:
            with delta.arrow_files(table).open_input_file(path) as source:
                for column, claim, ends in _row_groups(pq.ParquetFile(source)):
                    if claim is None or claim.hides(ends):
                        raise held.damaged_data(root, entry, f"{path} is wrong about the ends of {column}")
                    true[column] = true[column] + ends if column in true else ends
        except UnicodeDecodeError as error:
            raise held.damaged_data(root, entry, f"{path} has a column whose name is no text") from error
        for column, ends in true.items():
            if _of_log(claims, column).hides(ends):
                raise held.damaged(root, entry, f"the log is wrong about the ends of {column} in {path}")


def _row_groups(file: pq.ParquetFile) -> Iterator[tuple[str, Ends | None, Ends]]:
    """Each column of each row group, with the ends that are claimed and the true ones."""
    for number in range(file.metadata.num_row_groups):
        rows, footer = file.read_row_group(number), file.metadata.row_group(number)
        for place in range(footer.num_columns):
            chunk, column = footer.column(place), file.schema.column(place)
            ends = Ends.of(rows[column.path]) if column.path in rows.column_names else None
            if ends is not None:
                # Arrow aborts the process where it is asked for statistics of a type that is not the column's.
                of_type = chunk.physical_type == column.physical_type
                yield column.path, Ends.claimed(chunk.statistics) if of_type else None, ends


def _of_log(claims: Mapping[str, Any], column: str) -> Ends:
    low, high, nulls = (claims.get(f"{kind}.{column}") for kind in ("min", "max", "null_count"))
    return Ends(low, high, nulls)
