"""Files below a folder, none of them opened: regular ones, and others with the reason why they cannot be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple


class Entry(NamedTuple):
    """A file: its name below the folder, its path, and its state or why it cannot be read."""

    name: str
    path: str
    state: os.stat_result | None
    problem: str | None


def entries(folder: str) -> Iterator[Entry]:
    """Files of a folder and its subfolders; links are followed, each folder once. A missing folder has none."""
    failed: list[OSError] = []
    been: set[str] = set()
    for place, below, files in os.walk(folder, followlinks=True, onerror=failed.append):
        below.sort()
        real = os.path.realpath(place)
        if real in been:
            below.clear()
            continue
        been.add(real)
        prefix = "" if place == folder else f"{os.path.relpath(place, folder)}/"
        for file in sorted(files):
            yield entry(prefix + file, os.path.join(place, file))  # noqa: PTH118 - ten times as fast
    for error in failed:
        if str(error.filename) != folder:
            path = str(error.filename)
            yield Entry(os.path.relpath(path, folder), path, None, f"the folder cannot be read: {error.strerror}")


def entry(name: str, path: str) -> Entry:
    """One file, which is called ``name``."""
    try:
        state = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return Entry(name, path, None, "a broken link")
    except OSError as error:
        return Entry(name, path, None, f"it cannot be read: {error.strerror}")
    if not stat.S_ISREG(state.st_mode):
        return Entry(name, path, None, "not a regular file (a pipe, socket or device)")
    return Entry(name, path, state, None)
