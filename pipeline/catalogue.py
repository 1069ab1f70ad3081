"""The tables of the lake as their users see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lake import cards, delta, held, tables, views
from lake.cards import Slice
from lake.errors import DamagedError, DarkHaloError, LakeError, LostError
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
    lines += [f"{name:<24} {'view':>10} {'':>7}  {views.view(name).meaning}" for name in views.names()]
    return "\n".join(lines)


@dataclass(frozen=True)
class Finding:
    """What is wrong, in a sentence, and the slices whose cards may be forgotten so that it is made again."""

    sentence: str
    forgettable: tuple[Slice, ...] = ()
    aside: bool = False
    """Whether their table must be set aside before it can be made again."""


def check(root: DataRoot, *, deep: bool) -> list[Finding]:
    """What disagrees between the pins and the lake; ``deep`` reads every row."""
    found: list[Finding] = []
    for table in cards.tables(root):
        try:
            entries = cards.slices(root, table)
        except LakeError as error:
            found.append(Finding(str(error)))
            continue
        found.extend(finding for entry in entries if (finding := _judge(root, entry, deep)))
    return list({finding.sentence: finding for finding in found}.values())


def repair(root: DataRoot, findings: Sequence[Finding]) -> list[Finding]:
    """Forget the cards of what is gone or damaged, setting damaged tables aside; the findings this cannot mend.

    Nothing is forgotten while a table cannot be read at all.
    """
    left = [finding for finding in findings if not finding.forgettable]
    if left:
        return list(findings)
    for table in {entry.card.table for finding in findings if finding.aside for entry in finding.forgettable}:
        held.set_aside(root, table)
    for finding in findings:
        for entry in finding.forgettable:
            cards.remove(root, entry.card.table, entry.card.slice)
    return []


def _judge(root: DataRoot, entry: Slice, deep: bool) -> Finding | None:
    try:
        delta.open_pinned(root, entry)
        if not deep:
            return None
        rows = delta.read(root, entry.card.table, slices=[entry.card.slice])
    except LostError as error:
        return Finding(str(error), (entry,))
    except DamagedError as error:
        return Finding(str(error), () if root.lake_uri else tuple(cards.slices(root, entry.card.table)), aside=True)
    except DarkHaloError as error:
        return Finding(str(error))
    found = fingerprint(rows, tables.spec(entry.card.table))
    if found == entry.card.fingerprint:
        return None
    name = cards.stem(entry.card.table, entry.card.slice)
    return Finding(f"table '{name}' has fingerprint {found}, its card says {entry.card.fingerprint}", (entry,))
