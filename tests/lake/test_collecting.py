"""What nothing refers to is removed, and nothing that any commit can read."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lake import tables
from lake.errors import DarkHaloError, LakeError
from lake.root import DataRoot
from lake.store import cards, writing
from lake.store.query import query
from lake.store.writing import Provenance, Target
from lake.upkeep import collecting
from lake.upkeep.depot import Depot
from lake.upkeep.guard import alone, working
from lake.upkeep.references import references
from tests.lake import stores
from tests.lake.gates import SPEC, gate, write

COUNT = "select run_id, count(*) as n from gates group by all order by all"


def git(folder: Path, *arguments: str) -> str:
    own = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(own, capture_output=True, text=True, check=True).stdout.strip()


def commit(root: DataRoot, message: str) -> str:
    git(root.local, "add", "cards")
    git(root.local, "commit", "-qm", message)
    return git(root.local, "rev-parse", "HEAD")


def collect(root: DataRoot, days: float = 0.0) -> int:
    """How many files were removed."""
    found = collecting.waste(root, references(root), days)
    collecting.remove(root, found)
    return sum(len(one.files) for one in found)


def age(root: DataRoot, days: float) -> None:
    for path in Path(root.table("gates")).rglob("*.parquet"):
        then = path.stat().st_mtime - days * 86400
        os.utime(path, (then, then))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder that tests copy."""
    folder = tmp_path_factory.mktemp("written") / "data"
    made = DataRoot.of(folder)
    write(made, "a", gate("a", "w"))
    git(folder.parent, "init", "-q", "-b", "main", "data")
    commit(made, "main")
    git(made.local, "checkout", "-qb", "side")
    write(made, "a", *(gate("a", name) for name in "wx"))
    commit(made, "side")
    git(made.local, "tag", "kept")
    git(made.local, "checkout", "-q", "main")
    write(made, "a", *(gate("a", name) for name in "uvwxyz"))
    write(made, "b", gate("b", "x"))
    write(made, "a", *(gate("a", name) for name in "xyz"))
    return folder


@pytest.fixture
def root(written: Path, tmp_path: Path) -> DataRoot:
    """One slice in four versions: on a branch, under a tag, in no commit, in the working tree; a second slice."""
    return DataRoot.of(shutil.copytree(written, tmp_path / "data"))


@pytest.mark.usefixtures("whole_stage")
def test_only_what_no_commit_and_no_pin_names_is_removed(root: DataRoot) -> None:
    assert collect(root) == 1
    assert [row["n"] for row in query(root, COUNT).to_pylist()] == [3, 1]
    assert query(root, COUNT, at="main").to_pylist() == [{"run_id": "a", "n": 1}]
    assert query(root, COUNT, at="kept").to_pylist() == [{"run_id": "a", "n": 2}]
    assert collect(root) == 0
    write(root, "a", gate("a", "again"))
    assert query(root, COUNT).num_rows == 2


def test_a_branch_that_is_deleted_is_kept_by_its_tag_and_then_by_the_reflog(root: DataRoot) -> None:
    git(root.local, "branch", "-qD", "side")
    assert collect(root) == 1
    git(root.local, "tag", "-d", "kept")
    assert collect(root) == 0, "git still reaches the commit from its reflog"
    git(root.local, "reflog", "expire", "--expire=now", "--all")
    assert collect(root) == 1
    assert query(root, COUNT, at="main").num_rows == 1


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("kind", ["stash", "index", "detached", "merged away"])
def test_whatever_git_can_reach_is_kept(kind: str, root: DataRoot) -> None:
    collect(root)
    write(root, "a", *(gate("a", name) for name in "abcde"))
    if kind == "index":
        git(root.local, "add", "cards")
        write(root, "a", gate("a", "last"))
        assert collect(root) <= 1  # the version before the staged one
        git(root.local, "checkout", "--", "cards")
    else:
        found = commit(root, "work") if kind != "stash" else git(root.local, "stash", "create")
        if kind == "stash":
            git(root.local, "stash", "store", found)
        elif kind == "merged away":
            git(root.local, "checkout", "-q", "-b", "other", "side")
            git(root.local, "merge", "-q", "-s", "ours", "-m", "theirs is dropped", "main")
            git(root.local, "branch", "-qD", "main")
        else:
            git(root.local, "checkout", "-q", "--detach")
            git(root.local, "branch", "-qD", "main")
            git(root.local, "checkout", "-q", "side")
            git(root.local, "reflog", "expire", "--expire=now", "--all")
            git(root.local, "worktree", "add", "-q", "--detach", str(root.local.parent / "tree"), found)
            git(root.local, "reflog", "expire", "--expire=now", "--all")
        write(root, "a", gate("a", "last"))
        write(root, "a", gate("a", "newest"))
        collect(root)
        assert {"run_id": "a", "n": 5} in query(root, COUNT, at=found).to_pylist()
        return
    assert {"run_id": "a", "n": 5} in query(root, COUNT).to_pylist()


def test_young_files_stay(root: DataRoot) -> None:
    assert collect(root, days=7) == 0
    (found,) = collecting.waste(root, references(root), 7)
    assert (found.young, found.files) == (1, ())
    age(root, 8)
    assert collect(root, days=7) == 1


def test_files_that_a_killed_write_left_are_removed_and_nothing_else(root: DataRoot) -> None:
    collect(root)
    place = Path(root.table("gates"))
    orphan = place / "run_id=a" / "part-00000-left.parquet"
    orphan.write_bytes(b"half")
    (orphan.parent / f".{orphan.name}.crc").write_bytes(b"crc")
    (place / "notes.txt").write_text("mine")
    log = sorted(path.name for path in (place / "_delta_log").iterdir())
    assert collect(root) == 1
    assert not list(orphan.parent.glob("*left*"))
    assert (place / "notes.txt").exists()
    assert root.witness("gates", "s-a").exists()
    assert sorted(path.name for path in (place / "_delta_log").iterdir()) == log


def test_a_pin_without_its_card_keeps_the_whole_version(root: DataRoot) -> None:
    old = cards.read_slice(root, "gates", "s-a")
    (root.cards / "gates.s-a.json").unlink()
    write(root, "a", gate("a", "last"))
    pin = root.cards / "lost.pin.json"
    pin.write_text(
        (root.cards / "gates.s-a.pin.json")
        .read_text()
        .replace(f'"version": {cards.read_slice(root, "gates", "s-a").pin.version}', f'"version": {old.pin.version}')
        .replace(cards.read_slice(root, "gates", "s-a").card.fingerprint, old.card.fingerprint)
    )
    collect(root)
    from lake.store import delta

    delta.require_files(root, old, delta.open_pinned(root, old))


def test_slices_without_rows_are_told_apart_by_their_table(root: DataRoot) -> None:
    for spec, column in ((SPEC, "run_id"), (tables.spec("ingest_counts"), "stage")):
        target = Target(root, spec, "none", {column: "none"}, Provenance("test"))
        writing.write_slice(target, spec.arrow_schema().empty_table())
    write(root, "c", gate("c", "x"))
    assert collect(root) == 1
    assert query(root, COUNT).num_rows == 3


def test_a_card_that_cannot_be_read_stops_everything(root: DataRoot) -> None:
    (root.cards / "gates.s-a.pin.json").write_text("<<<<<<< ours")
    with pytest.raises(LakeError, match="is neither a card nor a pin; nothing is removed"):
        references(root)


def test_a_table_whose_log_is_damaged_is_left_alone(root: DataRoot) -> None:
    log = Path(root.table("gates")) / "_delta_log"
    next(log.glob("*1.json")).write_text("{")
    (found,) = collecting.waste(root, references(root), 0)
    assert found.files == ()
    assert found.problem is not None
    assert "its log cannot be read" in found.problem


def test_outside_git_the_cards_alone_count(root: DataRoot) -> None:
    shutil.rmtree(root.local / ".git")
    known = references(root)
    assert not known.in_git
    assert collect(root) == 3
    assert query(root, COUNT).num_rows == 2


def test_a_kill_in_the_middle_leaves_every_commit_readable(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root.local / ".git")
    whole = Depot.remove

    def once(self: Depot, name: str) -> None:
        whole(self, name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Depot, "remove", once)
        with pytest.raises(KeyboardInterrupt):
            collect(root)
    assert query(root, COUNT).num_rows == 2
    assert collect(root) == 2


def test_writers_and_those_who_change_files_exclude_each_other(root: DataRoot) -> None:
    with working(root):
        with working(root):
            pass
        with pytest.raises(DarkHaloError, match="a stage or another command is working on the lake"), alone(root):
            pass
    with alone(root), pytest.raises(DarkHaloError, match="files are being changed"), working(root):
        pass


@pytest.mark.usefixtures("whole_stage")
def test_a_lake_in_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stores.bucket(monkeypatch) as uri:
        root = DataRoot.of(tmp_path / "data", f"{uri}/tables")
        for names in ("w", "wx", "xyz"):
            write(root, "a", *(gate("a", name) for name in names))
        assert collect(root, days=1) == 0
        assert collect(root) == 2
        assert query(root, COUNT).to_pylist() == [{"run_id": "a", "n": 3}]
