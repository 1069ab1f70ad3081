"""Files by path or ``s3://`` address, local or in an object store, used alike."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
from pyarrow import fs

from lake.addresses import is_remote, plain, split
from lake.files import atomic
from lake.files.objects import Found, Store

_IN_MEMORY_BYTES = 32 << 20
_CHUNK = 4 << 20


def absolute(place: str) -> str:
    """A place that means the same in every process, without a slash at its end."""
    return plain(place) if is_remote(place) else str(Path(place).resolve())


def below(place: str, *parts: str) -> str:
    """A place below a folder or prefix."""
    return "/".join((place.rstrip("/"), *parts))


def open_file(place: str, store: Store | None = None) -> pa.NativeFile:
    """A file for reading at any position. An object that is replaced meanwhile is an error, never a mixture.

    ``store``, here and below: another than the environment's.
    """
    if is_remote(place):
        return _of(store).open(place)
    return fs.LocalFileSystem().open_input_file(str(Path(place).resolve()))


def read(place: str, store: Store | None = None) -> bytes:
    """A file's bytes."""
    with open_file(place, store) as file:
        return bytes(file.read())


def files(place: str, store: Store | None = None) -> Iterator[tuple[str, Found]]:
    """Files below a folder or prefix, with their names below it; none if it is missing."""
    if is_remote(place):
        yield from _of(store).files(place)
        return
    for folder, _, names in os.walk(place):
        for name in names:
            path = Path(folder, name)
            if (found := find(str(path))) is not None:
                yield str(path.relative_to(place)), found


def find(place: str, store: Store | None = None) -> Found | None:
    """Facts of a file; None where there is none."""
    if is_remote(place):
        return _of(store).find(place)
    path = Path(place)
    if not path.is_file():
        return None
    facts = path.stat()
    return Found(facts.st_size, str(facts.st_mtime_ns), facts.st_mtime)


def exists(place: str) -> bool:
    """Whether something has this name: a file, locally also a folder, pipe or device."""
    return find(place) is not None if is_remote(place) else Path(place).exists()


def state(place: str) -> str:
    """What changes with a file's content: its size, and its ETag or time of change."""
    found = find(place)
    return f"{found.size} {found.identity}" if found else "absent"


@contextmanager
def writing(place: str, store: Store | None = None) -> Iterator[BinaryIO]:
    """A file to write, which appears at its place when the block ends well; nothing does after an error or a kill."""
    if not is_remote(place):
        with atomic.replacing(Path(place)) as draft, draft.open("wb") as file:
            yield file
        return
    split(place)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as kept:
        yield cast(BinaryIO, kept)
        kept.seek(0)
        _of(store).put(place, cast(BinaryIO, kept))


def upload(path: Path, place: str) -> None:
    """Copy a local file to a place."""
    if is_remote(place):
        with path.open("rb") as source:
            _of(None).put(place, source)
        return
    with path.open("rb") as source, writing(place) as target:
        shutil.copyfileobj(source, target, _CHUNK)


def fetch(place: str, path: Path) -> None:
    """Copy a file to a local path, where it appears whole."""
    with open_file(place) as source, atomic.replacing(path) as draft, draft.open("wb") as target:
        while content := source.read(_CHUNK):
            target.write(content)


def remove(place: str, store: Store | None = None) -> None:
    """Delete a file if it is there."""
    if is_remote(place):
        _of(store).remove(place)
    else:
        Path(place).unlink(missing_ok=True)


def clear(place: str) -> None:
    """Delete every file below a folder or prefix."""
    for name, _ in list(files(place)):
        remove(below(place, name))


def _of(store: Store | None) -> Store:
    return store or Store.of_environment()
