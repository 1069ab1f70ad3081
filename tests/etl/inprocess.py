"""A stand-in for a Spark session that runs ``mapInArrow`` here: what the pool asks of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

Batches = Iterator[pa.RecordBatch]


class Here:
    """A session and its frames."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        """Names of the rows that were worked on."""
        self._rows: list[dict[str, Any]] = []

    def __call__(self) -> Any:
        return self

    def createDataFrame(self, rows: Sequence[tuple[Any, ...]], ddl: str) -> Here:  # noqa: N802
        names = [column.split()[0] for column in ddl.split(", ")]
        self._rows = [dict(zip(names, row, strict=True)) for row in rows]
        return self

    def repartition(self, parts: int) -> Here:
        assert parts >= 1
        return self

    def mapInArrow(self, job: Callable[[Batches], Batches], ddl: str) -> Here:  # noqa: N802
        self.seen += sorted(row["name"] for row in self._rows)
        self._done = [row for batch in job(iter([pa.RecordBatch.from_pylist(self._rows)])) for row in batch.to_pylist()]
        return self

    def collect(self) -> list[dict[str, Any]]:
        return self._done
