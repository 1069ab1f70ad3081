"""Processes told apart without relying on the clock, and workers that end with the process they work for."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait
from pathlib import Path

import psutil

_STAT_START = 19
"""Place of the start time among the fields after the command in Linux's ``/proc/<pid>/stat`` (proc(5), field 22)."""


def identity(pid: int) -> str:
    """What distinguishes a process from a later one with the same number; clock changes do not affect it.

    Linux counts ticks since the machine started; elsewhere the time of start is kept as it was. Raises
    psutil.NoSuchProcess where there is none.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{_boot()}:{fields[_STAT_START]}"
    except (OSError, IndexError):
        return f"{psutil.Process(pid).create_time():.1f}"


def is_alive(pid: int, known: str) -> bool:
    """Whether the process of that number and identity still runs."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and identity(pid) == known
    except psutil.NoSuchProcess:
        return False


def stopped(pid: int) -> int | None:
    """The first of a process and its children that was suspended (SIGSTOP) and so does not respond."""
    try:
        own = psutil.Process(pid)
        return next((p.pid for p in (own, *own.children()) if p.status() == psutil.STATUS_STOPPED), None)
    except psutil.NoSuchProcess:
        return None


def end_with_parent() -> None:
    """For a worker of :mod:`multiprocessing`: end when the process that started it has ended, for whatever reason.

    A worker waits for work on a pipe that its siblings also hold open, so it would wait for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_await_end, args=(parent.sentinel,), daemon=True).start()


def _await_end(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
