"""The contract of a table: columns with unit, meaning and range, compiled to schemas, SQL rules and documentation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Type = Literal["string", "int", "bigint", "float", "double", "boolean", "timestamp"]
Role = Literal["key", "data", "lineage"]
Engine = Literal["spark", "delta-rs"]

ORIGIN = ("sweep_file", "row_index")
"""Columns of a table that say which file and row a row came from."""
_ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True)
class Column:
    """One column of a table's contract; ``low`` and ``high`` are inclusive."""

    name: str
    type: Type
    meaning: str
    unit: str = ""
    role: Role = "data"
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    allowed: tuple[str, ...] = ()

    @property
    def arrow(self) -> pa.Field:
        return pa.field(self.name, _ARROW[self.type], nullable=self.nullable)

    def rule(self) -> Rule | None:
        """The row rule of this column, or None where every value of the type is allowed."""
        tests = self._value_tests()
        if not tests and self.nullable:
            return None
        if self.nullable:
            sql = f"{self.name} IS NULL OR ({' AND '.join(tests)})"
        else:
            sql = " AND ".join([f"{self.name} IS NOT NULL", *tests])
        return Rule(f"{self.name}_valid", sql, f"'{self.name}' must be {self.allowed_text()}")

    def met(self, nulls: int, rows: int) -> bool:
        """Whether the number of nulls among the rows says that all of them meet the rule."""
        return nulls == rows if self.nullable else not (nulls or self._value_tests())

    def _value_tests(self) -> list[str]:
        tests = []
        if self.type in ("float", "double"):
            tests.append(f"NOT isnan({self.name})")
        if self.low is not None:
            tests.append(f"{self.name} >= {self._literal(self.low)}")
        if self.high is not None:
            tests.append(f"{self.name} <= {self._literal(self.high)}")
        if self.allowed:
            tests.append(f"{self.name} IN ({', '.join(repr(value) for value in self.allowed)})")
        return tests

    def _literal(self, bound: float) -> str:
        return str(int(bound)) if self.type in ("int", "bigint") else repr(float(bound))

    def allowed_text(self) -> str:
        """The allowed values in words, for error messages and the data-model page."""
        parts = [] if self.nullable else ["given"]
        if self.type in ("float", "double"):
            parts.append("a number")
        if self.low is not None or self.high is not None:
            low = "-inf" if self.low is None else f"{self.low:g}"
            high = "inf" if self.high is None else f"{self.high:g}"
            parts.append(f"in [{low}, {high}]")
        if self.allowed:
            parts.append("one of " + ", ".join(self.allowed))
        return ", ".join(parts) or "anything"


@dataclass(frozen=True)
class Rule:
    """A condition every row must meet, in SQL that Spark, DataFusion and DuckDB read alike (never NULL)."""

    name: str
    sql: str
    text: str


LINEAGE = (
    Column("pipeline_version", "string", "version of the code that wrote the row", role="lineage"),
    Column("git_commit", "string", "commit of the code that wrote the row", role="lineage"),
    Column("extracted_at", "timestamp", "when the row was written", role="lineage"),
)
"""The last columns of every table: who wrote a row, and when. They are never part of a fingerprint."""


@dataclass(frozen=True)
class TableSpec:
    """The contract of one table, made from its key and data columns; ``LINEAGE`` is added to them."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    engine: Engine = "delta-rs"
    slice_by: tuple[str, ...] = ()
    extra_rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        own = (column for column in self.columns if column not in LINEAGE)
        object.__setattr__(self, "columns", (*own, *LINEAGE))

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.role == "key")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def has_origin(self) -> bool:
        """Whether its rows say which file and row they came from (``ORIGIN``)."""
        return set(ORIGIN) <= set(self.names)

    @property
    def fingerprinted(self) -> tuple[Column, ...]:
        """Key and data columns: what the fingerprint covers."""
        return tuple(column for column in self.columns if column.role != "lineage")

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def rules(self) -> tuple[Rule, ...]:
        own = (column.rule() for column in self.columns)
        return tuple(rule for rule in own if rule is not None) + self.extra_rules

    def constraints(self) -> dict[str, str]:
        """Delta CHECK constraints by name; NULL-safe, since CHECK treats NULL as a violation."""
        return {rule.name: rule.sql for rule in self.rules()}

    def arrow_schema(self) -> pa.Schema:
        return pa.schema([column.arrow for column in self.columns])

    def row_schema(self) -> pa.Schema:
        """Arrow schema of what a job makes, not judged yet: all columns but those that the writer fills in."""
        return pa.schema([pa.field(c.name, c.arrow.type) for c in self.columns if c not in LINEAGE])

    def table(self, rows: Sequence[Mapping[str, object]]) -> pa.Table:
        """Rows given by name as an Arrow table of ``row_schema``; columns that are not given are null."""
        return pa.Table.from_pylist([dict(row) for row in rows], schema=self.row_schema())

    def schema_hash(self) -> str:
        """Hash of what readers depend on: names, types, roles and rules, not the prose."""
        facts = [[c.name, c.type, c.role, c.nullable, c.unit] for c in self.columns]
        text = json.dumps([facts, self.constraints(), list(self.slice_by)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
