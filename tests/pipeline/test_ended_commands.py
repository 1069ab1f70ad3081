"""Whatever ends a command, nothing that it started goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import psutil
import pytest

from lake import yamltext
from tests.pipeline.checkout import Checkout

pytestmark = pytest.mark.usefixtures("whole_stage")

ENDS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.fixture(scope="module")
def fresh(whole_stage: None, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which nothing has been run, and whose demo survey takes minutes."""
    made = Checkout.make(tmp_path_factory.mktemp("fresh") / "project")
    made.dhs("params", "use", "test")
    chosen = made.folder / "params.yaml"
    values = yamltext.values(chosen.read_text())
    values["demo"]["sky"]["train_bricks"] = 400
    chosen.write_text(yamltext.text(values))
    return made


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def commands(pid: int) -> str:
    time.sleep(0.2)
    found = []
    for process in family(pid):
        try:
            found.append(" ".join(process.cmdline()))
        except psutil.NoSuchProcess:
            continue
    return "\n".join(found)


def left_after(checkout: Checkout, command: tuple[str, ...], is_busy: Callable[[int], bool], end: int) -> list[str]:
    """Start ``dhs ...``, send the signal to that process alone once it is busy, and return what still runs later."""
    process = checkout.start(*command)
    checkout.wait_for(process, lambda: is_busy(process.pid))
    started = family(process.pid)
    process.send_signal(end)
    try:
        process.wait(timeout=30)
    finally:
        process.kill()  # one that the signal did not end would be in the way of the next test
    _, left = psutil.wait_procs(started, timeout=10)
    names = [" ".join(one.cmdline()) for one in left]
    for one in left:
        one.kill()
    return names


def is_making_bricks(pid: int) -> bool:
    """Whether the stage `demo` runs in processes of its own."""
    time.sleep(0.2)
    try:
        [stage] = [one for one in family(pid) if one.cmdline()[-2:] == ["run", "demo"]]
        return any("spawn_main" in word for one in stage.children() for word in one.cmdline())
    except (ValueError, psutil.NoSuchProcess):
        return False


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("command", ["demo", "repro"])
def test_a_killed_pipeline_leaves_no_process(fresh: Checkout, command: str, end: int) -> None:
    """The demo's stages run side by side, those of the other one after the other."""
    assert left_after(fresh, (command,), is_making_bricks, end) == []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_ui_leaves_no_process(fresh: Checkout, end: int) -> None:
    port = "5987"
    assert left_after(fresh, ("ui", "--port", port), lambda pid: "uvicorn" in commands(pid), end) == []


@pytest.mark.parametrize("command", ["demo", "repro"])
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", ""])
def test_a_stage_ends_with_a_killed_dvc(
    fresh: Checkout, command: str, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", shell)  # bash becomes the stage's command; other shells wait for it
    process = fresh.start(command)
    fresh.wait_for(process, lambda: is_making_bricks(process.pid))
    started = family(process.pid)
    [stage] = [one for one in started if one.cmdline()[-2:] == ["run", "demo"]]
    next(one for one in stage.parents() if {"repro", "--multiprocessing-fork"} & set(one.cmdline())).kill()
    process.wait(timeout=30)
    _, left = psutil.wait_procs(started, timeout=10)
    names = [" ".join(one.cmdline()) for one in left]
    for one in left:
        one.kill()
    assert names == []
