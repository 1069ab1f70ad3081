"""The context of a stage that uses Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, SparkSession

from etl.spark import session
from etl.tables import reader, writer
from etl.tables.pins import Provenance
from lake import tables
from lake.store import cards
from lake.store.cards import Card
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
        return reader.read(self.spark, self.root, table, slices)

    def publish(
        self,
        frame: DataFrame,
        table: str,
        slice_name: str | None = None,
        where: Mapping[str, str] | None = None,
        rejected: DataFrame | None = None,
    ) -> Card:
        """Publish a slice of a Spark table; rows that break the contract, and ``rejected``, go to quarantine."""
        provenance = Provenance(cards.stem(self.stage, self.slice_name), self.code, self.inputs)
        return writer.publish(frame, tables.spec(table), self.root, slice_name, where or {}, provenance, rejected)

    def explain(self, error: Exception) -> None:
        """Raise what to do next where Spark itself failed."""
        if self._spark is not None:
            session.explain(self.root, error)
