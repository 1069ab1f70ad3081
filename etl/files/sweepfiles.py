"""Files of a folder of sweeps: tables to read, in subfolders too, and other files with the reason they are not read."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyarrow as pa

from etl.files import tree
from lake.errors import DataError
from lake.files import storage

_TABLE = re.compile(r".*\.((fits?|fts)(\.gz|\.fz)?|csv(\.gz)?|parquet)", re.IGNORECASE | re.DOTALL)
_PACKED = re.compile(r".*\.(bz2|xz|zip|Z|zst|tar|7z)", re.IGNORECASE | re.DOTALL)
_GZIP = b"\x1f\x8b"
_MOST_EXPANSION = 100
_FREE_BYTES = 64 << 20
_CHUNK = 8 << 20


@dataclass(frozen=True, order=True)
class Sweep:
    """A file: its name below the folder, its place, and why it is not read (None: it is)."""

    name: str
    path: str
    problem: str | None = None


def find(folder: str) -> list[Sweep]:
    """Files of a folder and its subfolders by name; DataError where none can be read."""
    found = sorted(_remote(folder) if "://" in folder else _local(folder))
    if not any(sweep.problem is None for sweep in found):
        other = f", but {len(found)} other files, such as {found[0].name}: {found[0].problem}" if found else ""
        raise DataError(f"{folder} contains no table (*.fits, *.fits.gz, *.fits.fz, *.csv, *.csv.gz, *.parquet){other}")
    return found


def _remote(folder: str) -> Iterator[Sweep]:
    for name, _ in storage.files(folder):
        yield Sweep(name, f"{folder.rstrip('/')}/{name}", _unusable(name))


def _local(folder: str) -> Iterator[Sweep]:
    for entry in tree.entries(folder):
        shown = os.fsencode(entry.name).decode("utf-8", "replace")
        odd_name = "its name is not UTF-8 text" if shown != entry.name else _unusable(shown)
        yield Sweep(shown, entry.path, entry.problem or odd_name)


def _unusable(name: str) -> str | None:
    if _TABLE.fullmatch(name):
        return None
    packed = _PACKED.fullmatch(name)
    return f"packed as .{packed[1]}; unpack it or use gzip" if packed else "not a table, by its name"


class Stored:
    """A file's bytes, hashed the first time that they are read: once, whatever is skipped or read again."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file, self._digest, self._hashed, self._place = file, hashlib.sha256(), 0, 0

    def size(self) -> int:
        return int(self._file.size())

    def seek(self, place: int) -> int:
        self._place = place
        return place

    def tell(self) -> int:
        return self._place

    def read(self, size: int) -> bytes:
        while self._hashed < self._place and self._next(min(_CHUNK, self._place - self._hashed)):
            pass
        again = max(0, min(size, self._hashed - self._place))
        content: bytes = self._file.read_at(again, self._place) if again else b""
        if size > again:
            content = content + self._next(size - again) if content else self._next(size)
        self._place += len(content)
        return content

    def sha256(self) -> str:
        """Hash of the whole file, the rest of which is read."""
        while self._next(_CHUNK):
            pass
        return self._digest.hexdigest()

    def _next(self, size: int) -> bytes:
        """The bytes after those that are hashed."""
        self._file.seek(self._hashed)
        content: bytes = self._file.read(size)
        self._digest.update(content)
        self._hashed += len(content)
        return content


@dataclass(frozen=True)
class Opened:
    """A sweep open for reading: its bytes, unpacked if it is ``packed`` by gzip, and those that are ``stored``."""

    file: BinaryIO
    stored: Stored
    packed: bool
    size: int
    """Bytes of ``file``; of a packed one the most that will be unpacked."""

    @property
    def too_short(self) -> str:
        """What is wrong with a file of this size if its header promises more."""
        return "the file unpacks to many times its size, or is truncated" if self.packed else "the file is truncated"

    def exhaust(self, place: int) -> None:
        """Unpack the rest of a packed file, from ``place`` on: it may be damaged there, or endless."""
        while self.packed and (part := len(self.file.read(_CHUNK))):
            place += part
            if place > self.size:
                raise DataError(f"the file unpacks to more than {self.size} bytes")


@contextmanager
def opened(path: str) -> Iterator[Opened]:
    """A sweep for reading at any position."""
    with storage.open_file(path) as file:
        stored = Stored(file)
        packed = stored.read(2) == _GZIP
        stored.seek(0)
        if packed:
            unpacked = cast(BinaryIO, gzip.GzipFile(fileobj=stored))
            yield Opened(unpacked, stored, packed, max(_FREE_BYTES, stored.size() * _MOST_EXPANSION))
        else:
            yield Opened(cast(BinaryIO, stored), stored, packed, stored.size())
