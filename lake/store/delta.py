"""Delta tables without a JVM: read pinned versions, write slices."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from pyarrow import fs

from lake import tables
from lake.contract import rules
from lake.contract.fingerprint import fingerprint
from lake.contract.spec import TableSpec
from lake.errors import LakeError, invalid
from lake.root import DataRoot
from lake.store import cards, held
from lake.store.cards import Card, Pin, Slice

TABLE_PROPERTIES = {
    "delta.enableDeletionVectors": "false",
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.enableExpiredLogCleanup": "false",
}
"""Pinned versions must outlive any clean-up, and delta-rs cannot write deletion vectors."""

Filters = Sequence[tuple[str, str, Any]]


def storage_options() -> dict[str, str] | None:
    """Options of the object store, from the environment (a local endpoint in tests)."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"} if endpoint else None


def arrow_files(table: DeltaTable) -> fs.FileSystem:
    """The table's files through Arrow's own file systems.

    Arrow reads ahead in threads. On delta-rs's file system, which is written in Python, one that still runs when a
    program ends takes the program down (abort in one of two reads of single columns).
    """
    place = table.table_uri
    if not place.startswith("s3://"):
        return fs.SubTreeFileSystem(local_path(place), fs.LocalFileSystem())
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    options = {"endpoint_override": endpoint, "scheme": endpoint.split(":")[0]} if endpoint else {}
    return fs.SubTreeFileSystem(place.removeprefix("s3://"), fs.S3FileSystem(**options))


def local_path(place: str) -> str:
    """The path behind a URI of delta-rs, in which spaces and letters beyond ASCII are escaped."""
    return unquote(place.removeprefix("file://"))


def files(table: DeltaTable, where: Mapping[str, str]) -> list[str]:
    """Paths of a local table's files that hold a slice, or URIs in an object store.

    delta-rs escapes the table's folder, not the rest.
    """
    place, found = table.table_uri, table.file_uris(file_pruning_predicate=pruning(where))
    if not place.startswith("file://"):
        return list(found)
    escaped = place.removeprefix("file://")
    return [local_path(place) + name.removeprefix("file://").removeprefix(escaped) for name in found]


def require_files(root: DataRoot, entry: Slice, table: DeltaTable) -> None:
    """Refuse a slice of which a data file is missing or has another size than the log says; no row is read."""
    added = pa.table(table.get_add_actions(flatten=True))
    for column, value in entry.card.where.items():
        added = added.filter(pc.equal(pc.cast(added[f"partition.{column}"], pa.string()), value))
    paths, sizes = [unquote(path) for path in added["path"].to_pylist()], added["size_bytes"].to_pylist()
    try:
        for path, size, found in zip(paths, sizes, arrow_files(table).get_file_info(paths), strict=True):
            if found.type == fs.FileType.NotFound:
                raise held.damaged_data(root, entry, f"{path} is missing")
            if found.size != size:
                raise held.damaged_data(root, entry, f"{path} has {found.size} bytes, its log says {size}")
    except OSError as error:
        raise held.unreachable(root, entry, error) from error


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
        table = DeltaTable(root.table(entry.card.table), version=entry.pin.version, storage_options=storage_options())
        table_id = str(table.metadata().id)
    except (DeltaError, OSError) as error:
        raise held.verdict(root, entry, error) from error
    if table_id != entry.pin.table_id:
        why = f"was recreated since it was pinned (version {entry.pin.version} is another table's)"
        raise held.lost(root, entry, why)
    return table


def read(
    root: DataRoot,
    name: str,
    columns: Sequence[str] | None = None,
    slices: Sequence[str | None] | None = None,
    filters: Filters = (),
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
    rows = pa.concat_tables(
        [_read_slice(root, spec, entry, needed, filters) for entry in chosen(root, name, slices, at)]
    )
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


def _read_slice(root: DataRoot, spec: TableSpec, entry: Slice, wanted: Sequence[str], filters: Filters) -> pa.Table:
    table = open_pinned(root, entry)
    missing = sorted(set(wanted) - {field.name for field in table.schema().fields})
    if missing:
        name = cards.stem(entry.card.table, entry.card.slice)
        raise LakeError(f"table '{name}' was made without {', '.join(missing)}; run `dvc repro`")
    conditions = [(column, "=", value) for column, value in entry.card.where.items()] + list(filters)
    try:
        rows = table.to_pyarrow_table(columns=list(wanted), filesystem=arrow_files(table), filters=conditions or None)
    except (DeltaError, OSError, pa.ArrowInvalid, pa.ArrowSerializationError) as error:
        raise held.data_verdict(root, entry, error) from error
    schema = spec.arrow_schema()
    return rows.select(list(wanted)).cast(pa.schema([pa.field(c, schema.field(c).type) for c in wanted]))


def write_slice(
    root: DataRoot,
    spec: TableSpec,
    rows: pa.Table,
    slice_name: str | None,
    where: Mapping[str, str],
    *,
    code: Mapping[str, str],
    inputs: Mapping[str, str],
) -> Card:
    """Replace one slice of a delta-rs table by rows that all meet its contract, and publish card and pin."""
    if set(where) != set(spec.slice_by):
        raise LakeError(f"a slice of '{spec.name}' is given by {list(spec.slice_by)}, got {sorted(where)}")
    rows = rules.require(spec, rows)
    card = Card(spec.name, slice_name, rows.num_rows, spec.schema_hash(), fingerprint(rows, spec), dict(where))
    written = replace(root, spec, rows, where, code)
    pin = Pin(written.version(), str(written.metadata().id), card.fingerprint, dict(code), dict(inputs))
    cards.publish(root, card, pin)
    return card


def replace(
    root: DataRoot, spec: TableSpec, rows: pa.Table, where: Mapping[str, str], note: Mapping[str, object]
) -> DeltaTable:
    """Put rows in place of those that meet ``where`` (of all where it is empty), as one commit; the table then.

    ``note`` goes into the table's own history.
    """
    with _refusals_of_the_system(root.table(spec.name)):
        uri = _ensure_table(root, spec)
        write_deltalake(
            uri,
            rows,
            mode="overwrite",
            predicate=where_sql(where) or None,
            commit_properties=CommitProperties(custom_metadata={"provenance": json.dumps(dict(note))}),
            storage_options=storage_options(),
        )
        return DeltaTable(uri, storage_options=storage_options())


@contextmanager
def _refusals_of_the_system(place: str) -> Iterator[None]:
    """Raise an error of the operating system (disk full, read-only) as such: delta-rs only reports it as text."""
    try:
        yield
    except (DeltaError, OSError) as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), place) from error


def _ensure_table(root: DataRoot, spec: TableSpec) -> str:
    uri = root.table(spec.name)
    if DeltaTable.is_deltatable(uri, storage_options=storage_options()):
        known = DeltaTable(uri, storage_options=storage_options())
        if [field.name for field in known.schema().fields] != list(spec.names):
            raise LakeError(f"table '{spec.name}' in the lake has other columns than its contract; delete {uri}")
        if set(spec.constraints()) <= {
            name.removeprefix("delta.constraints.") for name in known.metadata().configuration
        }:
            return uri
    else:
        known = DeltaTable.create(
            uri,
            spec.arrow_schema(),
            partition_by=list(spec.slice_by),
            configuration=dict(TABLE_PROPERTIES),
            storage_options=storage_options(),
        )
    held = {name.removeprefix("delta.constraints.") for name in known.metadata().configuration}
    missing = {name: sql for name, sql in spec.constraints().items() if name not in held}
    if missing:
        known.alter.add_constraint(missing)
    return uri
