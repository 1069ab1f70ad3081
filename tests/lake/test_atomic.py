"""A file is replaced whole: what fails leaves the old one and no draft."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lake.files import atomic


def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    atomic.write_text(path, "old, é")
    with atomic.replacing(path) as draft:
        draft.write_text("new")
        assert path.read_text(encoding="utf-8") == "old, é"
        assert draft.name.startswith(".")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_block_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    atomic.write_text(path, "old")

    def fill() -> None:
        with atomic.replacing(path) as draft:
            draft.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fill()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_name_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".json")
    atomic.write_text(path, "{}")
    assert path.read_text() == "{}"


def test_drafts_that_killed_processes_left_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, running = tmp_path / f".{ended.pid}.a.json", tmp_path / f".{os.getppid()}.a.json"
    other = tmp_path / f".{ended.pid}.b.json"
    for draft in (left, running, other):
        draft.write_text("half")
    atomic.write_text(tmp_path / "a.json", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", running.name, other.name}
