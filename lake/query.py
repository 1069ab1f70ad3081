"""SQL about the lake's tables by name, answered without a JVM."""

from __future__ import annotations

import re
import uuid

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake import cards, delta, tables
from lake.errors import LakeError, ParameterError, UnreachableError
from lake.root import DataRoot
from lake.spec import TableSpec

_DUCKDB_TYPES = {
    "string": "VARCHAR",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMPTZ",
}
_QUERY = re.compile(r"\s*(select|with)\b", re.IGNORECASE)
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
_DIFFERENT = re.compile(
    r"""["`\[\]{}%]|/[/*]|->|::|\\|\b(interval|date|timestamp|version|rlike|lateral)\b""", re.IGNORECASE
)
_ALIKE = {"count", "sum", "avg", "min", "max", "abs", "coalesce", "sqrt", "exp", "lower", "upper"} | {
    "select",
    "from",
    "where",
    "and",
    "or",
    "not",
    "in",
    "as",
    "on",
    "by",
    "over",
    "filter",
    "exists",
    "union",
    "all",
    "having",
    "distinct",
    "between",
    "join",
    "with",
    "when",
    "then",
    "else",
}
"""Words that may stand before a bracket in a query that Spark and DuckDB read alike."""


def query(root: DataRoot, text: str, at: str | None = None) -> pa.Table:
    """Answer a query (Spark SQL) from pinned versions; ``at`` a git revision, whose committed pins then count."""
    with duckdb.connect() as connection:
        connection.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'; SET TimeZone = 'UTC'")
        statement, named = _understand(connection, text)
        for view, (table, version) in named.items():
            _register(connection, root, view, (table, version), at)
        try:
            return connection.sql(statement).arrow().read_all()
        except duckdb.Error as error:
            raise ParameterError(f"the query cannot be answered: {error}") from error


def _understand(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[str, dict[str, tuple[str, int | None]]]:
    """DuckDB's SQL of a query, and the views it needs: name to (table, version).

    What Spark and DuckDB read alike is not translated, since loading the translator takes most of a second.
    """
    words = {word.lower() for word in _CALL.findall(text)}
    if words <= _ALIKE and not _DIFFERENT.search(text):
        try:
            found = {name.lower() for name in connection.get_table_names(text, qualified=True)}
        except duckdb.Error:
            found = {""}
        if found <= set(tables.names()) and _QUERY.match(text):
            return text, {name: (name, None) for name in found}
    from lake.sql import parse

    statement = parse(text)
    views = {named.view: (named.table, named.version) for named in statement.named}
    return statement.tree.sql(dialect="duckdb"), views


def _register(
    connection: duckdb.DuckDBPyConnection, root: DataRoot, view: str, source: tuple[str, int | None], at: str | None
) -> None:
    name, version = source
    spec = tables.spec(name)
    if version is not None:
        parts = [(_version(root, name, version), "")]
    else:
        found = cards.distinct(cards.slices(root, name, at))
        parts = [(delta.open_pinned(root, part), delta.where_sql(part.card.where)) for part in found]
    if not parts:
        raise LakeError(f"table '{name}' has not been made yet; run `dvc repro`")
    selects = [_select(connection, spec, table, where) for table, where in parts]
    connection.sql(" UNION ALL ".join(selects)).create_view(view)


def _select(connection: duckdb.DuckDBPyConnection, spec: TableSpec, table: DeltaTable, where: str) -> str:
    """SELECT of a version's rows. Local files are read by DuckDB itself, others through Arrow (slower to load)."""
    files = table.file_uris()
    columns = ", ".join(f"CAST({c.name} AS {_DUCKDB_TYPES[c.type]}) AS {c.name}" for c in spec.columns)
    if not files:
        columns = ", ".join(f"CAST(NULL AS {_DUCKDB_TYPES[c.type]}) AS {c.name}" for c in spec.columns)
        return f"SELECT {columns} WHERE false"
    if "://" in files[0]:
        source = f"arrow_{uuid.uuid4().hex}"
        connection.register(source, table.to_pyarrow_dataset(filesystem=delta.arrow_files(table)))
    else:
        listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        source = f"read_parquet([{listed}], hive_partitioning = true, hive_types_autocast = false)"
    return f"SELECT {columns} FROM {source} WHERE {where or 'true'}"


def _version(root: DataRoot, name: str, version: int) -> DeltaTable:
    try:
        return DeltaTable(root.table(name), version=version, storage_options=delta.storage_options())
    except DeltaError as error:
        raise LakeError(f"table '{name}' has no version {version} in {root.table(name)}") from error
    except OSError as error:
        raise UnreachableError(f"table '{name}' cannot be read in {root.table(name)}: {error}") from error
