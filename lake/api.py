"""The lake in Python: tables and views by name, at their pinned versions.

Without ``root``, the lake is that of the project in the working directory or the nearest folder above it, found and
read as ``dhs`` does: parameters that ``dhs`` refuses are refused with the same sentence, and tables of another survey
are not read. ``root`` is a data folder, whose tables of every survey are read, or a :class:`~lake.root.DataRoot` where
the tables are in an object store; no parameters are read then.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lake import tables
from lake.errors import ParameterError, invalid, not_one_of
from lake.root import DataRoot
from lake.store import delta, views
from lake.store import query as sql
from lake.store.status import REGISTRY, Reading

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Place = DataRoot | str | Path | None


def read(
    table: str,
    columns: Sequence[str] | None = None,
    slices: Sequence[str | None] | None = None,
    root: Place = None,
) -> pa.Table:
    """Rows of a table or view as Arrow, in the order of the key, without a JVM: ``lake.read("completeness_main")``.

    ``slices`` chooses generations (or other slices of the table), invalidated ones too; without it, results of
    invalidated runs are left out. A view has no slices. LakeError where the rows have not been made or cannot be read.
    """
    place = _place(root)
    for name in columns or ():
        if name not in sql.spec_of(table).names:
            raise not_one_of("columns", sql.spec_of(table).names, name)
    if table not in views.VIEWS and slices is not None:
        return delta.read(place, table, columns, slices)
    if table in tables.names() and table != REGISTRY:
        valid = [entry.card.slice for entry in Reading(place).slices(table)]
        none = tables.spec(table).arrow_schema().empty_table()
        return delta.read(place, table, columns, valid) if valid else none.select(list(columns or none.column_names))
    if slices is not None:
        raise invalid("slices", f"None of the view '{table}'", slices)
    rows = sql.read_all(place, table)
    return rows if columns is None else rows.select(list(columns))


def query(text: str, at: str | None = None, root: Place = None, invalid_too: bool = False) -> pa.Table:
    """The result of a query in DuckDB's SQL as Arrow, without a JVM; ``at`` a git revision, whose pins then count.

    ``lake.query("select split, count(*) as n from manifest group by all").to_pandas()``. ParameterError where the query
    fails; see :func:`lake.store.query.query` for what it may contain. Results of invalidated runs are left out unless
    ``invalid_too``.
    """
    return sql.query(_place(root), text, at, invalid_too=invalid_too)


def spark(root: Place = None) -> SparkSession:
    """A Spark session in which all tables and views have their names: ``lake.spark().table("tractor_pool")``.

    Java 17 is needed; tables made later are not in it.
    """
    # By name, when it is called: lake is below etl, and must be usable without Spark.
    found: SparkSession = importlib.import_module("etl.tables.query").lake_session(_place(root))
    return found


def _place(root: Place) -> DataRoot:
    if root is not None:
        return root if isinstance(root, DataRoot) else DataRoot.of(root)
    # By name: lake is below pipeline, whose reading of params.yaml decides for a notebook as it does for dhs.
    params = importlib.import_module("pipeline.project.params")
    folder = params.nearest(Path.cwd())
    if folder is None:
        raise ParameterError(f"no params.yaml in {Path.cwd()} or above it: name the data folder, root='.../data'")
    found: DataRoot = params.load(folder).data
    return found
