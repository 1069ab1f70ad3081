"""Who works on the lake: many who write or read, or one who takes files away or puts them in place."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lake.errors import DarkHaloError
from lake.root import DataRoot


@contextmanager
def working(root: DataRoot) -> Iterator[None]:
    """Write to the lake, beside others who do. DarkHaloError while its files are being changed (:func:`alone`)."""
    with _locked(root, fcntl.LOCK_SH, "the lake's files are being changed (`dhs pull` or `dhs lake gc`)"):
        yield


@contextmanager
def alone(root: DataRoot) -> Iterator[None]:
    """Change the lake's files with no stage running on this machine. DarkHaloError where one runs.

    The system frees the lock of a killed process.
    """
    with _locked(root, fcntl.LOCK_EX, "a stage or another command is working on the lake"):
        yield


@contextmanager
def _locked(root: DataRoot, kind: int, busy: str) -> Iterator[None]:
    folder = root.local / "work"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lake.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DarkHaloError(f"{busy}{_holder(root)}: wait for it or stop it, and run the command again") from None
        own = folder / f"lake.{os.getpid()}.pid"
        own.touch()
        try:
            yield
        finally:
            own.unlink(missing_ok=True)


def _holder(root: DataRoot) -> str:
    """Which living processes said that they hold the lock; files of dead ones are removed."""
    from lake.processes import runs

    living = []
    for path in (root.local / "work").glob("lake.*.pid"):
        with suppress(ValueError):
            pid = int(path.suffixes[-2][1:])
            if runs(pid):
                living.append(str(pid))
            else:
                path.unlink(missing_ok=True)
    return f" (process {', '.join(sorted(living))})" if living else ""
