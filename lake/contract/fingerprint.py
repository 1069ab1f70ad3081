"""The fingerprint of a table's key and data columns: independent of row order, files and engine.

``<rows>:<sum of row hashes>:<xor of row hashes>``. The sum sees duplicates, which cancel in the xor. The hash chains
over its columns and ends with the masks of its NULLs, which shows NULLs that move between columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lake.contract.spec import Column, TableSpec
from lake.sky.hashing import as_longs, chain

_MASK_BITS = 62


def fingerprint(table: pa.Table, spec: TableSpec) -> str:
    """Fingerprint of an Arrow table with the columns of ``spec``."""
    return of_hashes(row_hashes(table, spec))


def of_hashes(hashes: NDArray[np.int64]) -> str:
    """Fingerprint of rows with these hashes."""
    return Sums.of(hashes).render()


@dataclass(frozen=True)
class Sums:
    """What a fingerprint is made of; those of a table's parts add up to the table's."""

    rows: int = 0
    total: int = 0
    xor: int = 0

    @classmethod
    def of(cls, hashes: NDArray[np.int64]) -> Sums:
        """Sums of rows with these hashes."""
        total = (int((hashes >> 32).sum()) << 32) + int((hashes & 0xFFFFFFFF).sum())  # exact, where int64 overflows
        return cls(len(hashes), total, int(np.bitwise_xor.reduce(hashes)))

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.rows + other.rows, self.total + other.total, self.xor ^ other.xor)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.rows - other.rows, self.total - other.total, self.xor ^ other.xor)

    def render(self) -> str:
        return render(self.rows, self.total, self.xor)


def row_hashes(table: pa.Table, spec: TableSpec) -> NDArray[np.int64]:
    """Hash of each row (rows,)."""
    if table.num_rows == 0:
        return np.empty(0, dtype=np.int64)
    columns = [as_longs(table.column(column.name)) for column in spec.fingerprinted]
    nullable = [column.name for column in spec.fingerprinted if column.nullable]
    never = np.zeros(table.num_rows, dtype=bool)
    for start in range(0, len(nullable), _MASK_BITS):
        mask = np.zeros(table.num_rows, dtype=np.int64)
        for bit, name in enumerate(nullable[start : start + _MASK_BITS]):
            mask |= table.column(name).is_null().to_numpy(zero_copy_only=False).astype(np.int64) << bit
        columns.append((mask, never))
    return chain(columns)


def render(rows: int, total: int, xor: int) -> str:
    """The text of a fingerprint from its three aggregates."""
    return f"{rows}:{int(total)}:{xor & 0xFFFFFFFFFFFFFFFF:016x}"


def row_hash_sql(spec: TableSpec) -> str:
    """Spark SQL of a row's hash."""
    parts = [_long_sql(column) for column in spec.fingerprinted]
    nullable = [column.name for column in spec.fingerprinted if column.nullable]
    for start in range(0, len(nullable), _MASK_BITS):
        bits = (
            f"(CASE WHEN {name} IS NULL THEN {1 << i}L ELSE 0L END)"
            for i, name in enumerate(nullable[start : start + _MASK_BITS])
        )
        parts.append("(" + " + ".join(bits) + ")")
    return f"xxhash64({', '.join(parts)})"


def sql_expressions(spec: TableSpec) -> dict[str, str]:
    """The Spark SQL aggregates whose values, by name, are the arguments of :func:`render`."""
    row = row_hash_sql(spec)
    total = f"coalesce(sum(cast({row} as decimal(38,0))), 0)"
    return {"rows": "count(1)", "total": total, "xor": f"coalesce(bit_xor({row}), 0L)"}


def _long_sql(column: Column) -> str:
    if column.type == "string":
        return f"xxhash64({column.name})"
    if column.type in ("float", "double"):
        return f"cast({column.name} as double) + 0.0D"
    if column.type == "timestamp":
        return f"unix_micros({column.name})"
    return f"cast({column.name} as bigint)"
