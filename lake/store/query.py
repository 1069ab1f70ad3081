"""SQL on the lake's tables by name, without a JVM."""

from __future__ import annotations

import difflib
import re
import uuid
from collections.abc import Mapping

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake import tables
from lake.contract.spec import TableSpec
from lake.errors import LakeError, ParameterError, UnreachableError, invalid
from lake.root import DataRoot
from lake.store import cards, delta, views

_DUCKDB_TYPES = {
    "string": "VARCHAR",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMPTZ",
}
_SETTINGS = """
SET default_null_order = 'nulls_first_on_asc_last_on_desc'; SET TimeZone = 'UTC';
SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; SET lock_configuration = true
"""
"""Sort as Spark does; never fetch or load an extension because a query names it."""
_OF_FILES = (duckdb.IOException, duckdb.InvalidInputException, duckdb.SerializationException)
"""Errors that a damaged file causes, among other things."""
_QUERY = re.compile(r"\s*(select|with)\b", re.IGNORECASE)
_VERB = re.compile(r"\s*(describe|desc|show|explain)\b(\s+table\b)?(.*)", re.IGNORECASE | re.DOTALL)
_NO_COLUMN = re.compile(r'column "([^"]+)" not found|does not have a column named "([^"]+)"')
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
_DIFFERENT = re.compile(
    r"""["`\[\]{}%]|/[/*]|->|::|\\|\^|\b(interval|date|timestamp|version|rlike|lateral)\b""", re.IGNORECASE
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
"""Words that may precede a bracket in a query that Spark and DuckDB read alike."""


def query(root: DataRoot, text: str, at: str | None = None) -> pa.Table:
    """Run a query (Spark SQL) on pinned versions; ``at`` a git revision, whose committed pins then count.

    Besides queries there are ``DESCRIBE <table>``, ``SHOW TABLES`` and ``EXPLAIN <query>``.
    """
    text = text.strip().rstrip(";").strip()
    if not text:
        raise invalid("SQL", 'a query, such as "select * from manifest" (`dhs tables` lists the tables)', "nothing")
    told = _VERB.match(text)
    if told is None:
        return _answer(root, text, at)
    verb, subject = told[1].lower(), told[3].strip()
    if verb == "explain":
        return _answer(root, subject, at, "EXPLAIN ")
    if verb == "show":
        return _shown(subject, text)
    return _answer(root, subject, at, "DESCRIBE ") if _QUERY.match(subject) else _described(subject)


def read_view(root: DataRoot, name: str) -> pa.Table:
    """All rows of a view in the order of the key, with the types of the table whose columns it has."""
    spec = tables.spec(views.view(name).table)
    rows = _answer(root, f"SELECT * FROM {name}", None)
    rows = rows.cast(pa.schema([pa.field(field.name, field.type) for field in spec.arrow_schema()]))
    return rows.sort_by([(key, "ascending") for key in spec.key])


def _answer(root: DataRoot, text: str, at: str | None, verb: str = "") -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute(_SETTINGS)
        statement, named = _understand(connection, text)
        try:
            _register_all(connection, root, named, at)
            _refuse_all_but_one_query(connection, statement)
            return connection.sql(verb + statement).arrow().read_all()
        except duckdb.Error as error:
            _refuse_lost_rows(root, named, at, whole=isinstance(error, _OF_FILES))
            columns = [c for name, _ in named.values() for c in _spec(name).names]
            raise ParameterError(f"the query failed: {_in_words(str(error), columns)}") from error
        except RuntimeError as error:
            if str(error) == "Query interrupted":  # what DuckDB makes of Ctrl-C
                raise KeyboardInterrupt from error
            raise


def _shown(subject: str, text: str) -> pa.Table:
    """The names that a query may use, as ``SHOW TABLES`` returns them."""
    if subject.lower() != "tables":
        raise invalid("SQL", "a query, DESCRIBE <table>, SHOW TABLES or EXPLAIN <query>", text)
    made = [(name, "table", tables.spec(name).meaning) for name in tables.names()]
    made += [(name, "view", views.view(name).meaning) for name in views.names()]
    return pa.Table.from_pylist(
        [dict(zip(("name", "kind", "meaning"), row, strict=True)) for row in sorted(made)],
        pa.schema([(name, pa.string()) for name in ("name", "kind", "meaning")]),
    )


def _described(name: str) -> pa.Table:
    """Columns of a table or view with what they mean."""
    if name.lower() not in views.known():
        raise invalid("table", f"one of {', '.join(views.known())}", name)
    rows = [
        {"col_name": c.name, "data_type": c.type, "unit": c.unit, "nullable": c.nullable, "comment": c.meaning}
        for c in _spec(name.lower()).columns
    ]
    return pa.Table.from_pylist(rows)


def _spec(name: str) -> TableSpec:
    return tables.spec(views.view(name).table if name in views.names() else name)


def _in_words(error: str, columns: list[str]) -> str:
    """DuckDB's error on one line; for a column that does not exist, the most similar names."""
    missing = _NO_COLUMN.search(error)
    if missing is None:
        return " ".join(error.split("LINE ")[0].split())
    name = missing[1] or missing[2]
    near = difflib.get_close_matches(name.lower(), sorted(set(columns)), cutoff=0.5)
    near = near or [c for c in sorted(set(columns)) if name.lower() in c]
    hint = f"similar names are {', '.join(near)}" if near else "DESCRIBE <table> lists its columns"
    return f"there is no column '{name}'; {hint}"


def _refuse_all_but_one_query(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Read only: COPY, ATTACH, INSTALL and the like are separate statements."""
    found = connection.extract_statements(statement)
    if len(found) != 1 or found[0].type is not duckdb.StatementType.SELECT:
        raise invalid("SQL", "one query (SELECT or WITH)", statement)


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
        if found <= set(views.known()) and _QUERY.match(text):
            return text, {name: (name, None) for name in found}
    from lake.store.sql import parse, to_duckdb

    statement = parse(text)
    named = {one.view: (one.table, one.version) for one in statement.named}
    return to_duckdb(statement.tree), named


def _register_all(
    connection: duckdb.DuckDBPyConnection, root: DataRoot, named: dict[str, tuple[str, int | None]], at: str | None
) -> None:
    """Create every table that the query, or a view in it, names; then the views."""
    asked = [name for name, _ in named.values() if name in views.names()]
    needed = {view: source for view, source in named.items() if source[0] not in asked}
    needed |= {table: (table, None) for name in asked for table in views.view(name).needs}
    for view, source in needed.items():
        _register(connection, root, view, source, at)
    for name in asked:
        connection.sql(views.view(name).sql).create_view(name)


def _register(
    connection: duckdb.DuckDBPyConnection, root: DataRoot, view: str, source: tuple[str, int | None], at: str | None
) -> None:
    name, version = source
    spec = tables.spec(name)
    if version is not None:
        parts: list[tuple[DeltaTable, Mapping[str, str]]] = [(_version(root, name, version), {})]
    else:
        found = delta.chosen(root, name, None, at)
        parts = [(delta.open_pinned(root, part), part.card.where) for part in found]
    selects = [_select(connection, spec, table, where) for table, where in parts]
    connection.sql(" UNION ALL ".join(selects)).create_view(view)


def _refuse_lost_rows(root: DataRoot, named: dict[str, tuple[str, int | None]], at: str | None, *, whole: bool) -> None:
    """After a failed query: name the table whose files are missing or (``whole``: read) damaged, if any."""
    needed = {table for name, _ in named.values() for table in views.named(name)}
    for table in sorted(needed):
        for part in cards.slices(root, table, at):
            delta.require_files(root, part, delta.open_pinned(root, part))
            if whole:
                delta.read(root, table, slices=[part.card.slice], at=at, ordered=False)


def _select(connection: duckdb.DuckDBPyConnection, spec: TableSpec, table: DeltaTable, where: Mapping[str, str]) -> str:
    """SELECT of a slice's rows. Local files are read by DuckDB itself, others through Arrow (slower to load)."""
    files = delta.files(table, where)
    columns = ", ".join(f"CAST({c.name} AS {_DUCKDB_TYPES[c.type]}) AS {c.name}" for c in spec.columns)
    if not files:
        columns = ", ".join(f"CAST(NULL AS {_DUCKDB_TYPES[c.type]}) AS {c.name}" for c in spec.columns)
        return f"SELECT {columns} WHERE false"
    if "://" in files[0]:
        source = f"arrow_{uuid.uuid4().hex}"
        files_of = table.to_pyarrow_dataset(
            file_pruning_predicate=delta.pruning(where), filesystem=delta.arrow_files(table)
        )
        connection.register(source, files_of)
    else:
        listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        source = f"read_parquet([{listed}], hive_partitioning = true, hive_types_autocast = false)"
    return f"SELECT {columns} FROM {source} WHERE {delta.where_sql(where) or 'true'}"


def _version(root: DataRoot, name: str, version: int) -> DeltaTable:
    try:
        return DeltaTable(root.table(name), version=version, storage_options=delta.storage_options())
    except DeltaError as error:
        raise LakeError(f"table '{name}' has no version {version} in {root.table(name)}") from error
    except OSError as error:
        raise UnreachableError(f"table '{name}' cannot be read in {root.table(name)}: {error}") from error
