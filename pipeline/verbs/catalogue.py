"""The tables of the lake as their users see them."""

from __future__ import annotations

from collections import Counter

from lake import tables
from lake.root import DataRoot
from lake.store import cards, views


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
    others = Counter(
        entry.pin.inputs[cards.SURVEY] for name in tables.names() for entry in cards.foreign(root, name, at)
    )
    lines += [
        f"not read: {count} tables or slices of the survey '{name}'; params.yaml names '{root.survey_name}'"
        for name, count in sorted(others.items())
    ]
    return "\n".join(lines)
