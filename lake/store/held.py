"""Why a pinned version cannot be opened: it is not in the lake, it is damaged, or the lake cannot be read.

A card may be forgotten only if the place was read and does not hold the version. A read error (a network or disk that
is not available, too many open files) says nothing about what the lake holds.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lake import tables
from lake.addresses import is_remote
from lake.errors import DamagedError, DamagedLogError, LakeError, LostError, StoreError, UnreachableError
from lake.files import storage
from lake.files.objects import Store
from lake.root import DataRoot
from lake.store import cards
from lake.store.cards import Slice

_LOG = "_delta_log"
_UNDERSTOOD = re.compile(r"decompress|corrupt|deserializ|magic bytes", re.IGNORECASE)
"""What Arrow says about bytes that it has read and cannot decode."""
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\..*parquet")


def verdict(root: DataRoot, entry: Slice, error: Exception) -> LakeError:
    """The error to raise when opening a slice's pinned version fails with ``error``."""
    if isinstance(error, (OSError, StoreError)):
        return unreachable(root, entry, error)
    try:
        _refuse_broken_link(root, entry)
        names = _names(f"{root.table(entry.card.table)}/{_LOG}")
        _refuse_empty_lake(root)
        if names is None or _absent(names, entry.pin.version):
            return lost(root, entry)
        broken = _broken(f"{root.table(entry.card.table)}/{_LOG}", names, entry.pin.version)
    except (OSError, StoreError) as failure:
        return unreachable(root, entry, failure)
    return unreachable(root, entry, error) if broken is None else damaged(root, entry, broken)


def require_log(root: DataRoot, entry: Slice) -> None:
    """Refuse a table whose log lacks a commit or has a damaged one: Spark needs every commit."""
    log = f"{root.table(entry.card.table)}/{_LOG}"
    try:
        broken = _broken(log, _names(log) or set(), entry.pin.version)
    except (OSError, StoreError) as failure:
        raise unreachable(root, entry, failure) from failure
    if broken is not None:
        raise damaged(root, entry, broken)


def lost(root: DataRoot, entry: Slice, what: str | None = None) -> LostError:
    """The error for a pin whose version is not in the lake, which could be read."""
    why = what or f"is pinned at version {entry.pin.version}, which {root.table(entry.card.table)} does not hold"
    cure = "`dhs pull` brings it if it was pushed; to make it again, `dhs verify --repair`, then `dvc repro`"
    return LostError(f"table '{entry.name}' {why}; {cure}")


def damaged(root: DataRoot, entry: Slice, what: str) -> DamagedLogError:
    """The error for a table whose log cannot be parsed, though its bytes can be read."""
    cure = "run `dhs verify --repair`, which sets the table aside, then `dvc repro`"
    if root.lake_uri:
        cure = f"delete {root.table(entry.card.table)}, then run `dhs verify --repair` and `dvc repro`"
    return DamagedLogError(f"table '{entry.name}': {what}; {cure}")


def data_verdict(root: DataRoot, entry: Slice, error: Exception) -> LakeError:
    """The error to raise when reading the rows of a version that could be opened fails with ``error``.

    A file that is missing, or was read and not understood, is damage. What the operating system or the object store
    refuses says nothing about the bytes: the one gives a number, the other does not.
    """
    if isinstance(error, FileNotFoundError) or not isinstance(error, OSError) or _UNDERSTOOD.search(str(error)):
        return damaged_data(root, entry, _sentence(error))
    if error.errno is not None or root.lake_uri is not None:
        return unreachable(root, entry, error)
    return damaged_data(root, entry, _sentence(error))


def damaged_data(root: DataRoot, entry: Slice, what: str) -> DamagedError:
    """The error for a slice with missing or damaged data files."""
    return DamagedError(
        f"table '{entry.name}' has lost rows ({what}); run `dhs verify --deep --repair`, then `dvc repro`"
    )


def set_aside(root: DataRoot, table: str) -> None:
    """Move a local table that cannot be read into ``.damaged``, to make it again."""
    lake = root.local / "lake"
    kept = lake / ".damaged"
    kept.mkdir(exist_ok=True)
    number = len(list(kept.iterdir())) + 1
    (lake / table).rename(kept / f"{table}-{number}")


def unreachable(root: DataRoot, entry: Slice, error: Exception) -> UnreachableError:
    """The error for a table whose state is unknown; nothing that depends on it may be forgotten."""
    why = error.why if isinstance(error, StoreError) else _sentence(error)
    return UnreachableError(
        f"table '{entry.name}' cannot be read in {root.table(entry.card.table)} ({why}): mount it, "
        "connect or fix permissions and run the command again; its card is kept"
    )


def _sentence(error: Exception) -> str:
    """An error in one line, without the terminal colours and call trees of delta-rs."""
    text = re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error))
    lines = [line.strip() for line in text.splitlines() if not re.match(r"\s*\d+: ", line)]
    return " ".join(line for line in lines if line)[:300]


def _refuse_broken_link(root: DataRoot, entry: Slice) -> None:
    for place in (root.local / "lake", root.local / "lake" / entry.card.table):
        if root.lake_uri is None and place.is_symlink() and not (place.is_dir() and os.listdir(place)):  # noqa: PTH208
            raise OSError(f"{place} is a link to {place.readlink()}, which does not exist")


def _refuse_empty_lake(root: DataRoot) -> None:
    """A lake without any table, though cards pin some, more likely means an unmounted disk than deleted tables."""
    place = root.lake_uri or str((root.local / "lake").resolve())
    found = _names(place) or set()
    if not any(n in found and ("://" in place or (Path(place) / n / _LOG).is_dir()) for n in tables.names()):
        raise UnreachableError(
            f"{place} holds no table, but {root.cards} pins {len(cards.tables(root))}: in a new clone run `dhs pull`; "
            f"else mount or restore it; if it was deleted on purpose, move {root.cards} away and run `dvc repro`"
        )


def _names(place: str) -> set[str] | None:
    """Names in a folder; None if its parent can be read and the folder does not exist."""
    if not is_remote(place):
        try:
            return set(os.listdir(place))  # noqa: PTH208 - iterdir() would hide when the error comes
        except FileNotFoundError:
            return None
    return Store.of_environment().names(place) or None


def _needed(names: set[str], version: int) -> Iterator[str]:
    """Commits that make up a version: those after the last checkpoint at or before it."""
    checkpoints = (int(match[1]) for name in names if (match := _CHECKPOINT.fullmatch(name)))
    start = max((number for number in checkpoints if number <= version), default=-1)
    return (f"{number:020d}.json" for number in range(start + 1, version + 1))


def _absent(names: set[str], version: int) -> bool:
    """Whether a log ends before a version (a commit missing further back is damage)."""
    needed = list(_needed(names, version))
    return bool(needed) and needed[-1] not in names


def _broken(log: str, names: set[str], version: int) -> str | None:
    """The fault of the first commit of a log that is missing or damaged, or None."""
    gap = next((name for name in _needed(names, version) if name not in names), None)
    if gap is not None:
        return f"{log}/{gap} is missing"
    checkpoints = sorted(name for name in names if _CHECKPOINT.fullmatch(name))
    for name in [*checkpoints, *_needed(names, version)]:
        content = storage.read(f"{log}/{name}")
        try:
            if name in checkpoints:
                pq.read_metadata(pa.BufferReader(content))
            else:
                actions = [json.loads(line) for line in content.decode().splitlines()]
                if not actions or not all(isinstance(action, dict) for action in actions):
                    raise ValueError("no actions")
        except (ValueError, RecursionError, pa.ArrowException):
            return f"{log}/{name} is damaged"
    return None
