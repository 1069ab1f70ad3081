"""What a pinned slice consists of: the files of its rows, and the log that opens the table at that very version.

In a remote a table has a folder ``lake/<table>/<table id>``: ``data`` holds the files of rows by their names, ``log``
the entries of the log by name and checksum, ``pins`` one record for each pinned slice, written when all its files are
there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from lake.errors import DamagedError, LakeError
from lake.root import DataRoot
from lake.store import delta
from lake.store.cards import Slice, stem
from lake.upkeep.depot import Depot

LOG = "_delta_log"
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\.\d{10}\.\d{10})?\.parquet")
_STRICT = ConfigDict(strict=True, extra="forbid")


@checked_dataclass(frozen=True, config=_STRICT)
class Item:
    """A file: its name below the table's folder, its size and the SHA-256 of its bytes."""

    name: str
    size: int
    sha256: str

    @property
    def key(self) -> str:
        """Its name in the remote's folder of the table."""
        plain = self.name.removeprefix(f"{LOG}/")
        return f"data/{self.name}" if plain == self.name else f"log/{plain}.{self.sha256[:16]}"


@checked_dataclass(frozen=True, config=_STRICT)
class Record:
    """The files of a pinned slice, and the pin they belong to."""

    table: str
    slice: str | None
    version: int
    table_id: str
    fingerprint: str
    log: list[Item]
    data: list[Item]

    @property
    def commits(self) -> dict[str, str]:
        """Checksums of the table's commits by name; of two tables with the same ones, one continues the other."""
        return {item.name: item.sha256 for item in self.log if _COMMIT.fullmatch(PurePosixPath(item.name).name)}

    @property
    def text(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()


@dataclass
class Hashes:
    """Checksums of a table's files, each read once."""

    depot: Depot
    known: dict[str, str]

    @classmethod
    def of(cls, root: DataRoot, table: str) -> Hashes:
        return cls(Depot.at(root.table(table)), {})

    def item(self, name: str, size: int) -> Item:
        if name not in self.known:
            self.known[name] = self.depot.sha256(name)
        return Item(name, size, self.known[name])

    def log(self) -> dict[str, int]:
        """Sizes of the commits and checkpoints of the log."""
        found = self.depot.below(LOG).sizes()
        return {f"{LOG}/{name}": size for name, size in found.items() if number(name) is not None}


def number(name: str) -> int | None:
    """The version of a commit or checkpoint by its name; None of any other file."""
    match = _COMMIT.fullmatch(PurePosixPath(name).name) or _CHECKPOINT.fullmatch(PurePosixPath(name).name)
    return int(match[1]) if match else None


def describe(root: DataRoot, entry: Slice, hashes: Hashes) -> Record:
    """The record of a slice of a table that is here. LakeError where its version is not, or files are missing."""
    table = delta.open_pinned(root, entry)
    delta.require_files(root, entry, table)
    rows = [hashes.item(path, size) for path, size in delta.added(table, entry.card.where)]
    log = [hashes.item(name, size) for name, size in opening(hashes.log(), entry.pin.version)]
    card, pin = entry.card, entry.pin
    return Record(card.table, card.slice, pin.version, pin.table_id, card.fingerprint, log, rows)


def opening(log: dict[str, int], version: int) -> list[tuple[str, int]]:
    """The entries of a log that open a version, in order: its commits so far and the last checkpoint among them."""
    numbered = sorted((v, name) for name in log if (v := number(name)) is not None and v <= version)
    last = max((v for v, name in numbered if not name.endswith(".json")), default=None)
    return [(name, log[name]) for v, name in numbered if name.endswith(".json") or v == last]


def shelf(remote: Depot, table: str, table_id: str) -> Depot:
    """The folder of a table in a remote."""
    if not re.fullmatch(r"[0-9a-fA-F-]{8,64}", table_id):
        raise LakeError(f"the pins of '{table}' name no table: {table_id!r}")
    return remote.below("lake", table, table_id)


def key(entry: Slice) -> str:
    """The name of a slice's record in the folder of its table."""
    mark = hashlib.sha256(entry.card.fingerprint.encode()).hexdigest()[:16]
    return f"pins/{entry.pin.version:020d}.{stem(entry.card.table, entry.card.slice)}.{mark}.json"


def parse(text: bytes, place: str) -> Record:
    """A record from its text; DamagedError of any other, or of one that names files outside of the table's folder."""
    try:
        record: Record = TypeAdapter(Record).validate_json(text)
    except ValidationError as error:
        raise DamagedError(f"{place} is not the record of a pinned table: push again what it pins") from error
    if any(_leaves(item.name) for item in (*record.log, *record.data)):
        raise DamagedError(f"{place} names files outside of the table's folder")
    return record


def _leaves(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or not path.parts


def diverging(one: dict[str, str], other: dict[str, str]) -> str | None:
    """The first commit that two logs have in common by name and not by content, or None."""
    return next((name for name in sorted(one) if name in other and one[name] != other[name]), None)


def tables_of(entries: Iterable[Slice]) -> dict[tuple[str, str], list[Slice]]:
    """Slices by their table and its id."""
    found: dict[tuple[str, str], list[Slice]] = {}
    for entry in entries:
        found.setdefault((entry.card.table, entry.pin.table_id), []).append(entry)
    return found
