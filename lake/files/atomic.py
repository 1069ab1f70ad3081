"""Replacing a file by a finished one: readers see the old file or all of the new one, and a kill leaves the old one."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake import processes
from lake.files import refused

_LONGEST = 50


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden path next to ``path``, for the block to write: it takes the place of ``path`` when the block ends well.

    After an error it is removed and ``path`` is as it was; the error of a full disk names ``path``. Drafts that killed
    processes left of it are removed too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = _ending(path.name)
    for left in path.parent.glob(f".*.{glob.escape(ending)}"):
        owner = left.name.split(".")[1]
        if owner.isdecimal() and left.name == f".{owner}.{ending}" and not processes.runs(int(owner)):
            left.unlink(missing_ok=True)
    draft = path.with_name(f".{os.getpid()}.{ending}")
    try:
        with refused.named(path):
            yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


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
