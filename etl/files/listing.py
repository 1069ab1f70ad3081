"""Listings of files, which DVC hashes in their place: it fails on a broken link and hangs on a pipe.

A file is hashed again only if its size, time of change or inode changed. Hashes are kept line by line as they are
taken: a first run that was killed resumes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import xxhash

from etl.files import tree
from etl.files.tree import Entry
from lake.files import atomic
from lake.root import DataRoot

_NOTHING = "[]\n"
_CHUNK = 4 << 20
_THREADS = 8


def lines(folder: str, memory: Path) -> list[list[object]]:
    """For each file below ``folder`` its name, and its size in bytes and hash, or why it is not read.

    For objects of a store, the ETag replaces the hash. ``memory`` is the file of the hashes of earlier
    runs.
    """
    return _remote(folder) if "://" in folder else list(_local(list(tree.entries(folder)), memory))


def memory(root: DataRoot, folder: str) -> Path:
    """Where the hashes of a folder's files are kept."""
    return root.work("listing", f"{hashlib.sha256(folder.encode()).hexdigest()[:16]}.jsonl")


def write(folder: str, target: Path, memory: Path) -> None:
    """Write the lines of a folder's files; ``target`` is not written if nothing changed."""
    _publish(lines(folder, memory), target)


def write_files(files: Mapping[str, Path], target: Path, memory: Path) -> None:
    """The same for single files, by the names that the lines give them."""
    _publish(_local([tree.entry(name, str(path)) for name, path in sorted(files.items())], memory), target)


def _publish(found: Iterable[object], target: Path) -> None:
    """Replace a listing; if there are no files by a single line, since DVC warns of files that are empty."""
    text = _text(found) or _NOTHING
    if not target.exists() or target.read_text(encoding="ascii", errors="replace") != text:
        atomic.write_text(target, text)


def _remote(folder: str) -> list[list[object]]:
    from lake.files import storage  # imports Arrow, which local folders do not need

    return sorted([name, facts.size, facts.identity] for name, facts in storage.files(folder))


def _local(found: list[Entry], memory: Path) -> Iterator[list[object]]:
    known = _remembered(memory)
    changed = [entry for entry in found if entry.state and known.get(entry.name, ((), ""))[0] != _state(entry)]
    unread = {}
    if changed:
        for entry, digest, problem in _hashed(changed, memory):
            known[entry.name] = (_state(entry), digest)
            unread[entry.name] = problem
        kept = ([entry.name, *known[entry.name]] for entry in found if entry.state and not unread.get(entry.name))
        atomic.write_text(memory, _text(kept))
    for entry in found:
        if problem := entry.problem or unread.get(entry.name):
            yield [entry.name, problem]
        elif entry.state:
            yield [entry.name, entry.state.st_size, known[entry.name][1]]


def _hashed(entries: list[Entry], memory: Path) -> Iterator[tuple[Entry, str, str | None]]:
    """Hash of each file, or why it cannot be read; hashes are added to ``memory`` as they come."""
    from multiprocessing.pool import ThreadPool  # most runs hash nothing

    from lake.progress import track

    memory.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPool(_THREADS) as threads, memory.open("a", encoding="ascii", buffering=1) as lines:
        results = threads.imap(_hash, (entry.path for entry in entries))
        for entry, (digest, problem) in zip(entries, track(results, "hash the survey", len(entries)), strict=True):
            if problem is None:
                lines.write(_text([[entry.name, _state(entry), digest]]))
            yield entry, digest, problem


def _hash(path: str) -> tuple[str, str | None]:
    digest = xxhash.xxh3_128()
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        return "", f"it cannot be read: {error.strerror}"
    return digest.hexdigest(), None


def _remembered(memory: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    known = {}
    for line in memory.read_text(encoding="ascii", errors="replace").splitlines() if memory.exists() else ():
        try:
            name, state, digest = json.loads(line)
            known[name] = (tuple(state), digest)
        except (ValueError, TypeError):  # a kill cut the line short, or a disk lost it
            continue
    return known


def _state(entry: Entry) -> tuple[int, ...]:
    state = entry.state
    return (state.st_size, state.st_mtime_ns, state.st_ino) if state else ()


def _text(lines: Iterable[object]) -> str:
    return "".join(f"{json.dumps(line)}\n" for line in lines)
