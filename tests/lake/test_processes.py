"""Processes are told apart whatever the clock says, and workers end with the one they work for."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lake import processes

WORKERS = """
import time
from demo.survey import _each_brick

if __name__ == "__main__":
    list(_each_brick(time.sleep, [600, 600], 2))
"""


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.usefixtures("whole_stage")
def test_workers_of_the_demo_survey_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(WORKERS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen([sys.executable, script], env=environment) as parent:
        own = psutil.Process(parent.pid)
        wait_until(lambda: len(spawned(own)) == 2)
        workers = spawned(own)
        parent.kill()
    wait_until(lambda: not any(worker.is_running() for worker in workers))


def spawned(parent: psutil.Process) -> list[psutil.Process]:
    return [child for child in parent.children() if any("spawn_main" in word for word in child.cmdline())]


def test_a_step_of_the_clock_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.getpid()
    known = processes.identity(me)
    if Path("/proc/self/stat").exists():
        started = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: started(self) + 3600)
    assert processes.is_alive(me, known)
    assert not processes.is_alive(me, f"{known}0")
    assert not processes.is_alive(2**22 + 1, known)
    assert processes.identity(1) != known


def test_a_suspended_process_or_child_is_found() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        try:
            assert processes.stopped(os.getpid()) is None
            os.kill(child.pid, signal.SIGSTOP)
            wait_until(lambda: processes.stopped(child.pid) == child.pid)
            assert processes.stopped(os.getpid()) == child.pid
        finally:
            child.kill()
    assert processes.stopped(child.pid) is None


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize(("end", "raised"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "SystemExit")])
def test_a_signal_is_raised_once_the_module_and_what_it_started_have_ended(
    tmp_path: Path, end: signal.Signals, raised: str
) -> None:
    (tmp_path / "stubborn.py").write_text(
        "import pathlib, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path('started').write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "runner.py").write_text(
        "import pathlib, psutil\n"
        "from lake import processes\n"
        "processes.PATIENCE_SECONDS = 0.5\n"
        "try:\n"
        "    with processes.stoppable():\n"
        "        processes.run_bound(pathlib.Path(), 'stubborn', environment={})\n"
        "except (KeyboardInterrupt, SystemExit) as end:\n"
        "    left = [one for one in psutil.Process().children(recursive=True) if one.status() != 'zombie']\n"
        "    pathlib.Path('left').write_text(f'{type(end).__name__}, {left}')\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{tmp_path}"}
    process = subprocess.Popen([sys.executable, "runner.py"], cwd=tmp_path, env=environment)
    wait_until((tmp_path / "started").exists)
    process.send_signal(end)
    process.wait(timeout=30)
    assert (tmp_path / "left").read_text() == f"{raised}, []"


def stopped_twice() -> None:
    with processes.stoppable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("the block goes on")
        finally:
            os.kill(os.getpid(), signal.SIGHUP)


def test_a_stoppable_block_is_left_once_and_what_then_ends_it_is_not_interrupted() -> None:
    met: list[int] = []
    formers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    for each in formers:
        signal.signal(each, lambda number, frame: met.append(number))
    try:
        with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
            stopped_twice()
        assert met == [signal.SIGHUP], "it waited for the end of the block"
        with processes.stoppable() as close:
            close()
            os.kill(os.getpid(), signal.SIGTERM)
            assert met == [signal.SIGHUP]
        assert met == [signal.SIGHUP, signal.SIGTERM]
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with processes.stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        for each, former in formers.items():
            signal.signal(each, former)


@pytest.mark.usefixtures("whole_stage")
def test_a_stoppable_block_ends_in_order_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "working.py").write_text(
        "import pathlib, time\n"
        "from lake import processes\n"
        "with processes.stoppable() as close:\n"
        "    try:\n"
        "        pathlib.Path('started').touch()\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        close()\n"
        "        time.sleep(0.5)\n"
        "        pathlib.Path('ended').touch()\n"
    )
    (tmp_path / "runner.py").write_text(
        "import pathlib\nfrom lake import processes\nprocesses.run_bound(pathlib.Path(), 'working', environment={})\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{tmp_path}"}
    process = subprocess.Popen([sys.executable, "runner.py"], cwd=tmp_path, env=environment)
    wait_until((tmp_path / "started").exists)
    process.kill()
    process.wait(timeout=30)
    wait_until((tmp_path / "ended").exists)


def test_what_a_process_started_may_end_in_order(tmp_path: Path) -> None:
    (tmp_path / "child.sh").write_text("trap 'touch ended; exit' TERM\ntouch started\nwhile :; do sleep 0.05; done\n")
    with subprocess.Popen(["sh", "-c", "sh child.sh & wait"], cwd=tmp_path) as parent:
        wait_until((tmp_path / "started").exists)
        processes.end_started(parent.pid)
        assert (tmp_path / "ended").exists()


def test_a_lost_process_is_one_that_ran_here_and_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        own = f"{platform.node()} {child.pid} {processes.identity(child.pid)}"
        assert not processes.is_lost(own)
        assert not processes.is_lost(processes.this())
        child.kill()
    assert processes.is_lost(own)
    assert processes.is_lost(f"{processes.this()}0"), "its number belongs to another process"
    assert not processes.is_lost(f"elsewhere {own.partition(' ')[2]}")


@pytest.mark.parametrize("text", ["", "1", f"{platform.node()}", f"{platform.node()} 1", f"{platform.node()} x 1"])
def test_text_that_names_no_process_is_no_lost_one(text: str) -> None:
    """As another program may write in the tag of a run."""
    assert not processes.is_lost(text)
