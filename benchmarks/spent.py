"""What a program takes, with the Spark server that works for it: processor time, wall time, memory."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from etl.spark import record
from lake.root import DataRoot

_INTERVAL_S = 0.1
_MEMORY_S = 1.0
"""How often what processes share is looked up, which itself takes long."""


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
    """Run a module as a program, beside a server of ``root`` that it uses or starts."""
    start = time.perf_counter()
    watch = _Watch(root)
    program = subprocess.Popen([sys.executable, "-m", module, *map(str, arguments)])
    watch.follow(program.pid)
    if program.wait():
        raise subprocess.CalledProcessError(program.returncode, module)
    return watch.ended(time.perf_counter() - start)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        own = psutil.Process(pid)
        return [own, *own.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class _Watch:
    """Watches a program and a server until it is told that the program has ended.

    Time is added up by process: that of one that has ended, or of a server that was replaced, is not lost.
    """

    def __init__(self, root: DataRoot | None) -> None:
        self._root, self._pid = root, 0
        self._worker = self._all = 0.0
        self._looked = 0.0
        self._before = {process: _processor_s(process) for process in self._server()}
        self._taken: dict[psutil.Process, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def follow(self, pid: int) -> None:
        """Begin with the program of this number."""
        self._pid = pid
        self._thread.start()

    def ended(self, wall_s: float) -> Spent:
        """What was taken."""
        self._done.set()
        self._thread.join()
        processor_s = sum(self._taken.values()) - sum(self._before.get(process, 0.0) for process in self._taken)
        return Spent(processor_s, wall_s, self._worker, self._all)

    def _server(self) -> list[psutil.Process]:
        found = record.recorded(self._root.spark) if self._root else None
        return [] if found is None else _tree(found.pid)

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL_S):
            self._look()
        self._look()

    def _look(self) -> None:
        served = self._server()
        seen = [*_tree(self._pid), *served]
        for process in seen:
            self._taken[process] = max(self._taken.get(process, 0.0), _processor_s(process))
        self._worker = max([self._worker, *(_mib(process, "rss") for process in served[1:] if _is_python(process))])
        if time.perf_counter() - self._looked > _MEMORY_S:
            self._all = max(self._all, sum(_mib(process, "pss") for process in seen))
            self._looked = time.perf_counter()


def _processor_s(process: psutil.Process) -> float:
    """Processor time that a process itself has taken."""
    try:
        times = process.cpu_times()
        return float(times.user + times.system)
    except psutil.Error:
        return 0.0


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
