"""SQL in DuckDB's dialect on the lake's tables by name, without a JVM."""

from __future__ import annotations

import difflib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake import tables
from lake.contract.rules import in_list
from lake.contract.spec import TableSpec
from lake.errors import LakeError, ParameterError, UnreachableError, invalid, not_one_of
from lake.root import DataRoot
from lake.store import cards, delta, views
from lake.store.status import REGISTRY, Reading, registered

FILE_FUNCTIONS = ("read_csv", "read_parquet", "read_json")
"""Functions that read a user's own files."""
_FUNCTIONS = {*FILE_FUNCTIONS, "range", "generate_series", "unnest", "repeat", "json_each", "json_tree"}
"""Table functions that a query may call: others read any file, run text as SQL, or change settings."""
_READING = ("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE")
"""Nodes of a query that only reads."""
_SETTINGS = """
SET default_null_order = 'nulls_first_on_asc_last_on_desc'; SET TimeZone = 'UTC';
SET autoinstall_known_extensions = false; SET autoload_known_extensions = false;
SET python_enable_replacements = false; SET lock_configuration = true
"""
"""Sort as Spark does; never fetch or load an extension, nor read a Python variable, because a query names it."""
_OF_FILES = (duckdb.IOException, duckdb.InvalidInputException, duckdb.SerializationException)
"""Errors that a damaged file causes, among other things."""
_NO_COLUMN = re.compile(r'column "([^"]+)" not found|does not have a column named "([^"]+)"')


@dataclass(frozen=True)
class Source:
    """A table in a query, at a version or (None) as pinned."""

    table: str
    version: int | None = None


def query(
    root: DataRoot, text: str, at: str | None = None, files: str | Path = "", invalid_too: bool = False
) -> pa.Table:
    """Run one query on pinned versions; ``at`` a git revision, whose committed pins then count.

    Results of invalidated runs are left out (``lake.store.status``) unless ``invalid_too``.
    ``files`` is the folder in which relative paths of ``read_csv`` and the like begin: by default the working one.
    ``<table> AT (VERSION => <n>)`` is another version of a table. ``SHOW TABLES`` and ``DESCRIBE <table>`` tell names
    and columns with what they mean; ``EXPLAIN [ANALYZE] <query>`` is DuckDB's. Nothing can be written or fetched.
    """
    text, reading = text.strip().rstrip(";").strip(), Reading(root, at, invalid_too)
    text.encode()  # DuckDB's own error for what is not UTF-8 is not one of a query
    match text.lower().split():
        case []:
            raise invalid("SQL", 'a query, such as "select * from manifest" (`dhs tables` lists the tables)', "nothing")
        case ["show", "tables"]:
            return _shown()
        case ["describe" | "desc" | "show", name] | ["describe" | "desc", "table", name]:
            return described(name.strip('"'))
        case ["explain", "analyze", *_]:
            return _answer(reading, text.split(maxsplit=2)[-1], files, "EXPLAIN ANALYZE ")
        case ["explain", *_]:
            return _answer(reading, text.split(maxsplit=1)[-1], files, "EXPLAIN ")
    return _answer(reading, text, files)


def read_all(root: DataRoot, name: str) -> pa.Table:
    """All valid rows of a table or view in the order of the key, with the types of its contract."""
    spec = spec_of(name)
    rows = _answer(Reading(root), f"SELECT * FROM {name}")
    rows = rows.cast(pa.schema([pa.field(field.name, field.type) for field in spec.arrow_schema()]))
    return rows.sort_by([(key, "ascending") for key in spec.key])


def described(name: str) -> pa.Table:
    """Columns of a table or view with what they mean."""
    rows = [
        {"col_name": c.name, "data_type": c.type, "unit": c.unit, "nullable": c.nullable, "comment": c.meaning}
        for c in spec_of(name).columns
    ]
    return pa.Table.from_pylist(rows)


def spec_of(name: str) -> TableSpec:
    """The contract of a table, or of the table whose columns a view has."""
    if not views.exists(name):
        raise not_one_of("table", views.known(), name)
    return views.VIEWS[name].spec if name in views.VIEWS else tables.spec(name)


def _shown() -> pa.Table:
    """The names that a query may use."""
    made = [(name, "table", tables.spec(name).meaning) for name in tables.names()]
    made += [(name, "view", views.VIEWS[name].meaning) for name in views.VIEWS]
    return pa.Table.from_pylist([dict(zip(("name", "kind", "meaning"), row, strict=True)) for row in sorted(made)])


def _answer(reading: Reading, text: str, files: str | Path = "", verb: str = "") -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("SET file_search_path = '{}';".format(str(files).replace("'", "''")) + _SETTINGS)
        statement, sources = _understood(connection, text)
        try:
            _register_all(connection, reading, sources)
            return _interruptible(connection, verb + statement)
        except duckdb.Error as error:
            _refuse_lost_rows(reading, sources, whole=isinstance(error, _OF_FILES))
            columns = [c for source in sources.values() for c in spec_of(source.table).names]
            raise ParameterError(f"the query failed: {_in_words(str(error), columns)}") from error


def _interruptible(connection: duckdb.DuckDBPyConnection, statement: str) -> pa.Table:
    """The rows of a statement; Ctrl-C ends it at once, where DuckDB alone would finish some plans first."""
    with ThreadPoolExecutor(1) as thread:
        rows = thread.submit(lambda: connection.sql(statement).to_arrow_table())
        try:
            return rows.result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise


def _understood(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[str, dict[str, Source]]:
    """A statement and the tables it names, after DuckDB's own parser; what is not one plain query is refused."""
    tree = json.loads(connection.execute("SELECT json_serialize_sql($1)", [text]).fetchall()[0][0])
    if tree["error"] and tree["error_type"] == "not implemented":
        raise invalid("SQL", "one query (SELECT, FROM or WITH)", text)
    if tree["error"]:
        raise ParameterError(f"not understood as DuckDB's SQL: {tree['error_message']} (`dhs sql` speaks Spark's)")
    if len(tree["statements"]) != 1:
        raise invalid("SQL", "one query", text)
    nodes = list(_nodes(tree))
    _refuse_all_but_reading(nodes)
    common = {entry["key"].lower() for node in nodes if "cte_map" in node for entry in node["cte_map"]["map"]}
    named = [(node, node["table_name"].lower()) for node in nodes if node.get("type") == "BASE_TABLE"]
    sources = dict(_source(node) for node, name in named if name not in common or views.exists(name))
    if all(source.version is None for source in sources.values()):
        return text, sources
    return str(connection.execute("SELECT json_deserialize_sql($1)", [json.dumps(tree)]).fetchall()[0][0]), sources


def _refuse_all_but_reading(nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what writes from within a query (``WITH x AS (COPY ...)``), and table functions that are not known."""
    for node in nodes:
        kind = str(node.get("type"))
        if kind.endswith("_NODE") and kind not in _READING:
            raise invalid("SQL", "a query that only reads", kind.removesuffix("_NODE").removesuffix("_QUERY"))
        if kind == "TABLE_FUNCTION" and (name := node["function"]["function_name"].lower()) not in _FUNCTIONS:
            raise invalid("SQL", f"about tables and files ({', '.join(FILE_FUNCTIONS)})", name)


def _source(node: dict[str, Any]) -> tuple[str, Source]:
    """The view that a table in a query becomes and what it shows; a version is written into the node."""
    name, place = node["table_name"].lower(), [node["catalog_name"], node["schema_name"], node["table_name"]]
    if any(place[:2]) or not views.exists(name):
        raise not_one_of("table", views.known(), ".".join(part for part in place if part))
    clause = node["at_clause"]
    if clause is None:
        return name, Source(name)
    if name not in tables.names():
        raise invalid("version", f"that of a table; the view '{name}' reads pinned versions", f"{name} AT")
    number = clause["expr"].get("literal", {}).get("text", "")
    if clause["unit"].upper() != "VERSION" or not number.isdigit():
        raise invalid("version", f"given as '{name} AT (VERSION => <number>)'", number or clause["unit"])
    view = f"{name}_version_{number}"
    node.update(table_name=view, qualified_name={"path": [view]}, at_clause=None, alias=node["alias"] or name)
    return view, Source(name, int(number))


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """Every object of a parsed statement."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


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


def _register_all(connection: duckdb.DuckDBPyConnection, reading: Reading, sources: Mapping[str, Source]) -> None:
    """Create every table that the query, or a view in it, names; then the views."""
    asked = [name for name in sources if name in views.VIEWS]
    needed = {view: source for view, source in sources.items() if view not in asked}
    needed |= {table: Source(table) for name in asked for table in views.VIEWS[name].needs}
    for view, source in needed.items():
        _register(connection, reading, view, source)
    for name in asked:
        connection.sql(views.VIEWS[name].query(reading.invalid_too)).create_view(name)


def _register(connection: duckdb.DuckDBPyConnection, reading: Reading, view: str, source: Source) -> None:
    spec = tables.spec(source.table)
    if source.version is not None:
        parts: list[tuple[DeltaTable, Mapping[str, str]]] = [(_version(reading.root, source.table, source.version), {})]
    else:
        parts = [(delta.open_pinned(reading.root, part), part.card.where) for part in reading.slices(source.table)]
    for table, _ in parts:
        delta.require_columns(source.table, table, (c.name for c in spec.columns))
    selects = [_select(connection, spec, table, where) for table, where in parts] or [_none(spec)]
    rows = " UNION ALL ".join(selects)
    known = reading.known if source.table == REGISTRY and source.version is None else {}
    connection.sql(registered(rows, spec, known, "duckdb")).create_view(view)


def _refuse_lost_rows(reading: Reading, sources: Mapping[str, Source], *, whole: bool) -> None:
    """After a failed query: name the table whose files are missing or (``whole``: read) damaged, if any."""
    needed = {table for source in sources.values() for table in views.named(source.table)}
    for table in sorted(needed):
        for part in cards.slices(reading.root, table, reading.at):
            delta.require_files(reading.root, part, delta.open_pinned(reading.root, part))
            if whole:
                delta.read(reading.root, table, slices=[part.card.slice], at=reading.at, ordered=False)


def _select(connection: duckdb.DuckDBPyConnection, spec: TableSpec, table: DeltaTable, where: Mapping[str, str]) -> str:
    """SELECT of a slice's rows. Local files are read by DuckDB itself, others through Arrow (slower to load)."""
    files = delta.files(table, where)
    if not files:
        return _none(spec)
    if "://" in files[0]:
        source = f"arrow_{uuid.uuid4().hex}"
        files_of = table.to_pyarrow_dataset(
            file_pruning_predicate=delta.pruning(where), filesystem=delta.arrow_files(table)
        )
        connection.register(source, files_of)
    else:
        source = f"read_parquet([{in_list(files, 'duckdb')}], hive_partitioning = true, hive_types_autocast = false)"
    return f"SELECT {_columns(spec)} FROM {source} WHERE {delta.where_sql(where) or 'true'}"


def _none(spec: TableSpec) -> str:
    """SELECT of no rows."""
    return f"SELECT {_columns(spec, 'NULL')} WHERE false"


def _columns(spec: TableSpec, value: str = "") -> str:
    """The columns of a contract in its types, or ``value`` in each."""
    types = {c.name: c.type.replace("timestamp", "timestamptz") for c in spec.columns}
    return ", ".join(f"CAST({value or name} AS {kind}) AS {name}" for name, kind in types.items())


def _version(root: DataRoot, name: str, version: int) -> DeltaTable:
    try:
        return delta.at(root.table(name), version)
    except DeltaError as error:
        raise LakeError(f"table '{name}' has no version {version} in {root.table(name)}") from error
    except OSError as error:
        raise UnreachableError(f"table '{name}' cannot be read in {root.table(name)}: {error}") from error
