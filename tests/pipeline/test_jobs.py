"""Stages that do not wait for each other run side by side."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from tests.pipeline.checkout import PROJECT, Checkout

pytestmark = pytest.mark.usefixtures("whole_stage")

Stages = Mapping[str, tuple[str, list[str]]]
MEETS = 'for i in $(seq 300); do test -e {0} && exit 0; sleep 0.1; done; echo "{0} never came"; exit 1'


def project(folder: Path, stages: Stages, above: Stages | None = None) -> Checkout:
    """A project of stages that write a file of their own name: their command, and the stages that they need.

    ``above``: stages of another DVC file.
    """
    for place, described in ((folder, stages), (folder / "params" / "more", above or {})):
        place.mkdir(parents=True, exist_ok=True)
        up = "../../" if place != folder else ""
        written = {
            name: {
                "cmd": f"{{ {command}; }} && touch {name}",
                "deps": [f"params/more/{one}" if one in (above or {}) and not up else one for one in needed],
                "outs": [{name: {"cache": False}}],
            }
            for name, (command, needed) in described.items()
        }
        if written:
            (place / "dvc.yaml").write_text(json.dumps({"stages": written}))
    (folder / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text((PROJECT / ".dvc" / "config").read_text())
    return Checkout(folder)


def made(checkout: Checkout) -> set[str]:
    return {path.name for path in checkout.folder.glob("*") if path.suffix == ""} - {".dvc", ".gitignore", "params"}


def test_only_stages_that_need_each_other_run_one_after_the_other(tmp_path: Path) -> None:
    """``left`` and ``right`` each end only once the other has begun; what needs both comes after."""
    meeting = {
        name: (f"touch {name}.begun; ( {MEETS.format(f'{other}.begun')} )", ["first"])
        for name, other in (("left", "right"), ("right", "left"))
    }
    stages = {"last": ("test -e left && test -e right", ["left", "right"]), **meeting, "first": ("true", [])}
    checkout = project(tmp_path, stages)
    checkout.dhs("repro", "--jobs", "2")
    assert made(checkout) == {"first", "left", "right", "last"}
    assert "Running" not in checkout.run("dvc", "repro").stdout, "DVC knows what was made"
    again = checkout.dhs("repro", "--jobs", "2")
    assert re.findall(r"INFO (.*) is up to date", again.stderr) == ["first", "left", "right", "last"]
    assert "Running" not in again.stderr


def test_no_more_run_at_once_than_asked_for_and_the_longest_chain_begins_first(tmp_path: Path) -> None:
    """Of the three that could begin, the one that DVC names last has others behind it."""
    counted = "echo {0} >> order; touch {0}.on; ls | grep -c '[.]on$' >> at_once; sleep 0.5; rm {0}.on"
    stages = {name: (counted.format(name), []) for name in ("a", "b", "c")}
    stages |= {"d": (counted.format("d"), ["c"]), "e": (counted.format("e"), ["d"])}
    checkout = project(tmp_path, stages)
    checkout.dhs("repro", "--jobs", "2")
    assert made(checkout) == {*"abcde", "order", "at_once"}
    assert set((tmp_path / "at_once").read_text().split()) <= {"1", "2"}
    assert "c" in (tmp_path / "order").read_text().split()[:2]


def test_what_does_not_need_a_failed_stage_still_runs(tmp_path: Path) -> None:
    stages = {
        "bad": ("echo because; false", []),
        "after": ("true", ["bad"]),
        "beside": ("true", []),
        "further": ("true", ["beside"]),
        "both": ("true", ["after", "further"]),
    }
    checkout = project(tmp_path, stages)
    done = checkout.dhs("repro", "--jobs", "2", check=False)
    assert done.returncode == 1
    assert made(checkout) == {"beside", "further"}
    assert "bad: because\n" in done.stderr
    assert re.search(r"ERROR bad: failed to run: .* exited with 1\n", done.stderr)
    assert done.stderr.endswith("dhs: bad stopped; fix the error above and run it again: it resumes where it stopped\n")


def test_each_line_says_whose_it_is(tmp_path: Path) -> None:
    stages = {"one": ("echo out; echo; echo err >&2", []), "two": ("sleep 1; echo late", ["three"])}
    checkout = project(tmp_path, stages, {"three": ("echo elsewhere", [])})
    checkout.run("git", "init", "-q")
    done = checkout.dhs("repro", "--jobs", "2")
    lines = done.stderr.splitlines()
    assert {"one: out", "one: err", "two: late", "three: elsewhere"} <= set(lines)
    assert all(re.match(r"(one|two|three): .*\S", line) for line in lines)
    assert "git add" not in done.stderr
    assert done.stdout == ""


def test_only_what_the_targets_need_runs(tmp_path: Path) -> None:
    stages = {"a": ("true", []), "b": ("true", ["a"]), "c": ("true", ["a"])}
    checkout = project(tmp_path, stages)
    checkout.dhs("repro", "--jobs", "2", "b")
    assert made(checkout) == {"a", "b"}


def test_stages_of_other_files_run_only_where_they_are_needed(tmp_path: Path) -> None:
    checkout = project(tmp_path, {"a": ("true", ["needed"])}, {"needed": ("true", []), "other": ("true", [])})
    checkout.dhs("repro", "--jobs", "2")
    assert {path.name for path in (tmp_path / "params" / "more").iterdir()} >= {"needed"}
    assert not (tmp_path / "params" / "more" / "other").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--force", "a"], "'jobs' must be 1 where options of dvc repro are given (--force), got 2"),
        (["nowhere"], "DVC could not go on: Stage 'nowhere' not found inside 'dvc.yaml' file"),
    ],
)
def test_what_cannot_run_side_by_side_is_refused(tmp_path: Path, given: list[str], sentence: str) -> None:
    checkout = project(tmp_path, {"a": ("true", [])})
    done = checkout.dhs("repro", "--jobs", "2", *given, check=False)
    assert (done.returncode, done.stderr) == (1, f"dhs: {sentence}\n")
    assert made(checkout) == set()


BUSY = {name: (f"touch {name}.begun; sleep 60", []) for name in ("left", "right")}


def begun(checkout: Checkout) -> Callable[[], bool]:
    return lambda: all((checkout.folder / f"{name}.begun").exists() for name in BUSY)


def test_a_killed_process_of_dvc_is_an_error(tmp_path: Path) -> None:
    checkout = project(tmp_path, BUSY)
    process = checkout.start("repro", "--jobs", "2")
    checkout.wait_for(process, begun(checkout))
    started = psutil.Process(process.pid).children(recursive=True)
    next(one for one in started if "--multiprocessing-fork" in one.cmdline()).kill()
    assert process.wait(timeout=30) == 1
    said = (tmp_path / "killed.log").read_text()
    assert said.endswith(
        "dhs: a process that ran a stage for DVC was killed, and the other stages were ended: check whether memory is "
        "short, and run the command again, if so with --jobs 1\n"
    )


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_kill_the_rest_is_made(tmp_path: Path, end: int) -> None:
    short = {name: (command.replace("60", "2"), ["first"]) for name, (command, _) in BUSY.items()}
    stages = {"first": ("true", []), **short}
    checkout = project(tmp_path, stages)
    process = checkout.start("repro", "--jobs", "2")
    checkout.wait_for(process, begun(checkout))
    process.send_signal(end)
    process.wait(timeout=30)
    checkout.dhs("repro", "--jobs", "2")
    assert made(checkout) == {"first", "left", "right"}
    assert "Running" not in checkout.run("dvc", "repro").stdout


LEAVES = {
    "at once": {},
    "in its own time": {
        "left": "trap 'sleep 1; touch ended; exit 1' INT; touch left.begun; while :; do sleep 0.1; done"
    },
    "never": {name: f"trap '' INT; {command}" for name, (command, _) in BUSY.items()},
    "alone": {"right": "touch right.begun"},
}


@pytest.mark.parametrize("leaves", LEAVES)
def test_ctrl_c_ends_the_stages_and_then_the_command(tmp_path: Path, leaves: str) -> None:
    """The terminal sends it to all; a stage may end in order, or ignore it, or the other may have ended before."""
    stages = {name: (LEAVES[leaves].get(name, command), needed) for name, (command, needed) in BUSY.items()}
    checkout = project(tmp_path, stages)
    process = checkout.start("repro", "--jobs", "2")
    checkout.wait_for(process, begun(checkout))
    if leaves == "alone":
        checkout.wait_for(process, lambda: "right: Updating lock" in (tmp_path / "killed.log").read_text())
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) != 0
    _, left = psutil.wait_procs(started, timeout=5)
    assert left == []
    assert "Traceback" not in (tmp_path / "killed.log").read_text()
    assert (tmp_path / "ended").exists() == (leaves == "in its own time")


def test_another_ctrl_c_ends_the_patience(tmp_path: Path) -> None:
    stages = {name: (LEAVES["never"][name], needed) for name, (_, needed) in BUSY.items()}
    checkout = project(tmp_path, stages)
    process = checkout.start("repro", "--jobs", "2")
    checkout.wait_for(process, begun(checkout))
    started = psutil.Process(process.pid).children(recursive=True)
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.3)
    assert process.wait(timeout=30) != 0
    _, left = psutil.wait_procs(started, timeout=5)
    assert left == []
    assert "Traceback" not in (tmp_path / "killed.log").read_text()


def test_a_process_that_a_stage_leaves_behind_holds_nothing_up(tmp_path: Path) -> None:
    checkout = project(tmp_path, {"a": ("sleep 100 & echo $! > pid", []), "b": ("true", ["a"])})
    checkout.dhs("repro", "--jobs", "2")
    left = psutil.Process(int((tmp_path / "pid").read_text()))
    assert left.is_running(), "it ended before the command did"
    left.kill()
    assert made(checkout) == {"a", "b", "pid"}


HOLD = "import sys, time, zc.lockfile; held = zc.lockfile.LockFile('.dvc/tmp/lock'); print(flush=True); time.sleep({0})"


def test_a_lock_that_dvc_holds_for_moments_is_waited_for(tmp_path: Path) -> None:
    """Longer than DVC by itself waits."""
    holding = f'python -c "{HOLD.format(6)}" > held 2>&1 & while ! test -s held; do sleep 0.1; done'
    checkout = project(tmp_path, {"a": (holding, []), "b": ("true", ["a"])})
    checkout.dhs("repro", "--jobs", "2")
    assert made(checkout) == {"a", "b", "held"}


def test_a_lock_that_another_dvc_holds_is_an_error(tmp_path: Path) -> None:
    checkout = project(tmp_path, {"a": ("true", [])})
    (tmp_path / ".dvc" / "tmp").mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLD.format(60)], cwd=tmp_path, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        done = checkout.dhs("repro", "--jobs", "2", check=False)
        holder.kill()
    assert done.returncode == 1
    assert "dhs: DVC could not go on: Unable to acquire lock. Most likely another DVC process is running" in done.stderr
    assert made(checkout) == set()


def test_what_another_run_writes_holds_up_what_needs_it_alone(tmp_path: Path) -> None:
    checkout = project(tmp_path, {"x": ("true", []), "z": ("true", ["x"]), "y": ("true", [])})
    writing = {str(tmp_path / "x"): {"pid": os.getpid(), "cmd": "dvc repro"}}
    (tmp_path / ".dvc" / "tmp").mkdir()
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": writing, "read": {}}))
    done = checkout.dhs("repro", "--jobs", "2", check=False)
    assert done.returncode == 1
    assert re.search(r"ERROR x: .*x' is busy, it is being blocked by: \(PID \d+\): dvc repro", done.stderr)
    assert made(checkout) == {"y"}


def test_a_killed_stage_says_what_may_have_killed_it(tmp_path: Path) -> None:
    done = project(tmp_path, {"a": ("sh -c 'kill -9 $$'", [])}).dhs("repro", "--jobs", "2", check=False)
    assert re.search(r"ERROR a: .* exited with (-9|137): killed, perhaps because memory is short", done.stderr)
