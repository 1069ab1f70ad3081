"""Replacing a folder by a finished one: the old one is not removed before the new one is there.

The new folder is first brought next to the target (copied if it is on another file system), then the two are swapped by
two renames. If a kill comes between them, publishing the folder again repairs it. A target that is a link stays a link:
the folder it points to is replaced, on its own file system.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake.errors import DataError
from lake.files import refused


@contextmanager
def published_folder(target: Path, draft: Path) -> Iterator[Path]:
    """Fill the folder ``draft``, which takes the place of ``target`` when the block ends well."""
    draft.mkdir(parents=True, exist_ok=True)
    with refused.named(draft):
        yield draft
    replace_folder(target, draft)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """A new folder to fill, hidden beside ``target``: it takes its place when the block ends well, else is removed."""
    draft = _hidden(target, "draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        with refused.named(target):
            yield draft
        replace_folder(target, draft)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def replace_folder(target: Path, draft: Path) -> None:
    """Put the folder ``draft`` at ``target``; ``draft`` is complete until then and removed afterwards."""
    place = settle(target)
    ready, outgoing = _brought_beside(draft, place), _hidden(place, "outgoing")
    if place.exists():
        place.rename(outgoing)
    try:
        ready.rename(place)
    except OSError:
        if outgoing.exists():
            outgoing.rename(place)
        raise
    for rest in (outgoing, draft):
        _remove(rest)


def settle(target: Path) -> Path:
    """Where a target really is, after repairing what a killed publication left there."""
    require_place(target)
    place = target.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    outgoing = _hidden(place, "outgoing")
    if outgoing.exists() and not place.exists():
        outgoing.rename(place)
    for rest in (outgoing, _hidden(place, "incoming")):
        _remove(rest)
    return place


def require_place(target: Path) -> None:
    """Refuse a target that cannot be swapped with another folder, before anything is made for it."""
    place = target.resolve()
    if target.is_symlink() and not place.parent.is_dir():
        raise DataError(f"{target} is a link into {place.parent}, which does not exist: mount it or remove the link")
    if place.is_mount():
        raise DataError(
            f"{target} is itself a mounted file system, which cannot be replaced by rename: "
            "make a folder on it and a link to that folder"
        )
    if place.exists() and not place.is_dir():
        raise DataError(f"{target} is a file, but a folder is published there: move it away")


def _brought_beside(draft: Path, place: Path) -> Path:
    """The draft at a path from which a rename to ``place`` works: itself, or a copy on the other file system."""
    if _rename_works(draft, place):
        return draft
    incoming = _hidden(place, "incoming")
    try:
        with refused.named(place):
            shutil.copytree(draft, incoming, symlinks=True)
    except OSError:
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    return incoming


def _rename_works(draft: Path, place: Path) -> bool:
    """Whether a rename between the two folders works (tried out: mounts of the same device refuse it too)."""
    probe, arrived = (_hidden(path, "probe") for path in (draft, place))
    probe.mkdir(exist_ok=True)
    try:
        probe.rename(arrived)
    except OSError as error:
        probe.rmdir()
        if error.errno != errno.EXDEV:
            raise
        return False
    arrived.rmdir()
    return True


def _hidden(path: Path, ending: str) -> Path:
    """A hidden path next to a folder."""
    return path.with_name(f".{path.name}.{ending}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
