"""Files of a folder of sweeps: tables to read, in subfolders too, and other files with the reason they are not read."""

from __future__ import annotations

import gzip
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pyarrow import fs

from etl.files import storage
from lake.errors import DataError

_TABLE = re.compile(r".*\.(fits?|fts)(\.gz|\.fz)?", re.IGNORECASE | re.DOTALL)
_PACKED = re.compile(r".*\.(bz2|xz|zip|Z|zst|tar|7z)", re.IGNORECASE | re.DOTALL)
_GZIP = b"\x1f\x8b"
_MOST_EXPANSION = 100
_FREE_BYTES = 64 << 20


@dataclass(frozen=True, order=True)
class Sweep:
    """A file: its name below the folder, its place, and why it is not read (None: it is)."""

    name: str
    path: str
    problem: str | None = None

    @classmethod
    def at(cls, path: Path) -> Sweep:
        """A file by itself."""
        return cls(path.name, str(path))


def find(folder: str) -> list[Sweep]:
    """Files of a folder and its subfolders by name; DataError where none can be read."""
    found = sorted(_remote(folder) if "://" in folder else _local(Path(folder)))
    if not any(sweep.problem is None for sweep in found):
        raise DataError(f"{folder} contains no FITS table (*.fits, *.fits.gz, *.fits.fz)" + _first(found))
    return found


def _first(found: list[Sweep]) -> str:
    return f", but {len(found)} other files, such as {found[0].name}: {found[0].problem}" if found else ""


def _remote(folder: str) -> Iterator[Sweep]:
    filesystem, path = storage.resolve(folder)
    for entry in filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True)):
        if entry.type == fs.FileType.File:
            name = entry.path.removeprefix(path).lstrip("/")
            yield Sweep(name, f"{folder.rstrip('/')}/{name}", _unusable(name))


def _local(folder: Path) -> Iterator[Sweep]:
    """Files of a folder on disk; links are followed, each folder once."""
    failed: list[OSError] = []
    been: set[str] = set()
    for place, below, files in os.walk(folder, followlinks=True, onerror=failed.append):
        real = os.path.realpath(place)
        if real in been:
            below.clear()
            continue
        been.add(real)
        for file in files:
            path = Path(place) / file
            name = path.relative_to(folder).as_posix()
            shown = os.fsencode(name).decode("utf-8", "replace")
            yield Sweep(
                shown, str(path), _kind(path) or ("its name is not UTF-8 text" if shown != name else _unusable(name))
            )
    for error in failed:
        if error.filename != str(folder):
            yield Sweep(
                os.path.relpath(error.filename, folder), str(error.filename), f"the folder cannot be read: {error}"
            )


def _kind(path: Path) -> str | None:
    """Why an entry is not a file that can be opened; a pipe is never opened."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a broken link"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None if stat.S_ISREG(mode) else "not a regular file (a pipe, socket or device)"


def _unusable(name: str) -> str | None:
    if _TABLE.fullmatch(name):
        return None
    packed = _PACKED.fullmatch(name)
    return f"packed as .{packed[1]}; unpack it or use gzip" if packed else "not a FITS table, by its name"


class Opened:
    """A sweep open for reading; gzip is unpacked on the way, and ``size`` is then the most that will be unpacked."""

    def __init__(self, path: str) -> None:
        self.stored = storage.open_file(path)
        self.packed = self.stored.read(2) == _GZIP
        self.stored.seek(0)
        self.size = int(self.stored.size())
        self._file = cast(BinaryIO, self.stored)
        if self.packed:
            self.size = max(_FREE_BYTES, self.size * _MOST_EXPANSION)
            self._file = cast(BinaryIO, gzip.GzipFile(fileobj=self._file))

    def read(self, size: int, /) -> bytes:
        return self._file.read(size)

    def readinto(self, view: memoryview, /) -> int:
        return self._file.readinto(view)  # type: ignore[attr-defined]

    def seek(self, place: int, /) -> int:
        return self._file.seek(place)


@contextmanager
def opened(path: str) -> Iterator[Opened]:
    """A sweep for reading at any position."""
    file = Opened(path)
    with file.stored:
        yield file
