"""Shards in an object store: their folder then holds a list of them, and readers fetch those that they need.

An object is named by the hash of its bytes, so the lists of older commits stay true.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lake.errors import ShardError
from lake.files import atomic, storage
from lake.progress import track

LIST = "shards.json"
_AT_ONCE = 8


def send(folder: Path, place: str) -> None:
    """Bring the shards of a folder to a prefix of an object store, and leave the list of them in their place.

    Killed anywhere and repeated it ends the same: shards are deleted once the list names them.
    """
    paths = _shards(folder)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        made = dict(track(threads.map(lambda path: (path.name, sent(path, place)), paths), "send shards", len(paths)))
    leave_list(folder, {**_listed(folder), **made})


def sent(path: Path, place: str) -> str:
    """Address of a shard below a prefix; the shard is uploaded unless it is there already."""
    target = storage.below(storage.absolute(place), f"{_digest(path)}.npy")
    if storage.find(target) is None:
        storage.upload(path, target)
    return target


def leave_list(folder: Path, places: Mapping[str, str]) -> None:
    """Leave the list of shards (their addresses, by name) in a folder, and no shards beside it."""
    atomic.write_text(folder / LIST, json.dumps(dict(places), indent=1, sort_keys=True) + "\n")
    for path in _shards(folder):
        path.unlink()


def bring(folder: Path, places: Mapping[str, str], stage: str = "stamps") -> None:
    """Bring shards (their addresses, by name) of a ``stage`` into a folder, except those that are there already."""

    def one(name: str, place: str) -> None:
        path = folder / name
        if not path.exists() or _digest(path) != _digest_in(place):
            _fetch(place, name, path, stage)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for _ in track(threads.map(one, *zip(*places.items(), strict=True)), "bring shards", len(places)):
            pass


def fetched(folder: Path, name: str, copies: Path, stage: str) -> Path | None:
    """A copy in the folder ``copies`` of a shard that a folder's list names; None where no list names it.

    ``stage`` makes the shards, for errors that say what to run.
    """
    place = _listed(folder).get(name)
    if place is None:
        return None
    path = copies / f"{_digest_in(place)}.npy"
    if not path.exists():
        _fetch(place, name, path, stage)
    return path


def _fetch(place: str, name: str, path: Path, stage: str) -> None:
    """Copy a shard from a store to a path, where it appears once its hash is that of its name."""
    draft = path.with_suffix(".new")
    try:
        storage.fetch(place, draft)
    except FileNotFoundError as error:
        raise ShardError(f"stamp shard {name} is missing in {place}; run `dvc repro {stage}`") from error
    if _digest(draft) != _digest_in(place):
        draft.unlink()
        raise ShardError(f"stamp shard {place} is damaged: delete it and run `dvc repro {stage}`")
    draft.replace(path)


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.npy"))


def _listed(folder: Path) -> dict[str, str]:
    path = folder / LIST
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_in(place: str) -> str:
    """The digest that an address names."""
    return place.rpartition("/")[2].removesuffix(".npy")
