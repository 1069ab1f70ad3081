"""From a table or a run back to files, commits and checkpoints, along the pins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from lake.errors import LakeError, not_one_of
from lake.root import DataRoot
from lake.store import cards, views


def tree(root: DataRoot, name: str) -> str:
    """The ancestry of a table, a view, a slice ``table.slice``, or a generation, one line each, indented.

    Of any survey: each table names its own.
    """
    root = root.of_any_survey
    starts = [node for node in _nodes(root) if any(_matches(node, own) for own in views.named(name))]
    if not starts:
        raise not_one_of("name", sorted({node.split(":", 1)[1] for node in _nodes(root)}), name)
    lines: list[str] = []
    seen: set[str] = set()
    for start in starts:
        lines.extend(_walk(root, start, 0, seen))
    return "\n".join(lines)


def _nodes(root: DataRoot) -> list[str]:
    found = [
        f"table:{cards.stem(table, entry.card.slice)}"
        for table in cards.tables(root)
        for entry in cards.slices(root, table)
    ]
    found += [f"checkpoint:{p.name}" for p in sorted((root.local / "checkpoints").glob("*"))]
    return found + [f"grid:{p.name}" for p in sorted((root.local / "grid").glob("*"))]


def _matches(node: str, name: str) -> bool:
    kind, own = node.split(":", 1)
    return own == name or (kind == "table" and (own.split(".")[0] == name or own.split(".")[-1] == name))


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
    if kind == "table":
        table, _, slice_name = name.partition(".")
        try:
            entry = cards.read_slice(root, table, slice_name or None)
        except LakeError:
            return "(no longer in the lake)", {}
        commit = entry.pin.code.get("git_commit", "unknown")
        return f"version {entry.pin.version}, {entry.card.rows} rows, commit {commit}", entry.pin.inputs
    if kind == "checkpoint":
        # A checkpoint contains nothing that changes from run to run: what made it is in the pin of its training log.
        try:
            pin = cards.read_slice(root, "training_epochs", name).pin
        except LakeError:
            return "(no lineage recorded)", {}
        return f"commit {pin.code.get('git_commit', 'unknown')}", pin.inputs
    path = root.local / "grid" / name / "lineage.json"
    if not path.exists():
        return "(no lineage recorded)", {}
    recorded = json.loads(path.read_text())
    return f"commit {recorded['code'].get('git_commit', 'unknown')}", recorded["inputs"]
