"""A file is replaced whole: what fails leaves the old one and no draft."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lake.errors import DataError
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


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    disk, here = tmp_path / "disk", tmp_path / "here"
    for folder in (disk, here):
        folder.mkdir()
    (disk / "file.txt").write_text("old")
    for name, target in (("a", "../disk/file.txt"), ("b", "a"), ("new", "../disk/new.txt")):
        (here / name).symlink_to(target)
        atomic.write_text(here / name, f"of {name}")
        assert (here / name).readlink() == Path(target)
    assert {path.name: path.read_text() for path in disk.iterdir()} == {"file.txt": "of b", "new.txt": "of new"}
    assert {path.name for path in here.iterdir()} == {"a", "b", "new"}


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "unmounted").symlink_to(tmp_path / "disk" / "file.txt")
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "disk")):
        atomic.write_text(tmp_path / "unmounted", "new")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=f"symbolic links: '{tmp_path / 'loop'}'"):
        atomic.write_text(tmp_path / "loop", "new")
    assert {path.name for path in tmp_path.iterdir()} == {"unmounted", "loop"}


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_not_a_file_stays(tmp_path: Path, linked: bool) -> None:
    """A device, or a pipe as /dev/stdout may be, must not become a file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, kind in (("pipe", DataError), ("folder", IsADirectoryError)):
        path = tmp_path / name
        if linked:
            path = tmp_path / f"{name}.link"
            path.symlink_to(name)
        with pytest.raises(kind, match=str(path)):
            atomic.write_text(path, "new")
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == (4 if linked else 2)


def test_a_link_into_a_protected_cache_is_itself_replaced(tmp_path: Path) -> None:
    """As `dvc checkout` makes it with `cache.type symlink`: a new result must not become the content of an old hash."""
    (tmp_path / "cached").write_text("old")
    (tmp_path / "cached").chmod(0o444)
    (tmp_path / "out").symlink_to("cached")
    atomic.write_text(tmp_path / "out", "new")
    assert not (tmp_path / "out").is_symlink()
    assert [(tmp_path / name).read_text() for name in ("out", "cached")] == ["new", "old"]


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
