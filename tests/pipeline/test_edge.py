"""What a user sees when a command fails: one sentence, and a log where it is a bug."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from safetensors import SafetensorError

from lake.errors import DataError
from lake.root import private_folder
from pipeline import cli
from pipeline.project import edge
from tests.pipeline.checkout import PROJECT


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What ``dhs`` prints as it fails."""
    monkeypatch.setattr(sys, "argv", ["dhs", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("number", sorted(edge._CURES))
def test_an_error_of_the_operating_system_names_the_path_and_the_cure(number: int) -> None:
    error = OSError(number, os.strerror(number), "/data/here", None, "/data/there")
    assert edge.explained(error) == f"/data/here -> /data/there: {edge._CURES[number]}"
    assert edge.explained(OSError(number, os.strerror(number))) == edge._CURES[number]


def test_an_error_of_another_kind_keeps_the_systems_words() -> None:
    assert edge.explained(OSError(errno.EPROTO, "Protocol error", "x")) == (
        "x: Protocol error: check it and run the command again"
    )


def test_the_path_of_a_library_that_hides_it_is_found(tmp_path: Path) -> None:
    missing = tmp_path / "gone.parquet"
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which kind it is belongs to Arrow
        ds.dataset([str(missing)], format="parquet").to_table()
    assert str(edge.explained(caught.value)).startswith(f"{missing}: no such file or folder")


def test_a_full_disk_is_a_sentence_whichever_library_met_it() -> None:
    for error in (sqlite3.OperationalError("database or disk is full"), SafetensorError("I/O error: (os error 28)")):
        assert edge.explained(error) == edge._CURES[errno.ENOSPC]
    assert edge.explained(OSError("Not enough space on disk in '/data/here'")) == (
        f"/data/here: {edge._CURES[errno.ENOSPC]}"
    )


def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    found = {
        name: edge.explained(ModuleNotFoundError(name=name)) for name in ("psutil", "pyarrow.parquet", "lake.gone")
    }
    assert str(found["psutil"]).startswith("the package psutil is not installed here: run `make setup`")
    assert str(found["pyarrow.parquet"]).startswith("the package pyarrow is not installed")
    assert found["lake.gone"] is None


def test_memory_and_the_projects_own_errors_are_sentences() -> None:
    assert "too little memory" in str(edge.explained(MemoryError()))
    assert edge.explained(DataError("the sweep is empty")) == "the sweep is empty"
    assert edge.explained(ZeroDivisionError("x")) is None


def test_a_file_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    text = said(monkeypatch, capsys, "render", "--n", "1", "--hosts", "none", "--out", "file/arcs.png")
    assert text == f"dhs: file: {edge._CURES[errno.EEXIST]}\n"


def test_an_argument_that_is_not_text_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(monkeypatch, capsys, "query", "select '\udcff'")
    assert text == r"""dhs: "select '\udcff'" is not UTF-8 text: rename the file, or type the text in UTF-8""" + "\n"


def test_a_library_in_rust_that_gives_up_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    def give_up() -> None:
        raise panic('Failed to create a tokio runtime.: Os { code: 24, kind: Uncategorized, message: "Too many" }')

    monkeypatch.setattr("pipeline.project.params.find", lambda _: give_up())
    assert said(monkeypatch, capsys, "tables") == f"dhs: {edge._CURES[errno.EMFILE]}\n"


def test_a_bug_says_so_and_leaves_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.project.params.find", lambda _: 1 / 0)
    text = said(monkeypatch, capsys, "tables")
    assert text.startswith("dhs: this is a bug in dhs (ZeroDivisionError: division by zero); please report it")
    assert "Traceback" not in text
    log = Path(text.split("the log ")[1].strip())
    assert "ZeroDivisionError" in log.read_text()
    assert "Traceback" in log.read_text()
    monkeypatch.setattr(sys, "argv", ["dhs", "-v", "tables"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


@pytest.mark.parametrize("home", [None, "", "/proc/none"])
def test_a_user_without_a_home_gets_a_private_one(home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)
    cli._ensure_home()
    assert Path(os.environ["HOME"]) == private_folder()
    assert private_folder().stat().st_mode & 0o777 == 0o700


def test_a_home_that_can_be_written_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cli._ensure_home()
    assert os.environ["HOME"] == str(tmp_path)


@pytest.mark.usefixtures("whole_stage")
def test_dhs_draws_without_a_home_and_no_library_complains(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    unusable = {"HOME": "/proc/none", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": "", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "render", "--hosts", "none", "--n", "1", "--out", "a.png"],
        cwd=tmp_path, env={**os.environ, **unusable}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert (tmp_path / "a.png").exists()
    assert "/proc/none" not in done.stderr


def test_a_port_in_use_is_refused_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = said(monkeypatch, capsys, "ui", "--port", str(port))
    assert text == f"dhs: 'port' must be a free local port (Address already in use), got {port}\n"


@pytest.mark.parametrize(
    ("name", "ours", "the_users"), [("OMP_WAIT_POLICY", "passive", "active"), ("THP_MEM_ALLOC_ENABLE", "1", "0")]
)
def test_torch_finds_its_settings_unless_the_user_has_others(
    monkeypatch: pytest.MonkeyPatch, name: str, ours: str, the_users: str
) -> None:
    monkeypatch.setattr(cli, "dhs", lambda **options: None)
    monkeypatch.setenv(name, the_users)
    cli.main()
    assert os.environ[name] == the_users
    monkeypatch.delenv(name)
    cli.main()
    assert os.environ[name] == ours
