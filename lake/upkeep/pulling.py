"""Bringing pinned versions from a remote: a table here becomes the one that the pins name, version for version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lake.errors import DamagedError, LakeError, LostError, UnreachableError
from lake.root import DataRoot
from lake.store import cards, delta
from lake.store.cards import Slice
from lake.upkeep import records
from lake.upkeep.depot import Depot
from lake.upkeep.pushing import DAMAGED_THERE, Copy, Moved, bring
from lake.upkeep.records import Hashes, Record

NEVER_PUSHED = "its version is not in the remote: whoever committed its card has to run `dhs push`"


@dataclass(frozen=True)
class Wanted:
    """A pinned slice, and its record in the remote (None: it was not pushed)."""

    entry: Slice
    record: Record | None


def pull(root: DataRoot, remote: Depot, entries: Iterable[Slice]) -> Moved:
    """Bring the pinned slices that are not here; what is here stays as it is.

    Files of rows come first and the log after them in its order, so a pull that was cut off leaves a table that opens
    at an earlier version, and goes on where it ended. A table here that is not the pinned one, or that was written on
    from an earlier version than the remote's, is left alone and named among the problems.
    """
    by_table: dict[str, list[Slice]] = {}
    for entry in entries:
        by_table.setdefault(entry.card.table, []).append(entry)
    parts = [_pull_table(root, remote, table, group) for table, group in by_table.items()]
    return Moved(
        sum(part.slices for part in parts),
        sum(part.files for part in parts),
        sum(part.size for part in parts),
        tuple(problem for part in parts for problem in part.problems),
    )


def wanted(remote: Depot, entries: Sequence[Slice]) -> list[Wanted]:
    """Slices with their records."""
    found = []
    for (table, table_id), group in records.tables_of(entries).items():
        shelf = records.shelf(remote, table, table_id)
        there = shelf.below("pins").sizes()
        for entry in group:
            name = records.key(entry)
            known = name.removeprefix("pins/") in there
            found.append(Wanted(entry, records.parse(shelf.read(name), f"{shelf.place}/{name}") if known else None))
    return found


def is_here(root: DataRoot, entry: Slice) -> bool:
    """Whether the lake holds a slice's version with all its files.

    UnreachableError where it cannot be read; a lake without any table is one that nothing was brought to yet.
    """
    try:
        delta.require_files(root, entry, delta.open_pinned(root, entry))
    except (LostError, DamagedError):
        return False
    except UnreachableError:
        if Depot.at(root.table(entry.card.table)).below(records.LOG).sizes():
            raise
        return False
    return True


def commits_here(root: DataRoot, table: str) -> dict[str, str]:
    """Checksums of the commits of a table in the lake, by their names."""
    hashes = Hashes.of(root, table)
    log = (item for item in hashes.log().items() if item[0].endswith(".json"))
    return {name: hashes.item(name, size).sha256 for name, size in log}


def conflict(root: DataRoot, table: str, group: Sequence[Wanted]) -> str | None:
    """Why the pinned versions of a table cannot all be put beside what is here, or None."""
    if len({one.entry.pin.table_id for one in group}) > 1:
        return "the cards pin two tables of this name, made independently of each other"
    known = commits_here(root, table)
    for one in group:
        if one.record is None:
            continue
        if (name := records.diverging(one.record.commits, known)) is not None:
            version = records.number(name)
            what = "another table of this name is here" if version == 0 else f"version {version} here is another one"
            return f"{what} than the cards pin"
        known |= one.record.commits
    return None


def fetch(remote: Depot, target: Depot, found: Sequence[Record], what: str) -> list[Copy]:
    """Bring the files of records that a table's folder lacks, rows first; returns what was brought."""
    there = target.sizes()
    rows: dict[str, Copy] = {}
    log: dict[str, Copy] = {}
    for record in found:
        shelf = records.shelf(remote, record.table, record.table_id)
        for items, group in ((rows, record.data), (log, record.log)):
            items |= {item.name: Copy(shelf, item.key, target, item.name, item) for item in group}
    missing = {name: copy for name, copy in rows.items() if there.get(name) != copy.item.size}
    bring(list(missing.values()), what, DAMAGED_THERE)
    entries = [log[name] for name in sorted(log) if name not in there]
    for copy in entries:
        bring([copy], what, DAMAGED_THERE)
    return [*missing.values(), *entries]


def _pull_table(root: DataRoot, remote: Depot, table: str, entries: Sequence[Slice]) -> Moved:
    group = wanted(remote, entries)
    if (why := conflict(root, table, group)) is not None:
        cure = "`dhs pull --merge` takes the remote's table and writes on it what only you have; the one here is kept"
        return Moved(0, 0, 0, (f"'{table}' was not pulled: {why}; {cure}",))
    absent = [one.entry for one in group if not is_here(root, one.entry)]
    found = [one.record for one in group if one.record is not None and one.entry in absent]
    lost = [one.entry.name for one in group if one.record is None and one.entry in absent]
    copies = fetch(remote, Depot.at(root.table(table)), found, f"Pulling {table}")
    for one in group:
        if one.entry.name not in lost:
            cards.attest(root, one.entry.card)
    still = [entry.name for entry in absent if entry.name not in lost and not is_here(root, entry)]
    if still:
        raise LakeError(f"{', '.join(still)} cannot be read after it was pulled: run `dhs verify --deep`")
    size = sum(copy.item.size for copy in copies)
    return Moved(len(found), len(copies), size, tuple(f"'{name}' was not pulled: {NEVER_PUSHED}" for name in lost))
