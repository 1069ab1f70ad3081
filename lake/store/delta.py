"""Reading Delta tables at their pinned versions, without a JVM."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyarrow import fs

from lake import arrays, tables
from lake.addresses import is_remote
from lake.contract.spec import TableSpec
from lake.errors import LakeError, StoreError, invalid
from lake.files.objects import Store
from lake.root import DataRoot
from lake.store import cards, held
from lake.store.cards import Slice

_PLAIN_FILES = 1
"""Reader version of tables whose rows are those in their files; later ones may mark rows as deleted."""


Read = Callable[..., pa.Table]
"""Rows of a table: its name, and columns, ``slices`` and ``ordered`` as :func:`read` takes them."""


def storage_options(place: str) -> dict[str, str] | None:
    """Options of the object store for a table's place; None for a local one."""
    return Store.of_environment().delta(place) if is_remote(place) else None


def at(place: str, version: int | None = None) -> DeltaTable:
    """The table at a place, at its newest version or another; none of its rows is read."""
    return DeltaTable(place, version=version, storage_options=storage_options(place))


def arrow_files(table: DeltaTable) -> fs.FileSystem:
    """The table's files through Arrow's own file systems.

    Arrow reads ahead in threads. On delta-rs's file system, which is written in Python, one that still runs when a
    program ends takes the program down (abort in one of two reads of single columns).
    """
    place = table.table_uri
    if not place.startswith("s3://"):
        return fs.SubTreeFileSystem(local_path(place), fs.LocalFileSystem())
    files, path = Store.of_environment().arrow(place)
    return fs.SubTreeFileSystem(path, files)


def local_path(place: str) -> str:
    """The path behind a URI of delta-rs, in which spaces and letters beyond ASCII are escaped."""
    return unquote(place.removeprefix("file://"))


def files(table: DeltaTable, where: Mapping[str, str]) -> list[str]:
    """Paths of the files of a slice of a local table, or URIs in an object store.

    delta-rs escapes the table's folder, not the rest.
    """
    place, found = table.table_uri, table.file_uris(file_pruning_predicate=pruning(where))
    if not place.startswith("file://"):
        return list(found)
    escaped = place.removeprefix("file://")
    return [local_path(place) + name.removeprefix("file://").removeprefix(escaped) for name in found]


def added(table: DeltaTable, where: Mapping[str, str]) -> list[tuple[str, int]]:
    """Files of a slice, by their paths below the table's folder, with their sizes as the log says."""
    found = _slice_of(table, where)
    return list(zip(map(unquote, found["path"].to_pylist()), found["size_bytes"].to_pylist(), strict=True))


def claims(table: DeltaTable, where: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the log says of each file of a slice, such as ``path``, ``min.<column>`` and ``null_count.<column>``."""
    found: list[dict[str, Any]] = _slice_of(table, where).to_pylist()
    return found


def _slice_of(table: DeltaTable, where: Mapping[str, str]) -> pa.Table:
    """What the log says of each file of a slice; where there is no file, it names no columns of partitions either."""
    found = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()
    for column, value in where.items() if found.num_rows else ():
        found = found.filter(pc.equal(pc.cast(found[f"partition.{column}"], pa.string()), arrays.text(value)))
    return found


def require_files(root: DataRoot, entry: Slice, table: DeltaTable) -> None:
    """Raise DamagedError if a data file of a slice is missing or not of the size in the log; no row is read."""
    wanted = added(table, entry.card.where)
    try:
        found = arrow_files(table).get_file_info([path for path, _ in wanted])
        for (path, size), file in zip(wanted, found, strict=True):
            if file.type == fs.FileType.NotFound:
                raise held.damaged_data(root, entry, f"{path} is missing")
            if file.size != size:
                raise held.damaged_data(root, entry, f"{path} has {file.size} bytes, its log says {size}")
    except OSError as error:
        raise held.unreachable(root, entry, error) from error


def require_columns(name: str, table: DeltaTable, wanted: Iterable[str]) -> None:
    """Raise LakeError if a table was made by an older contract, without some of the columns."""
    if missing := sorted(set(wanted) - {field.name for field in table.schema().fields}):
        raise LakeError(f"table '{name}' was made without {', '.join(missing)}; run `dvc repro`")


def pruning(where: Mapping[str, str]) -> list[tuple[str, str, str]] | None:
    """A slice's predicate as delta-rs chooses files by it."""
    return [(column, "=", value) for column, value in where.items()] or None


def where_sql(where: Mapping[str, str]) -> str:
    """A slice's predicate in SQL; text of a card that would close the quotes is refused."""
    for text in (*where, *where.values()):
        if not re.fullmatch(r"[\w.:+ -]+", text):
            raise invalid("where", "made of letters, digits, spaces and . : + - _", text)
    return " AND ".join(f"{column} = '{value}'" for column, value in sorted(where.items()))


def open_pinned(root: DataRoot, entry: Slice) -> DeltaTable:
    """The Delta table at a pin's version, refusing one that was deleted, recreated, rolled back or cannot be read."""
    try:
        table = at(root.table(entry.card.table), entry.pin.version)
        table_id = str(table.metadata().id)
    except (DeltaError, OSError, StoreError) as error:
        raise held.verdict(root, entry, error) from error
    if table_id != entry.pin.table_id:
        why = f"was recreated since it was pinned (version {entry.pin.version} is another table's)"
        raise held.lost(root, entry, why)
    if (rows := _rows(table, entry.card.where)) not in (None, entry.card.rows):
        raise LakeError(
            f"table '{entry.name}' has {rows} rows in version {entry.pin.version}, its card says {entry.card.rows}: "
            "that version was written by someone else; run `dhs pull --merge`"
        )
    return table


def _rows(table: DeltaTable, where: Mapping[str, str]) -> int | None:
    """How many rows a slice has, by the statistics of its files; None where they do not say."""
    counts = _slice_of(table, where)["num_records"]
    return None if counts.null_count else int(pc.sum(counts).as_py() or 0)


def read(
    root: DataRoot,
    name: str,
    columns: Sequence[str] | None = None,
    slices: Sequence[str | None] | None = None,
    at: str | None = None,
    ordered: bool = True,
) -> pa.Table:
    """Rows of a table at its pinned versions: all slices, or the named ones; ``at`` a git revision.

    They are in the order of the key, since their order in the files differs from run to run; ``ordered=False`` is for
    many rows whose order does not matter.
    """
    spec = tables.spec(name)
    wanted = list(columns or spec.names)
    needed = [*wanted, *(key for key in spec.key if ordered and key not in wanted)]
    rows = pa.concat_tables([_read_slice(root, spec, entry, needed) for entry in chosen(root, name, slices, at)])
    return rows.sort_by([(key, "ascending") for key in spec.key]).select(wanted) if ordered else rows


def chosen(root: DataRoot, name: str, slices: Sequence[str | None] | None, at: str | None) -> list[Slice]:
    """The slices of a table to read, all or the named ones; slices of the same rows count once."""
    found = cards.slices(root, name, at)
    if slices is not None:
        found = [entry for entry in found if entry.card.slice in slices]
    if not found:
        wanted = f" slices {list(slices)}" if slices is not None else ""
        made = [one for one in cards.foreign(root, name, at) if slices is None or one.card.slice in slices]
        raise cards.missing(root, f"'{name}'{wanted}", made)
    return cards.distinct(found)


def _read_slice(root: DataRoot, spec: TableSpec, entry: Slice, wanted: Sequence[str]) -> pa.Table:
    table = open_pinned(root, entry)
    require_columns(entry.name, table, wanted)
    declared = spec.arrow_schema()
    schema = pa.schema([pa.field(name, declared.field(name).type) for name in wanted])
    try:
        if is_remote(root.table(spec.name)) or table.protocol().min_reader_version > _PLAIN_FILES:
            return _through_dataset(table, entry.card.where, schema)
        parts = [_rows_of_file(path, entry.card.where, schema) for path in files(table, entry.card.where)]
    except (DeltaError, OSError, pa.ArrowInvalid, pa.ArrowSerializationError) as error:
        raise held.data_verdict(root, entry, error) from error
    return pa.concat_tables(parts or [pa.Table.from_arrays([pa.nulls(0, kind) for kind in schema.types], schema.names)])


def _through_dataset(table: DeltaTable, where: Mapping[str, str], schema: pa.Schema) -> pa.Table:
    conditions = [(column, "=", value) for column, value in where.items()]
    rows = table.to_pyarrow_table(columns=schema.names, filesystem=arrow_files(table), filters=conditions or None)
    return rows.select(schema.names).cast(schema)


def _rows_of_file(path: str, where: Mapping[str, str], schema: pa.Schema) -> pa.Table:
    """Rows of a data file; a slice's own columns are not in it, nor are those that the table gained later.

    Arrow's datasets do the same, but to import them takes pandas (:mod:`lake.arrays`).
    """
    with pq.ParquetFile(path) as file:
        known = set(file.schema_arrow.names)
        rows, count = file.read([name for name in schema.names if name in known]), file.metadata.num_rows

    def column(name: str) -> pa.Array | pa.ChunkedArray:
        if name in known:
            return rows.column(name)
        return pa.repeat(arrays.text(where[name]), count) if name in where else pa.nulls(count)

    return pa.Table.from_arrays(
        [column(name).cast(kind) for name, kind in zip(schema.names, schema.types, strict=True)], schema.names
    )
