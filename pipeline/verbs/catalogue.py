"""The tables of the lake as their users see them."""

from __future__ import annotations

from collections import Counter

from lake import tables
from lake.root import DataRoot
from lake.store import cards, views
from lake.store.cards import Slice
from lake.store.query import described, spec_of
from pipeline.verbs.texttable import table_text


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


def description(root: DataRoot, name: str, at: str | None = None) -> str:
    """A table's or view's columns, and the slices that hold its rows, each with its pin and what it was made from.

    ParameterError where nothing has this name.
    """
    name = name.lower()
    spec, view = spec_of(name), views.view(name) if name in views.names() else None
    found = {one: cards.slices(root, one, at) for one in views.named(name)}
    head = f"{name} (view of {', '.join(found)}): {view.meaning}" if view else f"{name}: {spec.meaning}"
    parts = [head, f"key: {', '.join(spec.key)}", "", table_text(described(name), short=True), ""]
    for table, entries in found.items():
        rows = sum(entry.card.rows for entry in cards.distinct(entries))
        parts += [f"{table}: {rows:,} rows" if entries else f"{table} has not been made yet; run `dvc repro`"]
        parts += [line for entry in entries for line in _pinned(entry)]
    return "\n".join([*parts, *(["", view.sql] if view else [])])


def _pinned(entry: Slice) -> list[str]:
    """A slice's rows and version, and one line for each of its inputs."""
    card, pin = entry.card, entry.pin
    commit = pin.code.get("git_commit", "unknown")
    head = (
        f"  {card.slice or 'all rows'}: {card.rows:,} rows, version {pin.version}, commit {commit}, {card.fingerprint}"
    )
    return [head, *(f"    from {name.replace(':', ' ', 1)}  {value}" for name, value in sorted(pin.inputs.items()))]
