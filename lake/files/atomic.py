"""Replacing a file by a finished one: readers see the old file or all of the new one, and a kill leaves the old one.

A link stays a link: the file that it points to is replaced, on its own file system.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake import processes
from lake.errors import DataError
from lake.files import refused

_LONGEST = 50


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden path next to the file, for the block to write: it takes the file's place when the block ends well.

    After an error it is removed and ``path`` is as it was; the error of a full disk names ``path``. Drafts that killed
    processes left of it are removed too.
    """
    place = _behind(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    ending = _ending(place.name)
    for left in place.parent.glob(f".*.{glob.escape(ending)}"):
        owner = left.name.split(".")[1]
        if owner.isdecimal() and left.name == f".{owner}.{ending}" and not processes.runs(int(owner)):
            left.unlink(missing_ok=True)
    draft = place.with_name(f".{os.getpid()}.{ending}")
    try:
        with refused.named(path):
            yield draft
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def _behind(path: Path) -> Path:
    """The file that is replaced: of a link, what it points to. What is not a file is refused.

    Only a link to a write-protected file is itself replaced: DVC protects its cache, into which it may link outputs.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG | stat.S_IWUSR
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is not a regular file (but a pipe, socket or device): name a file")
    if not path.is_symlink() or not mode & stat.S_IWUSR:
        return path
    place = Path(os.path.realpath(path))
    if not place.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place.parent))
    return place


def _ending(name: str) -> str:
    """A file's name, shortened to what file systems take: files that differ only at the beginning stay apart."""
    return name if len(name) <= _LONGEST else f"{hashlib.sha256(name.encode()).hexdigest()[:16]}{name[-30:]}"


def write_text(path: Path, text: str) -> None:
    """Write a small file in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file from memory."""
    with replacing(path) as draft:
        draft.write_bytes(content)
