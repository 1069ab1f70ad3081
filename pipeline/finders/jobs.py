"""Stages that do not wait for each other run side by side, each made by DVC in a process of its own."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from graphlib import TopologicalSorter
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING

from lake.errors import DarkHaloError, one_line
from lake.processes import PATIENCE_SECONDS, end_started, end_with_parent

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

log = logging.getLogger(__name__)


def make(folder: Path, targets: Sequence[str], jobs: int, environment: Mapping[str, str]) -> list[str]:
    """Bring the targets' stages up to date, as many at once as ``jobs``; returns those that failed.

    Without targets those of dvc.yaml, each with what it depends on. Stages that do not depend on a failed one still
    run. On Ctrl-C the stages, except what has a session of its own, have ended before that is raised.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with _opened(folder) as repo:
            with Repo(repo.root_dir).lock:  # refuses after seconds, where a `dvc push` may hold it for hours
                needs = _planned(repo, targets or [str(folder / "dvc.yaml")])
            return _make_all(repo, needs, jobs, environment)
    except DvcException as error:
        raise DarkHaloError(f"DVC could not go on: {one_line(error)}") from error
    except BrokenProcessPool as error:
        raise DarkHaloError(
            "a process that ran a stage for DVC was killed, and the other stages were ended: check whether memory is "
            "short, and run the command again, if so with --jobs 1"
        ) from error


def _opened(folder: Path) -> Repo:
    """DVC's view of the project, which waits for DVC's lock: DVC holds it for moments, not while stages run."""
    from dvc.repo import Repo

    return Repo(str(folder.resolve()), _wait_for_lock=True)


def _planned(repo: Repo, targets: Sequence[str]) -> dict[Stage, list[Stage]]:
    """The stages to bring up to date, in DVC's order, and for each those that it needs."""
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    graph = get_active_graph(repo.index.graph)
    return {stage: list(graph.successors(stage)) for stage in plan_repro(graph, collect_stages(repo, targets))}


def _make_all(repo: Repo, needs: Mapping[Stage, list[Stage]], jobs: int, environment: Mapping[str, str]) -> list[str]:
    from dvc.exceptions import DvcException

    depth = _depth(needs)
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    ready: list[Stage] = []
    running: dict[Future[str | None], Stage] = {}
    failed: list[str] = []
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (dict(environment),)) as pool:
        try:
            while sorter.is_active():
                # First the one with the longest chain of stages that wait for it, which decides when all is done.
                ready = sorted([*ready, *sorter.get_ready()], key=lambda stage: -depth[stage])
                if ready and len(running) < jobs:
                    stage = ready.pop(0)
                    try:
                        with repo.lock:
                            changed = stage.changed()
                    except DvcException:  # another run writes what it needs, say: its own process says so
                        changed = True
                    if changed:
                        with _without_ctrl_c():
                            running[pool.submit(_make, repo.root_dir, stage.addressing)] = stage
                    else:
                        log.info("%s is up to date", stage.addressing)
                        sorter.done(stage)
                elif running:
                    for ended in wait(running, return_when=FIRST_COMPLETED).done:
                        stage = running.pop(ended)
                        if problem := ended.result():
                            log.error("%s: %s", stage.addressing, problem)
                            failed.append(stage.addressing)
                        else:
                            sorter.done(stage)
                else:  # all that is left needs what failed
                    break
        except KeyboardInterrupt:
            try:
                wait(running, PATIENCE_SECONDS)  # the terminal sends Ctrl-C to the stages too
            finally:  # another Ctrl-C ends the patience
                with _without_ctrl_c():
                    _end(running)
            raise
    return failed


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """A block in which Ctrl-C waits; in a process that it starts, until :func:`_begin`."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _end(running: Collection[Future[str | None]]) -> None:
    """End the stages that run, and with them DVC's work; if a process of DVC goes on, kill it."""
    for pid in filter(None, [process.pid for process in active_children()]):
        end_started(pid)
    if wait(running, PATIENCE_SECONDS).not_done:
        for process in active_children():
            process.kill()


def _depth(needs: Mapping[Stage, list[Stage]]) -> dict[Stage, int]:
    """How many stages wait for each other after each: the length of the longest chain."""
    depth = dict.fromkeys(needs, 0)
    for stage in reversed(list(needs)):  # DVC's order has what a stage needs before it
        for needed in needs[stage]:
            depth[needed] = max(depth[needed], depth[stage] + 1)
    return depth


def _begin(environment: Mapping[str, str]) -> None:
    """Prepare a process for :func:`_make`."""
    end_with_parent()
    os.environ.update(environment)
    # Ctrl-C ends the stage, which gets it from the terminal; DVC then says here that the stage failed.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in a script's background
        signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # After every stage: which files to add to git, and how to let DVC do that.
    logging.getLogger("dvc.repo.scm_context").setLevel(logging.WARNING)


def _make(folder: str, stage: str) -> str | None:
    """Have DVC bring one stage up to date whose dependencies are; returns what went wrong."""
    from dvc.exceptions import DvcException

    with _labelled(stage.rpartition(":")[2]):
        try:
            with _opened(Path(folder)) as repo:
                repo.reproduce(stage, single_item=True)
        except DvcException as error:
            said = one_line(error.__cause__ or error)
            killed = said.endswith(("exited with -9", "exited with 137"))
            return f"{said}: killed, perhaps because memory is short; --jobs 1 needs less" if killed else said
    return None


@contextmanager
def _labelled(label: str) -> Iterator[None]:
    """What this process and those it starts print in the block goes to standard error, each line with a label."""
    reading, writing = os.pipe()
    held = [os.dup(1), os.dup(2)]
    end = os.urandom(16).hex().encode() + b"\n"

    def copy() -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in filter(bytes.strip, lines):
                if line == end:  # a process that a stage left behind may hold the pipe open
                    return
                with suppress(OSError):  # standard error is closed or full: the stage goes on
                    os.write(held[1], f"{label}: ".encode() + line)

    copier = threading.Thread(target=copy)
    copier.start()
    try:
        for own in (1, 2):
            os.dup2(writing, own)
        os.close(writing)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.write(1, b"\n" + end)
        for own, former in zip((1, 2), held, strict=True):
            os.dup2(former, own)
        copier.join()
        for former in held:
            os.close(former)
