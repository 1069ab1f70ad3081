"""Files by path or URI, local or in an object store, opened alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow import fs

from lake.errors import DataError, one_line
from lake.files import atomic


def resolve(place: str) -> tuple[fs.FileSystem, str]:
    """File system and path of a local path or an ``s3://`` / ``s3a://`` URI."""
    if "://" not in place:
        return fs.LocalFileSystem(), str(Path(place).resolve())
    try:
        filesystem, path = fs.FileSystem.from_uri(place.replace("s3a://", "s3://", 1))
    except pa.ArrowInvalid as error:
        raise DataError(f"'{place}' is not an address that can be read: {one_line(error)}") from error
    return filesystem, path


def absolute(place: str) -> str:
    """A place that means the same in every process."""
    return place if "://" in place else str(Path(place).resolve())


def open_file(place: str) -> pa.NativeFile:
    """A file for reading at any position."""
    filesystem, path = resolve(place)
    return filesystem.open_input_file(path)


def files(place: str) -> Iterator[tuple[str, fs.FileInfo]]:
    """Files below a folder or prefix, with their names below it; none if it is missing."""
    filesystem, path = resolve(place)
    for info in filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True)):
        if info.type == fs.FileType.File:
            yield info.path.removeprefix(path).lstrip("/"), info


def is_file(place: str) -> bool:
    """Whether there is a file, not a folder, pipe or device."""
    filesystem, path = resolve(place)
    return bool(filesystem.get_file_info(path).type == fs.FileType.File)


def size(place: str) -> int:
    """Bytes of a file; 0 if it cannot be read."""
    filesystem, path = resolve(place)
    return int(filesystem.get_file_info(path).size or 0)


def state(place: str) -> str:
    """Size and time of change of a file."""
    filesystem, path = resolve(place)
    info = filesystem.get_file_info(path)
    return f"{info.size} {info.mtime_ns}"


@contextmanager
def writing(place: str) -> Iterator[BinaryIO]:
    """A file to write, which appears at its place when the block ends well; nothing does after an error."""
    if "://" not in place:
        with atomic.replacing(Path(place)) as draft, draft.open("wb") as file:
            yield file
        return
    filesystem, path = resolve(place)
    stream = filesystem.open_output_stream(path)
    try:
        yield stream
    except BaseException:
        stream.close()
        filesystem.delete_file(path)
        raise
    stream.close()
