"""A table that two people wrote on from the same version: the remote's goes on, with one's own slices written on it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pyarrow as pa

from lake import tables
from lake.contract.fingerprint import fingerprint
from lake.errors import LakeError
from lake.files import atomic
from lake.root import DataRoot
from lake.store import cards, delta, writing
from lake.store.cards import Slice
from lake.store.writing import Provenance, Target
from lake.upkeep import records
from lake.upkeep.depot import Depot
from lake.upkeep.pulling import NEVER_PUSHED, Wanted, commits_here, conflict, fetch, wanted
from lake.upkeep.pushing import newest
from lake.upkeep.records import Record

_READY = "ready"


def merge(root: DataRoot, remote: Depot, entries: Iterable[Slice]) -> list[str]:
    """Replace each table that diverged from the remote's; returns the slices that were written anew, with new pins.

    The new table is made beside the old one, which moves to ``lake/.replaced``; then the new pins are published. A
    merge that was cut off leaves the old table, or is finished by the next one.
    """
    if root.lake_uri:
        raise LakeError(
            f"`--merge` needs a lake in a local folder, and this one is {root.lake_uri}: "
            "merge in a clone without survey.lake_uri"
        )
    by_table: dict[str, list[Slice]] = {}
    for entry in entries:
        by_table.setdefault(entry.card.table, []).append(entry)
    written: list[str] = []
    for table, group in by_table.items():
        if (_draft(root, table) / _READY).exists():
            written += _finish(root, table)
            group = cards.slices(root, table)
        found = wanted(remote, group)
        base = _base(remote, found)
        if base is not None and _diverged(root, table, found, base):
            _prepare(root, remote, table, found, base)
            written += _finish(root, table)
    return written


def _base(remote: Depot, group: Sequence[Wanted]) -> Record | None:
    """The newest record of the table that goes on: of those in the remote the one that most slices are pinned in."""
    ids = Counter(one.entry.pin.table_id for one in group if one.record is not None)
    ids = ids or Counter(one.entry.pin.table_id for one in group)
    table_id = max(ids, key=lambda one: (ids[one], one))
    shelf = records.shelf(remote, group[0].entry.card.table, table_id)
    return newest(shelf, shelf.sizes())


def _diverged(root: DataRoot, table: str, group: Sequence[Wanted], base: Record) -> bool:
    unlike = records.diverging(base.commits, commits_here(root, table))
    return unlike is not None or conflict(root, table, group) is not None


def _prepare(root: DataRoot, remote: Depot, table: str, group: Sequence[Wanted], base: Record) -> None:
    """Make the remote's table in the draft, and write on it the slices that are not in it."""
    draft = _draft(root, table)
    shutil.rmtree(draft, ignore_errors=True)
    scratch = replace(root, local=draft)
    theirs = [one.record for one in group if one.record is not None and one.record.table_id == base.table_id]
    fetch(remote, Depot.at(scratch.table(table)), [*theirs, replace(base, data=[])], f"Pulling {table}")
    for one in group:
        if one.record not in theirs:
            card, pin = one.entry.card, one.entry.pin
            who = Provenance(str(pin.code.get("stage", "merge")), pin.code, pin.inputs)
            target = Target(scratch, tables.spec(table), card.slice, card.where, who)
            writing.write_slice(target, _rows_of(root, remote, one))
    atomic.write_text(draft / _READY, "")


def _rows_of(root: DataRoot, remote: Depot, one: Wanted) -> pa.Table:
    """The rows of a slice that only this lake has, or that another table in the remote has."""
    table, entry = one.entry.card.table, one.entry
    place = root
    if one.record is not None:
        place = replace(root, local=_draft(root, table) / "other")
        shutil.rmtree(place.local, ignore_errors=True)
        fetch(remote, Depot.at(place.table(table)), [one.record], f"Pulling {entry.name}")
        cards.publish(place, entry.card, entry.pin)
    try:
        rows = delta.read(place, table, slices=[entry.card.slice], ordered=False)
    except LakeError as error:
        raise LakeError(f"'{entry.name}' cannot be merged: {NEVER_PUSHED}, and it is not here ({error})") from error
    if fingerprint(rows, tables.spec(table)) != entry.card.fingerprint:
        raise LakeError(f"'{entry.name}' cannot be merged: {NEVER_PUSHED}, and its version here holds other rows")
    return rows


def _finish(root: DataRoot, table: str) -> list[str]:
    """Put a prepared table in place and publish its new pins; a second time, what is left of that."""
    draft, target = _draft(root, table), Path(root.table(table))
    made = Path(replace(root, local=draft).table(table))
    if made.exists():
        if target.exists():
            _set_aside(target)
        made.rename(target)
    scratch = replace(root, local=draft)
    written = cards.slices(scratch, table)
    for entry in written:
        cards.publish(root, entry.card, entry.pin)
    shutil.rmtree(draft)
    return [entry.name for entry in written]


def _draft(root: DataRoot, table: str) -> Path:
    """Beside the tables, on their disk."""
    return root.local / "lake" / ".merging" / table


def _set_aside(target: Path) -> None:
    kept = target.parent / ".replaced"
    kept.mkdir(exist_ok=True)
    numbered = (kept / f"{target.name}-{number}" for number in count(1))
    target.rename(next(place for place in numbered if not place.exists()))
