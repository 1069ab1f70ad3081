"""The tables of the lake as their users see them, and what each was made from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping

from lake import tables
from lake.errors import LakeError, not_one_of
from lake.root import DataRoot
from lake.store import cards, views
from lake.store.cards import Slice
from lake.store.query import described, spec_of
from lake.upkeep.pulling import is_here
from pipeline.tables.texttable import table_text


def listing(root: DataRoot, at: str | None = None) -> str:
    """One line per table: rows, newest pinned version, slices, meaning; what cards pin and the lake lacks is marked."""
    absent: list[str] = []
    wide = max(len(name) for name in (*tables.names(), *views.VIEWS))
    lines = [f"{'table':<{wide}} {'rows':>10} {'version':>7}  meaning"]
    for name in tables.names():
        found = cards.slices(root, name, at)
        meaning = tables.spec(name).meaning
        if not found:
            lines.append(f"{name:<{wide}} {'-':>10} {'-':>7}  {meaning}")
            continue
        rows = sum(entry.card.rows for entry in cards.distinct(found))
        version = max(entry.pin.version for entry in found)
        named = ", ".join(entry.card.slice for entry in found if entry.card.slice)
        lost = [entry.name for entry in found if not is_here(root, entry)]
        absent += lost
        mark = "" if not lost else " (absent)" if len(lost) == len(found) else f" (absent: {', '.join(lost)})"
        lines.append(f"{name:<{wide}} {rows:>10} {version:>7}  {meaning}" + (f" [{named}]" if named else "") + mark)
    lines += [f"{name:<{wide}} {'view':>10} {'':>7}  {views.VIEWS[name].meaning}" for name in views.VIEWS]
    others = Counter(
        entry.pin.inputs[cards.SURVEY] for name in tables.names() for entry in cards.foreign(root, name, at)
    )
    lines += [
        f"not read: {count} tables or slices of the survey '{name}'; params.yaml names '{root.survey_name}'"
        for name, count in sorted(others.items())
    ]
    if absent:
        lines.append(
            f"absent: {len(absent)} pinned tables or slices are not in the lake; `dhs pull` brings what was pushed, "
            "`dhs repro` makes it again"
        )
    return "\n".join(lines)


def description(root: DataRoot, name: str, at: str | None = None) -> str:
    """A table's or view's columns, and the slices that hold its rows, each with its pin and what it was made from.

    ParameterError where nothing has this name.
    """
    name = name.lower()
    spec, view = spec_of(name), None
    if name in views.VIEWS:  # which makes views along axes when it is asked for them by [], not by get
        view = views.VIEWS[name]
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


def tree(root: DataRoot, name: str) -> str:
    """The ancestry of a table, a view, a slice ``table.slice``, or a generation, one line each, indented.

    Of any survey: each table names its own.
    """
    root = root.of_any_survey
    nodes, named = _nodes(root), set(views.named(name))
    if not nodes:
        raise LakeError("nothing has been made yet, so there is nothing to trace: run `dvc repro`")
    starts = []
    for kind, own in (node.split(":", 1) for node in nodes):
        parts = {own, own.split(".")[0], own.split(".")[-1]} if kind == "table" else {own}
        starts += [f"{kind}:{own}"] if parts & named else []
    if not starts:
        raise not_one_of("name", sorted({node.split(":", 1)[1] for node in nodes}), name)
    lines: list[str] = []
    seen: set[str] = set()
    for start in starts:
        lines.extend(_walk(root, start, 0, seen))
    return "\n".join(lines)


def _nodes(root: DataRoot) -> list[str]:
    found = [f"table:{entry.name}" for entry in cards.all_slices(root)]
    for kind, folder in (("checkpoint", "checkpoints"), ("grid", "grid")):
        found += [f"{kind}:{path.name}" for path in sorted((root.local / folder).glob("*"))]
    return found


def _walk(root: DataRoot, node: str, depth: int, seen: set[str]) -> Iterator[str]:
    facts, inputs = _facts(root, node)
    again = node in seen
    yield "  " * depth + node.replace(":", " ", 1) + (f"  {facts}" if facts else "") + ("  (above)" if again else "")
    if again:
        return
    seen.add(node)
    for name, value in sorted(inputs.items()):
        if name.split(":", 1)[0] in ("table", "checkpoint", "grid"):
            yield from _walk(root, name, depth + 1, seen)
        else:
            yield "  " * (depth + 1) + name.replace(":", " ", 1) + f"  {value}"


def _facts(root: DataRoot, node: str) -> tuple[str, Mapping[str, str]]:
    kind, name = node.split(":", 1)
    if kind == "grid":
        path = root.grid(name) / "lineage.json"
        if not path.exists():
            return "(no lineage recorded)", {}
        recorded = json.loads(path.read_text())
        return f"commit {recorded['code'].get('git_commit', 'unknown')}", recorded["inputs"]
    # A checkpoint contains nothing that changes from run to run: what made it is in the pin of its training log.
    table, _, slice_name = (name if kind == "table" else cards.stem("training_epochs", name)).partition(".")
    try:
        entry = cards.read_slice(root, table, slice_name or None)
    except LakeError:
        return "(no longer in the lake)" if kind == "table" else "(no lineage recorded)", {}
    held = f"version {entry.pin.version}, {entry.card.rows} rows, " if kind == "table" else ""
    return f"{held}commit {entry.pin.code.get('git_commit', 'unknown')}", entry.pin.inputs
