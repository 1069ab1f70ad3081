"""A published folder replaces another whole, wherever the two lie; what fails or is killed loses neither."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.errors import DataError
from lake.files import publishing
from lake.files.publishing import replace_folder, require_place

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on another file system; where the machine has none, renames into it are refused as if it were."""
    if SHARED_MEMORY.is_dir() and SHARED_MEMORY.stat().st_dev != tmp_path.stat().st_dev:
        with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
            yield Path(folder)
        return
    folder, rename = tmp_path / "other-disk", Path.rename
    folder.mkdir()

    def refused_across(self: Path, target: Path) -> Path:
        if self.is_relative_to(folder) != Path(target).is_relative_to(folder):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused_across)
    yield folder


def folder_of(path: Path, text: str) -> Path:
    path.mkdir(parents=True)
    (path / "content").write_text(text)
    return path


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


@pytest.mark.parametrize("occupied", [False, True])
@pytest.mark.parametrize("moved", ["nothing", "work", "target", "both"])
def test_work_and_target_may_be_links_to_other_disks(
    tmp_path: Path, elsewhere: Path, moved: str, occupied: bool
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if moved in ("work", "both"):
        (elsewhere / "work").mkdir()
        (data / "work").symlink_to(elsewhere / "work")
    if moved in ("target", "both"):
        (data / "cutouts").symlink_to(folder_of(elsewhere / "cutouts", "old"))
    elif occupied:
        folder_of(data / "cutouts", "old")
    draft = folder_of(data / "work" / "cutouts" / "hash" / "shards", "new")
    replace_folder(data / "cutouts", draft)
    assert (data / "cutouts" / "content").read_text() == "new"
    assert (data / "cutouts").is_symlink() == (moved in ("target", "both"))
    assert not draft.exists()
    assert names(draft.parent) == []
    assert [name for name in names((data / "cutouts").resolve().parent) if name.startswith(".")] == []


def test_a_failure_while_copying_keeps_both(tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, draft = folder_of(elsewhere / "cutouts", "old"), folder_of(tmp_path / "work" / "shards", "new")

    def full(source: Path, place: Path, symlinks: bool) -> None:
        folder_of(place, "ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(publishing.shutil, "copytree", full)
        with pytest.raises(OSError, match=f"No space left on device: '{target}'"):
            replace_folder(target, draft)
    assert (target / "content").read_text() == "old"
    assert (draft / "content").read_text() == "new"
    assert names(elsewhere) == ["cutouts"]
    replace_folder(target, draft)
    assert (target / "content").read_text() == "new"
    assert names(elsewhere) == ["cutouts"]


@pytest.mark.parametrize("renames", [1, 2, 3])
def test_a_kill_between_renames_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    target, draft = folder_of(tmp_path / "cutouts", "old"), folder_of(tmp_path / "work" / "shards", "new")
    rename, count = Path.rename, iter(range(10))

    def killed(self: Path, place: Path) -> Path:
        if next(count) == renames - 1:
            raise KeyboardInterrupt
        return rename(self, place)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            replace_folder(target, draft)
    left = [path.read_text() for path in tmp_path.rglob("content")]
    assert sorted(left) == ["new", "old"]
    replace_folder(target, draft)
    assert (target / "content").read_text() == "new"
    assert names(tmp_path) == ["cutouts", "work"]


def test_places_that_cannot_be_replaced_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file, but a folder is published there"):
        require_place(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "cutouts")
    with pytest.raises(DataError, match=r"is a link into .*disk, which does not exist: mount it"):
        require_place(tmp_path / "link")
    monkeypatch.setattr(Path, "is_mount", lambda self: self == tmp_path)
    with pytest.raises(DataError, match="is itself a mounted file system"):
        require_place(tmp_path)
