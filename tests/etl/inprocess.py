"""A stand-in for a Spark session that runs ``mapInArrow`` here: what pool and scans ask of one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

Batches = Iterator[pa.RecordBatch]


class Here:
    """A session and its frames."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        """Names of the files that were read."""
        self._parts: list[pa.RecordBatch] = []

    def __call__(self) -> Any:
        return self

    def range(self, start: int, end: int, step: int, partitions: int) -> Here:
        self._parts = [
            pa.RecordBatch.from_pydict({"id": part}) for part in np.array_split(range(start, end, step), partitions)
        ]
        return self

    def mapInArrow(self, job: partial[Batches], ddl: str) -> Here:  # noqa: N802
        self.seen += sorted(getattr(task, "name", task) for tasks in job.keywords["dealt"] for task in tasks)
        self._done = [row for part in self._parts for batch in job(iter([part])) for row in batch.to_pylist()]
        return self

    def collect(self) -> list[dict[str, Any]]:
        return self._done
