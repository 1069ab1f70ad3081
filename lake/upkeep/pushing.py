"""Bringing the pinned versions of tables to a remote, where others take them from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from lake import progress
from lake.errors import DamagedError, LakeError
from lake.root import DataRoot
from lake.store import cards
from lake.store.cards import Slice
from lake.upkeep import records
from lake.upkeep.depot import Depot
from lake.upkeep.records import Hashes, Item, Record

_AT_ONCE = 8
"""Files on their way at the same time."""


@dataclass(frozen=True)
class Moved:
    """What a push or pull did: slices and files that travelled, their bytes, and what could not (in sentences)."""

    slices: int
    files: int
    size: int
    problems: tuple[str, ...] = ()


DAMAGED_THERE = "delete that file; `dhs push`, where it is intact, brings it again"
"""The cure for a damaged file in a remote: what is there is never written over."""


@dataclass(frozen=True)
class Copy:
    """A file to bring from one place to another, under another name."""

    source: Depot
    name: str
    target: Depot
    to: str
    item: Item
    kind: str = "sha256"
    """The checksum's kind."""


def pinned(root: DataRoot, at: str | None = None, only: Sequence[str] = ()) -> list[Slice]:
    """The slices that the cards pin, of all tables or of some; ``at`` a git revision: as committed there."""
    found = [table for table in cards.tables(root, at) if not only or table in only]
    if missing := sorted(set(only) - set(found)):
        raise LakeError(f"no card pins {', '.join(missing)}: `dhs tables` lists the tables")
    return [entry for table in found for entry in cards.slices(root, table, at)]


def push(root: DataRoot, remote: Depot, entries: Iterable[Slice]) -> Moved:
    """Bring slices to a remote; those that are there stay as they are.

    A record is written when all files of its slice have arrived, so a push that was cut off leaves nothing that a pull
    would take; it goes on where it ended. Tables that others have written on from the same version are not pushed.
    """
    done, problems = Moved(0, 0, 0), []
    for (table, table_id), group in records.tables_of(entries).items():
        shelf = records.shelf(remote, table, table_id)
        there = shelf.sizes()
        todo = [entry for entry in group if not _is_whole(shelf, there, records.key(entry))]
        found, told = _described(root, table, todo)
        problems += told
        if found and (clash := _clash(shelf, there, found)):
            problems.append(_written_on(table, clash))
            continue
        copies = _missing(Depot.at(root.table(table)), shelf, there, found)
        bring(copies, f"Pushing {table}")
        if clash := _publish(shelf, there, found):
            problems.append(_written_on(table, clash))
            continue
        done = Moved(done.slices + len(found), done.files + len(copies), done.size + sum(c.item.size for c in copies))
    return Moved(done.slices, done.files, done.size, tuple(problems))


def bring(copies: Sequence[Copy], what: str, cure: str = "") -> None:
    """Copy files, several at a time, and check what arrives; the first failure ends it.

    DamagedError, which ends with the ``cure``, if a file's bytes have another checksum.
    """
    if not copies:
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [pool.submit(c.target.copy, c.source, c.name, c.to, c.item.sha256, c.kind) for c in copies]
        try:
            for job in progress.track(jobs, what):
                job.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if cure and isinstance(error, DamagedError):
                raise DamagedError(f"{error}; {cure}") from error
            raise


def _described(root: DataRoot, table: str, entries: Sequence[Slice]) -> tuple[list[tuple[Slice, Record]], list[str]]:
    """The records of slices, and why some have none."""
    hashes, found, problems = Hashes.of(root, table), [], []
    for entry in entries:
        try:
            found.append((entry, records.describe(root, entry, hashes)))
        except LakeError as error:
            problems.append(f"not pushed: {error}")
    return found, problems


def newest(shelf: Depot, names: Iterable[str]) -> Record | None:
    """The record of the highest version in a table's folder: its log holds every commit before."""
    for name in sorted((name for name in names if name.startswith("pins/")), reverse=True):
        with suppress(DamagedError):
            return records.parse(shelf.read(name), f"{shelf.place}/{name}")
    return None


def _is_whole(shelf: Depot, there: Mapping[str, int], name: str) -> bool:
    """Whether a record is in the remote with all the files that it names."""
    if name not in there:
        return False
    try:
        record = records.parse(shelf.read(name), name)
    except DamagedError:
        return False
    return all(there.get(item.key) == item.size for item in (*record.log, *record.data))


def _clash(shelf: Depot, names: Iterable[str], found: Sequence[tuple[Slice, Record]]) -> str | None:
    """The first commit that the remote's newest record has with other bytes, or None."""
    theirs = newest(shelf, names)
    own = {name: sha256 for _, record in found for name, sha256 in record.commits.items()}
    return records.diverging(own, theirs.commits) if theirs else None


def _publish(shelf: Depot, before: Iterable[str], found: Sequence[tuple[Slice, Record]]) -> str | None:
    """Write records; if others wrote some that contradict them in the meantime, take them back and name the commit."""
    own = [records.key(entry) for entry, _ in found]
    for name, (_, record) in zip(own, found, strict=True):
        shelf.write(name, record.text)
    if not own:
        return None
    clash = _clash(shelf, shelf.sizes().keys() - set(before) - set(own), found)
    for name in own if clash else ():
        shelf.remove(name)
    return clash


def _written_on(table: str, commit: str) -> str:
    version = records.number(commit)
    return (
        f"not pushed: version {version} of '{table}' in the remote is not the one here: someone else has written on "
        "from the same version; run `dhs pull --merge`, commit the cards that it changes, and push again"
    )


def _missing(source: Depot, shelf: Depot, there: dict[str, int], found: Sequence[tuple[Slice, Record]]) -> list[Copy]:
    """The files that the remote lacks, or holds with another size."""
    items = {item.key: item for _, record in found for item in (*record.data, *record.log)}
    return [Copy(source, item.name, shelf, key, item) for key, item in items.items() if there.get(key) != item.size]
