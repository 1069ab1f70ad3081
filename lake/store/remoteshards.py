"""Shards in an object store: their folder then holds a list of them, and readers fetch those that they need.

An object is named by the hash of its bytes, so the lists of older commits stay true.
"""

from __future__ import annotations

import hashlib
import json
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
    paths = sorted(folder.glob("[!.]*.npy"))
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        sent = dict(track(threads.map(lambda path: (path.name, _sent(path, place)), paths), "send shards", len(paths)))
    atomic.write_text(folder / LIST, json.dumps({**_listed(folder), **sent}, indent=1, sort_keys=True) + "\n")
    for path in paths:
        path.unlink()


def fetched(folder: Path, name: str) -> Path | None:
    """A local copy of a shard that the folder's list names, kept below ``work``; None where no list names it."""
    place = _listed(folder).get(name)
    if place is None:
        return None
    digest = place.rpartition("/")[2].removesuffix(".npy")
    path = folder.parent / "work" / "shards" / f"{digest}.npy"
    if not path.exists():
        draft = path.with_suffix(".new")
        try:
            storage.fetch(place, draft)
        except FileNotFoundError as error:
            raise ShardError(f"stamp shard {name} is missing in {place}; run `dvc repro cutouts`") from error
        if _digest(draft) != digest:
            draft.unlink()
            raise ShardError(f"stamp shard {place} is damaged: delete it and run `dvc repro cutouts`")
        draft.replace(path)
    return path


def _sent(path: Path, place: str) -> str:
    """Address of a shard, which is there already or brought there."""
    target = storage.below(storage.absolute(place), f"{_digest(path)}.npy")
    if storage.find(target) is None:
        storage.upload(path, target)
    return target


def _listed(folder: Path) -> dict[str, str]:
    path = folder / LIST
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
