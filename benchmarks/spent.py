"""What a program takes, with the Spark server that works for it: processor time, wall time, memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from etl.spark import record
from lake.root import DataRoot

_INTERVAL_S = 1.0


@dataclass
class Spent:
    """What a run took, all processes together."""

    processor_s: float
    wall_s: float
    worker_mib: float
    """Memory of the largest Python worker of Spark (RSS)."""
    all_mib: float
    """Memory of the program, Java and all workers at their peak; what processes share counts once (PSS)."""

    def row(self, name: str) -> str:
        """A row of a table in Markdown."""
        return f"| {name} | {self.processor_s:.1f} | {self.wall_s:.1f} | {self.worker_mib:.0f} | {self.all_mib:.0f} |"


HEAD = "| | processor s | wall s | largest worker, MiB | all processes, MiB |\n|---|---|---|---|---|"


def spent(module: str, *arguments: str | Path, root: DataRoot | None = None) -> Spent:
    """Run a module as a program; a server of ``root`` that it uses or starts is no child of it."""
    served, before, start = _server_s(root), resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    program = subprocess.Popen([sys.executable, "-m", module, *map(str, arguments)])
    watch = _Watch(program.pid, root)
    if program.wait():
        raise subprocess.CalledProcessError(program.returncode, module)
    worker_mib, all_mib = watch.ended()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(own + _server_s(root) - served, time.perf_counter() - start, worker_mib, all_mib)


def _server(root: DataRoot | None) -> list[psutil.Process]:
    """The processes of a data root's Spark server."""
    found = record.recorded(root.spark) if root else None
    return [] if found is None else _tree(found.pid)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        return [(own := psutil.Process(pid)), *own.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _server_s(root: DataRoot | None) -> float:
    """Processor time that a server has taken, with the processes that it has started."""
    total = 0.0
    for process in _server(root):
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


class _Watch:
    """Watches the memory of a program and of a server until it is told that the program has ended."""

    def __init__(self, pid: int, root: DataRoot | None) -> None:
        self._pid, self._root = pid, root
        self._worker = self._all = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def ended(self) -> tuple[float, float]:
        """The largest worker and the most of all processes, in MiB."""
        self._done.set()
        self._thread.join()
        return self._worker, self._all

    def _look(self) -> None:
        while not self._done.wait(_INTERVAL_S):
            served = _server(self._root)
            workers = [_mib(process, "rss") for process in served[1:] if _is_python(process)]
            self._worker = max([self._worker, *workers])
            self._all = max(self._all, sum(_mib(process, "pss") for process in [*_tree(self._pid), *served]))


def _is_python(process: psutil.Process) -> bool:
    try:
        return "python" in process.name()
    except psutil.Error:
        return False


def _mib(process: psutil.Process, kind: str) -> float:
    try:
        facts = process.memory_full_info() if kind == "pss" else process.memory_info()
        return float(getattr(facts, kind)) / 2**20
    except psutil.Error:
        return 0.0
