"""Files by which a Spark server and its clients find each other: a record, locks and leases."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lake import processes
from lake.files import atomic

RECORD = "server.json"
LOG = "server.log"
START_LOCK = "start.lock"
SERVER_LOCK = "server.lock"
_PACKAGES = ("lake", "etl", "injection")

_leases: dict[Path, int] = {}


@dataclass(frozen=True)
class Record:
    """A running server: its supervisor's identity, its port and secret, and the code its workers loaded."""

    pid: int
    started: str
    port: int
    token: str
    code: str

    @property
    def remote(self) -> str:
        return f"sc://localhost:{self.port}/;token={self.token}"


def write(folder: Path, record: Record) -> None:
    """Publish the record, readable by its owner alone since it contains the secret."""
    with atomic.replacing(folder / RECORD) as draft:
        draft.touch(0o600)
        draft.write_text(json.dumps(asdict(record)))


def recorded(folder: Path) -> Record | None:
    """The record of the last server, whether it runs or not."""
    try:
        return Record(**json.loads((folder / RECORD).read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


def living(folder: Path) -> Record | None:
    """The record of a server that responds; None if there is none or it died (its pid may be reused)."""
    found = recorded(folder)
    return found if found and processes.is_alive(found.pid, found.started) and answers(found.port) else None


def answers(port: int) -> bool:
    """Whether something listens on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock; the kernel frees it when its holder dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(path: Path) -> int | None:
    """Descriptor of a lock taken without waiting, or None if another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def take_lease(folder: Path) -> None:
    """Tell the server that this process uses it, until the process ends for any reason."""
    path = folder / "leases" / f"{os.getpid()}.lease"
    if path in _leases and path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = try_lock(path)
    if descriptor is not None:
        _leases[path] = descriptor


def clients(folder: Path) -> int:
    """Number of other processes with a lease; leases of dead processes are removed."""
    alive = 0
    for path in (folder / "leases").glob("*.lease"):
        if path in _leases:
            continue
        descriptor = try_lock(path)
        if descriptor is None:
            alive += 1
        else:
            path.unlink(missing_ok=True)
            os.close(descriptor)
    return alive


def code_state() -> str:
    """Hash of the source files that Python workers import: a server that loaded other code is replaced."""
    root = Path(__file__).resolve().parents[2]
    facts = [
        f"{path} {path.stat().st_mtime_ns} {path.stat().st_size}"
        for package in _PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
