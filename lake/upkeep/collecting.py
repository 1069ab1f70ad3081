"""Removing the files of table versions that nothing refers to any more."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deltalake.exceptions import DeltaError

from lake import progress, tables
from lake.errors import LakeError, one_line
from lake.root import DataRoot
from lake.store import delta, parts
from lake.upkeep.depot import Depot
from lake.upkeep.records import LOG
from lake.upkeep.references import References

_DAY_S = 86400.0
_OTHERS = (LOG, "_witness")
_ROWS = ".parquet"


@dataclass(frozen=True)
class Waste:
    """Files of a table that no version needs that anything refers to."""

    table: str
    files: tuple[str, ...]
    size: int
    young: int
    """Further such files that are younger than the retention, and stay."""
    kept: int
    """Versions that something refers to, or the newest."""
    problem: str | None = None
    """Why this table is left alone, if it is."""


def waste(root: DataRoot, known: References, older_than_days: float) -> list[Waste]:
    """What could be removed from each table that has any; nothing is touched.

    The newest version of a table stays whole, since the next write goes on from it. The log stays too: it is small, and
    versions keep their numbers.
    """
    found = []
    for table in tables.names():
        depot = Depot.at(root.table(table))
        if depot.below(LOG).sizes():
            found.append(_of_table(root, table, depot, known, older_than_days))
    return [one for one in found if one.files or one.young or one.problem]


def remove(root: DataRoot, found: Sequence[Waste]) -> int:
    """Delete the files; returns how many bytes. A kill leaves some of them, for the next time."""
    todo = [(Depot.at(root.table(one.table)), name) for one in found for name in one.files]
    for depot, name in progress.track(todo, "Removing files"):
        depot.remove(name)
        folder, _, last = name.rpartition("/")
        depot.remove(f"{folder}/.{last}.crc" if folder else f".{last}.crc")
    return sum(one.size for one in found)


def _of_table(root: DataRoot, table: str, depot: Depot, known: References, days: float) -> Waste:
    try:
        needed, versions = _needed(root, table, known)
    except (DeltaError, LakeError, OSError) as error:
        return Waste(table, (), 0, 0, 0, f"'{table}' is left alone, its log cannot be read: {one_line(error)}")
    last = time.time() - days * _DAY_S
    loose = _loose(depot.states(drafts=True), needed)
    old = sorted(name for name, (_, changed) in loose.items() if changed <= last)
    return Waste(table, tuple(old), sum(loose[name][0] for name in old), len(loose) - len(old), versions)


def _loose(held: Mapping[str, tuple[int, float]], needed: set[str]) -> dict[str, tuple[int, float]]:
    """Files of rows that are not needed.

    What a job keeps of an input (:mod:`lake.store.parts`) goes together, once none of the input's parts is needed.
    """
    keys = {key for name in needed if (key := parts.key_of(name))}
    rows = [name for name in held if name.endswith(_ROWS) and name.split("/")[0] not in _OTHERS]
    loose = [name for name in rows if name not in needed and parts.key_of(name) not in keys]
    accounts = {parts.account(key) for name in loose if (key := parts.key_of(name))}
    return {name: held[name] for name in [*loose, *accounts] if name in held}


def _needed(root: DataRoot, table: str, known: References) -> tuple[set[str], int]:
    """Files of all versions that something refers to and of the newest, and how many versions that is."""
    at = delta.at(root.table(table))
    newest = int(at.version())
    wanted: dict[int, Iterable[dict[str, str]]] = {**known.of(table, str(at.metadata().id)), newest: [{}]}
    needed: set[str] = set()
    for version, slices in wanted.items():
        if version > newest:  # pinned, and lost: a rewound table
            continue
        at.load_as_version(version)
        for where in slices:
            needed |= {name for name, _ in delta.added(at, where)}
    return needed, len(wanted)
