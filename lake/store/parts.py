"""Tables whose Parquet files a job writes itself: of a slice, only the files that changed are committed."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from lake.contract.spec import TableSpec
from lake.errors import LakeError
from lake.files import storage
from lake.root import DataRoot
from lake.store import delta, quarantine, writing
from lake.store.cards import Card
from lake.store.writing import Target

ACCOUNTS = "_parts"
"""Folder in a table's, of what else is kept of the input of each part; Delta leaves such names alone."""
_NAME = re.compile(rf"(?:{ACCOUNTS}/|part-)([0-9a-f]{{32}})\b.*")


def name(key: str, mark: str = "") -> str:
    """File name of a part of the input with this key (32 hexadecimal digits); ``mark`` tells several apart."""
    return f"part-{key}-{mark}.parquet" if mark else f"part-{key}.parquet"


def folder(where: Mapping[str, str]) -> str:
    """Folder of a slice's parts below the table's, which other engines take the slice's columns from."""
    delta.where_sql(where)
    return "".join(f"{column}={quote(value, safe='')}/" for column, value in where.items())


def account(key: str) -> str:
    """Name of the account of an input, below the table's folder."""
    return f"{ACCOUNTS}/{key}.arrow"


def key_of(path: str) -> str | None:
    """The key of the input that a part or account in a table's folder belongs to."""
    found = _NAME.fullmatch(path)
    return found[1] if found else None


@dataclass(frozen=True)
class Part:
    """A Parquet file in a table's folder, of rows that meet the contract; ``statistics`` as Delta has them (JSON)."""

    path: str
    size: int
    rows: int
    statistics: str


@dataclass(frozen=True)
class Parts:
    """All rows of a slice, and their fingerprint."""

    files: tuple[Part, ...]
    fingerprint: str

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.files)


def options(spec: TableSpec) -> dict[str, Any]:
    """How a job writes a part (arguments of Arrow's Parquet writer): only text is coded by dictionaries."""
    text = [column.name for column in spec.columns if column.type == "string" and column.name not in spec.slice_by]
    return {"compression": "zstd", "compression_level": 1, "use_dictionary": text, "store_schema": False}


def statistics(metadata: pq.FileMetaData) -> str:
    """Rows, and of each column the lowest and highest value and the number of nulls, from a file's footer."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    for place, column in enumerate(metadata.schema.names):
        found = [group.column(place).statistics for group in groups]
        if any(each is None or not each.has_null_count for each in found):
            continue
        nulls[column] = sum(each.null_count for each in found)
        filled = [each for each in found if each.num_values]
        if not all(each.has_min_max for each in filled):  # of long texts and of NaN alone
            continue
        ends = [(each.min, each.max) for each in filled]
        if ends and all(_ordered(end) for pair in ends for end in pair):
            low[column], high[column] = min(first for first, _ in ends), max(last for _, last in ends)
    return json.dumps({"numRecords": metadata.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls})


def _ordered(value: object) -> bool:
    """Whether a value is of a type whose ends Delta keeps."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return number or isinstance(value, str)


def publish(target: Target, parts: Parts, rejected: pa.Table | None = None) -> Card:
    """Make the parts the whole of a slice, quarantine ``rejected`` (``quarantine.SCHEMA``), publish card and pin.

    The job has judged their rows and left out duplicates. Killed anywhere and repeated it gives the same table.
    """
    if not parts.fingerprint.startswith(f"{parts.rows}:"):
        raise LakeError(f"'{target.spec.name}': {parts.rows} rows, but the fingerprint is {parts.fingerprint}")
    table = replace(target, parts.files)
    refused = quarantine.SCHEMA.empty_table() if rejected is None else rejected
    quarantine.replace(target.root, target.spec.name, refused, target.who)
    writing.report(target, parts.rows, {})
    return writing.pin(target, table, parts.fingerprint)


def replace(target: Target, parts: Sequence[Part]) -> DeltaTable:
    """Commit the difference between a slice's files and the parts, until there is none; the table at that version.

    Where two write a slice at once, the second to commit is refused, or (where both have only added files) finds the
    other's files and removes them.
    """

    def commit() -> DeltaTable:
        with writing.enforced(target.root, target.spec) as table:
            while actions := _difference(table, parts, target.where):
                table.create_write_transaction(
                    actions,
                    mode="append",
                    schema=table.schema(),
                    partition_by=list(target.spec.slice_by),
                    commit_properties=CommitProperties(custom_metadata={"provenance": json.dumps(target.who.note)}),
                )
                table.update_incremental()
            return table

    with writing.refusals(target.root.table(target.spec.name)):
        return writing.undisturbed(commit)


def forget(root: DataRoot, table: str) -> None:
    """Remove all accounts of a table: its parts are then made again, whatever their files contain."""
    storage.clear(f"{root.table(table)}/{ACCOUNTS}")


def _difference(table: DeltaTable, parts: Sequence[Part], where: Mapping[str, str]) -> list[AddAction | RemoveAction]:
    """What to commit next. A part that was made again with another size first leaves: a commit names a file once."""
    held, wanted = dict(delta.added(table, where)), {part.path: part for part in parts}
    now = int(time.time() * 1000)
    return [
        *(
            AddAction(path, part.size, dict(where), now, True, part.statistics)
            for path, part in wanted.items()
            if path not in held
        ),
        *(
            RemoveAction(path, True, now, partition_values=dict(where), size=size)
            for path, size in held.items()
            if path not in wanted or wanted[path].size != size
        ),
    ]
