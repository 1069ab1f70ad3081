"""Identities of processes that do not rely on the clock, and processes that end with their parent.

``python -m lake.processes PID MODULE ...`` runs a module that ends with the process of that number.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_STAT_START = 19
"""Place of the start time among the fields after the command in Linux's ``/proc/<pid>/stat`` (proc(5), field 22)."""

_POLL_SECONDS = 0.2
PATIENCE_SECONDS = 5.0
"""How long a module or stage may take to end after Ctrl-C or SIGTERM before it is killed."""


def identity(pid: int) -> str:
    """What distinguishes a process from a later one with the same number; clock changes do not affect it.

    Linux counts ticks since the machine started; elsewhere the time of start is kept as it was. Raises
    psutil.NoSuchProcess where there is none.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{fields[_STAT_START]}"
    except (OSError, IndexError):
        return f"{psutil.Process(pid).create_time():.1f}"


def runs(pid: int) -> bool:
    """Whether a process of that number runs."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_alive(pid: int, known: str) -> bool:
    """Whether the process of that number and identity still runs."""
    try:
        return runs(pid) and identity(pid) == known
    except psutil.NoSuchProcess:
        return False


def this() -> str:
    """Machine, number and identity of this process, for :func:`is_lost`."""
    return f"{platform.node()} {os.getpid()} {identity(os.getpid())}"


def is_lost(process: str) -> bool:
    """Whether a process that ran on this machine has ended (or its machine was restarted); False for other machines,
    and for text that :func:`this` does not give."""
    match process.rsplit(" ", 2):
        case node, pid, known if pid.isdecimal():
            return node == platform.node() and not is_alive(int(pid), known)
    return False


def stopped(pid: int) -> int | None:
    """The first of a process and its children that was suspended (SIGSTOP) and so does not respond."""
    try:
        own = psutil.Process(pid)
        return next((p.pid for p in (own, *own.children()) if p.status() == psutil.STATUS_STOPPED), None)
    except psutil.NoSuchProcess:
        return None


def run_bound(folder: Path, module: str, *arguments: str, environment: dict[str, str]) -> int:
    """Run a Python module (as ``python -m``) in a folder; it ends when this process has ended for any reason.

    Returns its exit status. On Ctrl-C, and on a signal that raises SystemExit (:func:`stoppable`), the module has
    ended, with what it started, before that is raised.
    """
    command = [sys.executable, "-m", __name__, str(os.getpid()), module, *arguments]
    # Popen alone: subprocess.run would kill the module on Ctrl-C before that has ended what it has started.
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment})
    try:
        return process.wait()
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, KeyboardInterrupt):  # the terminal sends Ctrl-C to the module too
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_SECONDS)
        if process.poll() is None:
            end_started(process.pid)
            process.kill()
            process.wait()
        raise


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """A block in which SIGTERM and SIGHUP raise SystemExit, as Ctrl-C raises KeyboardInterrupt, until ``close()``.

    It gives ``close``. A signal that comes after the call takes effect at the end of the block. Signals reach the main
    thread alone: in another one the block changes nothing.
    """
    closing, late = False, 0

    def close() -> None:
        nonlocal closing
        closing = True

    def stop(number: int, frame: object) -> None:
        nonlocal late
        if closing:
            late = number
            return
        close()
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield close
        return
    formers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    for each, former in formers.items():
        if former is not signal.SIG_IGN:  # as nohup has it
            signal.signal(each, stop)
    try:
        yield close
    finally:
        for each, former in formers.items():
            signal.signal(each, former)
        if late:
            os.kill(os.getpid(), late)


def end_with_parent(pid: int | None = None, shell: str | None = None) -> None:
    """End when the process that started this one has ended for any reason, and end what this one has started.

    What has a session of its own, such as the shared Spark server, stays. ``pid`` is the number of the starting
    process, where it is known: it may have ended already. ``shell`` names the shell in which this command was started,
    where one was: some shells become the command, others wait for it and outlive the process that started them.
    """
    worker_of = multiprocessing.parent_process()
    parent = pid or (os.getppid() if worker_of is None else worker_of.pid)
    links: list[tuple[int, int | None]] = [(os.getpid(), parent)]
    with suppress(psutil.NoSuchProcess):
        if shell is not None and (waiting := psutil.Process(parent)).name() == Path(shell).name:
            links.append((waiting.pid, waiting.ppid()))
    threading.Thread(target=_await_end, args=(links,), daemon=True).start()


def _await_end(links: list[tuple[int, int | None]]) -> None:
    """Wait until one of the (child, parent) pairs holds no longer, and end."""
    while all(_parent_of(child) == parent for child, parent in links):
        time.sleep(_POLL_SECONDS)
    if callable(signal.getsignal(signal.SIGTERM)):  # a block of `stoppable`, which may end in order
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE_SECONDS)
    end_started(os.getpid())
    os._exit(1)


def _parent_of(pid: int) -> int | None:
    if pid == os.getpid():
        return os.getppid()
    try:
        return int(psutil.Process(pid).ppid())
    except psutil.NoSuchProcess:
        return None


def end_started(pid: int) -> None:
    """End what a process started, but not what has a session of its own: with SIGTERM, then with SIGKILL."""
    own = os.getsid(0)
    started = [each for each in psutil.Process(pid).children(recursive=True) if _session(each) == own]
    for process in started:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            process.terminate()
    end = time.monotonic() + PATIENCE_SECONDS
    while any(runs(process.pid) for process in started) and time.monotonic() < end:
        time.sleep(_POLL_SECONDS / 4)
    for process in started:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            process.kill()


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
