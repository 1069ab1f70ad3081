"""The context of a stage that uses Spark."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from etl.spark import session
from etl.tables import scan, writer
from etl.tables.scan import Scan
from etl.tables.table import read
from lake.store import parts, quarantine
from lake.store.cards import Card
from lake.store.parts import Parts
from pipeline.project.context import RunContext


@dataclass
class SparkRun(RunContext):
    """What a stage that uses Spark may use."""

    _spark: SparkSession | None = field(default=None, init=False)

    @property
    def spark(self) -> SparkSession:
        """The stage's Spark session, made on first use."""
        if self._spark is None:
            self._spark = session.session(self.root, self.stage, self.slice_name, self.survey.compile_queries)
        return self._spark

    def read_spark(self, table: str, slices: Sequence[str | None] | None = None) -> DataFrame:
        """Rows of a table at its pinned version as a Spark frame."""
        self.note_table(table, slices)
        return read(self.spark, self.root, table, slices)

    def staged(self, path: Path) -> str:
        """Where Spark's executors find a file of the project: on a cluster in its staging area (``DHS_STAGED``)."""
        staged = os.environ.get("DHS_STAGED")
        return f"{staged}/{path.relative_to(self.project.folder)}" if staged else str(path.resolve())

    def scan(self, table: str) -> Scan:
        """What reads a table without slices, at its pinned version, in Spark's Python workers."""
        self.note_table(table, None)
        return partial(scan.scan, self.spark, self.root, table)

    def publish(
        self,
        rows: DataFrame | pa.Table | Parts,
        table: str,
        slice_name: str | None = None,
        where: Mapping[str, str] | None = None,
        rejected: DataFrame | pa.Table | None = None,
        judged: int | None = None,
    ) -> Card:
        """Publish a slice of a table, by the engine that holds its rows.

        Rows that break the contract, and ``rejected``, which is a frame where ``rows`` is one, go to quarantine.
        ``judged``: see :func:`etl.tables.writer.publish`.
        """
        target = self.target(table, slice_name, where)
        if isinstance(rows, Parts):
            return parts.publish(target, rows, rejected)
        if isinstance(rows, pa.Table):
            return quarantine.publish(target, rows, rejected)
        return writer.publish(rows, target, rejected, judged)

    def explain(self, error: Exception) -> None:
        """Raise an error that says what to do, if Spark itself failed."""
        if self._spark is not None:
            session.explain(self.root, error)
