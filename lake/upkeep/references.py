"""Which versions of tables anything refers to: pins in the working tree, in git's index, and in every commit."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from lake.errors import LakeError
from lake.root import DataRoot
from lake.store.cards import Card, Pin, texts

_EITHER: TypeAdapter[Card | Pin] = TypeAdapter(Card | Pin)
_LONGEST = 1 << 20
"""Bytes of a JSON file beyond which it is no card."""


@dataclass(frozen=True)
class References:
    """Pins, and the rows that cards describe."""

    pins: frozenset[tuple[str, int, str]]
    """Table id, version and fingerprint."""
    wheres: dict[tuple[str, str], list[dict[str, str]]] = field(default_factory=dict)
    """The slices by table and fingerprint: slices without rows have the same one in every table."""
    in_git: bool = True
    """Whether there is a repository, whose commits were read."""

    def of(self, table: str, table_id: str) -> dict[int, list[dict[str, str]]]:
        """The slices of each version of a table that something refers to; ``{}`` is the whole version."""
        found: dict[int, list[dict[str, str]]] = {}
        for one, version, fingerprint in self.pins:
            if one == table_id:
                found.setdefault(version, []).extend(self.wheres.get((table, fingerprint), [{}]))
        return found


def references(root: DataRoot) -> References:
    """All that refers to a version. LakeError where a card or pin of the working tree cannot be read.

    Commits are those that git can reach from any branch, tag, stash, worktree or reflog. What is no card or pin among
    the JSON files of history is passed over; a pin without its card keeps its whole version.
    """
    own = texts(root.cards, None)
    if unread := [name for name, text in own.items() if _parsed(text) is None]:
        raise LakeError(f"{root.cards}/{unread[0]}.json is neither a card nor a pin; nothing is removed")
    committed = list(_committed(root.cards))
    found = [one for text in (*own.values(), *committed) if (one := _parsed(text)) is not None]
    wheres: dict[tuple[str, str], list[dict[str, str]]] = {}
    for one in found:
        if isinstance(one, Card):
            known = wheres.setdefault((one.table, one.fingerprint), [])
            known += [dict(one.where)] if dict(one.where) not in known else []
    pins = frozenset((one.table_id, one.version, one.fingerprint) for one in found if isinstance(one, Pin))
    return References(pins, wheres, _repository(root.cards) is not None)


def _parsed(text: str) -> Card | Pin | None:
    try:
        found: Card | Pin = _EITHER.validate_json(text)
    except ValidationError:
        return None
    return found


def _repository(place: Path) -> Path | None:
    """The folder from which git works, or None outside of any repository."""
    folder = next(above for above in (place.resolve(), *place.resolve().parents) if above.is_dir())
    done = subprocess.run(["git", "-C", str(folder), "rev-parse", "--git-dir"], capture_output=True, check=False)
    return folder if done.returncode == 0 else None


def _committed(place: Path) -> Iterator[str]:
    """Every JSON file of history and the index, each content once."""
    folder = _repository(place)
    if folder is None:
        return
    every = ["rev-list", "--objects", "--all", "--reflog", "--indexed-objects"]
    listed = (line.partition(" ") for line in _git(folder, every).decode(errors="replace").splitlines())
    yield from _contents(folder, sorted({name for name, _, path in listed if path.endswith(".json")}))


def _contents(folder: Path, names: Iterable[str]) -> Iterator[str]:
    wanted = "".join(f"{name}\n" for name in names).encode()
    answer, start = _git(folder, ["cat-file", "--batch"], wanted), 0
    while start < len(answer):
        end = answer.index(b"\n", start)
        _name, kind, size = answer[start:end].decode().split()
        content = answer[end + 1 : end + 1 + int(size)]
        start = end + 2 + int(size)
        if kind == "blob" and int(size) < _LONGEST:
            yield content.decode(errors="replace")


def _git(folder: Path, arguments: list[str], given: bytes = b"") -> bytes:
    done = subprocess.run(["git", "-C", str(folder), *arguments], input=given, capture_output=True, check=False)
    if done.returncode:
        raise LakeError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}; nothing is removed")
    return done.stdout
