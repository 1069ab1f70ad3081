"""What stands in the way of a repeated run and is cleared away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lake.errors import DarkHaloError, DataError
from pipeline.finders.reproduce import forget_dead_locks, reproduce
from pipeline.project import params
from tests.pipeline.checkout import PROJECT


def locked(path: Path, writer: int, reader: int) -> Path:
    """DVC's file of locks, as its processes write it."""
    held = {"write": {"/data/truth": {"pid": writer, "cmd": "dvc"}}, "read": {"/a.py": [{"pid": reader, "cmd": "dvc"}]}}
    path.write_text(json.dumps(held))
    return path


@pytest.fixture
def zombie() -> Iterator[int]:
    """A process that was killed and that its parent has not waited for."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    yield process.pid
    process.wait()


def test_locks_of_killed_processes_are_forgotten(tmp_path: Path, zombie: int) -> None:
    path = locked(tmp_path / "rwlock", zombie, 2**22 + 1)
    forget_dead_locks(path)
    assert not path.exists()
    forget_dead_locks(path)


def test_locks_of_the_living_are_kept(tmp_path: Path, zombie: int) -> None:
    path = locked(tmp_path / "rwlock", zombie, os.getpid())
    forget_dead_locks(path)
    assert path.exists()


@pytest.mark.parametrize("left", ["", '{"write": {"/data/tr', "null", '{"read": {"/a": [{"cmd": "dvc"}]}}'])
def test_a_lock_file_that_a_kill_damaged_is_forgotten(tmp_path: Path, left: str) -> None:
    path = tmp_path / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    path.write_text(left)
    forget_dead_locks(path)
    assert not path.exists()


@pytest.mark.parametrize("words", [["dvc", "repro"], ["--multiprocessing-fork"]], ids=["alone", "side by side"])
def test_a_damaged_lock_file_is_kept_while_dvc_runs_in_the_folder(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    path.write_text("")
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        with pytest.raises(DarkHaloError, match=rf"a dvc runs here \(process {running.pid}\)"):
            forget_dead_locks(path)
        assert path.exists()
        running.kill()


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # DVC's own, of its graph
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_tarball_without_git_runs_without_an_activated_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    stage = {"which": {"cmd": "command -v dhs > found", "outs": [{"found": {"cache": False}}]}}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": stage}))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text((PROJECT / ".dvc" / "config").read_text())
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    reproduce(params.load(tmp_path), jobs=jobs)
    assert Path((tmp_path / "found").read_text().strip()).parent == Path(sys.executable).parent


@pytest.mark.usefixtures("whole_stage")
def test_a_finder_that_fails_does_not_hold_up_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    stages = {f"grid{i}": {"cmd": f"touch made{i}{'; false' if i < 2 else ''}", "outs": [f"made{i}"]} for i in range(4)}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text((PROJECT / ".dvc" / "config").read_text())
    with pytest.raises(DarkHaloError, match="the pipeline stopped; fix the error above and run it again"):
        reproduce(params.load(tmp_path))
    assert {path.name for path in tmp_path.glob("made*")} == {"made0", "made1", "made2", "made3"}


def test_a_data_folder_that_dvc_would_refuse_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, disk = tmp_path / "checkout", tmp_path / "disk"
    for folder in (checkout / ".dvc", disk):
        folder.mkdir(parents=True)
    (checkout / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    (checkout / "data").symlink_to(disk)
    with pytest.raises(DataError, match=r"data is a link out of the repository, which DVC refuses: make it a folder"):
        reproduce(params.load(checkout))
    assert not list(disk.iterdir())
