"""What the operating system refuses to write, with the path: libraries leave out the path, the number or both."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake.errors import DarkHaloError

NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""A full disk, a used-up quota, a file larger than allowed, a read-only file system, a failing disk."""
_NUMBER = re.compile(r"\b(?:os error|errno)(?: =)? (\d+)", re.IGNORECASE)
_WORDS = {
    errno.ENOSPC: re.compile(r"No space left|disk is full|Not enough space on disk|\d+ requested and \d+ written"),
    errno.EIO: re.compile("disk I/O error"),
}
"""Of the libraries that give no number: SQLite, astropy, NumPy."""
_WRITING = re.compile("writ|disk I/O error", re.IGNORECASE)
"""By these words a failing disk failed in a write; SQLite reads and writes one file."""


@contextmanager
def named(path: Path) -> Iterator[None]:
    """An error in the block, because the system refused to write, names ``path`` unless it names a file itself.

    The number of a failing disk (EIO) may be that of a read of another file: it stays as it is unless its words tell.
    """
    try:
        yield
    except Exception as error:
        found = number(error)
        of_a_read = found == errno.EIO and not _WRITING.search(str(error))
        if found is None or of_a_read or (isinstance(error, OSError) and error.filename):
            raise
        raise OSError(found, os.strerror(found), str(path)) from error


def number(error: BaseException) -> int | None:
    """The system's number of a refusal, read from the text where the library has none; None for any other error."""
    if isinstance(error, DarkHaloError):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in NUMBERS else None
    text = str(error)
    if (said := _NUMBER.search(text)) is not None:
        return int(said[1]) if int(said[1]) in NUMBERS else None
    return next((found for found, words in _WORDS.items() if words.search(text)), None)
