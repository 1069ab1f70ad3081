"""The tables of the lake as their users see them."""

from __future__ import annotations

from collections import defaultdict

from lake import cards, delta, tables
from lake.cards import Slice
from lake.errors import DarkHaloError
from lake.fingerprint import fingerprint
from lake.root import DataRoot


def listing(root: DataRoot, at: str | None = None) -> str:
    """One line per table: rows, newest pinned version, slices, meaning."""
    lines = [f"{'table':<24} {'rows':>10} {'version':>7}  meaning"]
    for name in tables.names():
        found = cards.slices(root, name, at)
        meaning = tables.spec(name).meaning
        if not found:
            lines.append(f"{name:<24} {'-':>10} {'-':>7}  {meaning}")
            continue
        rows = sum(entry.card.rows for entry in cards.distinct(found))
        version = max(entry.pin.version for entry in found)
        named = ", ".join(entry.card.slice for entry in found if entry.card.slice)
        lines.append(f"{name:<24} {rows:>10} {version:>7}  {meaning}" + (f" [{named}]" if named else ""))
    return "\n".join(lines)


def check(root: DataRoot, *, repair: bool, deep: bool) -> list[str]:
    """A sentence for each pin that the lake does not hold; with ``repair`` their cards are forgotten."""
    problems: dict[str, list[Slice]] = defaultdict(list)
    for table in cards.tables(root):
        for entry in cards.slices(root, table):
            sentence = _problem(root, entry, deep)
            if sentence:
                problems[sentence].append(entry)
    if repair:
        for entries in problems.values():
            for entry in entries:
                cards.remove(root, entry.card.table, entry.card.slice)
    return list(problems)


def _problem(root: DataRoot, entry: Slice, deep: bool) -> str | None:
    try:
        delta.open_pinned(root, entry)
        if not deep:
            return None
        rows = delta.read(root, entry.card.table, slices=[entry.card.slice])
    except DarkHaloError as error:
        return str(error)
    found = fingerprint(rows, tables.spec(entry.card.table))
    if found == entry.card.fingerprint:
        return None
    name = cards.stem(entry.card.table, entry.card.slice)
    return f"table '{name}' has fingerprint {found}, its card says {entry.card.fingerprint}"
