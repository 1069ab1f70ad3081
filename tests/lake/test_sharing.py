"""Pinned versions travel to a remote and back: whole, checked, and never over another table."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lake.errors import DamagedError, LakeError, UnreachableError
from lake.root import DataRoot
from lake.store import cards, delta
from lake.store.query import query
from lake.upkeep import merging, records
from lake.upkeep.depot import Depot
from lake.upkeep.merging import merge
from lake.upkeep.pulling import pull
from lake.upkeep.pushing import pinned, push
from tests.lake import stores
from tests.lake.gates import gate, write

COUNT = "select run_id, count(*) as n from gates group by all order by all"


def cloned(root: DataRoot, folder: Path) -> DataRoot:
    """Another data folder with the same cards, as a clone of the repository has."""
    shutil.copytree(root.cards, folder / "cards", dirs_exist_ok=True)
    return DataRoot.of(folder)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder that tests copy."""
    folder = tmp_path_factory.mktemp("written")
    for run, names in (("a", "old"), ("b", "xy"), ("a", "xyz")):
        write(DataRoot.of(folder), run, *(gate(run, name) for name in names))
    return folder


@pytest.fixture
def root(written: Path, tmp_path: Path) -> DataRoot:
    """Two slices, of which one was written twice: its first version is pinned no more."""
    return DataRoot.of(shutil.copytree(written, tmp_path / "mine" / "data"))


@pytest.fixture
def remote(tmp_path: Path) -> Depot:
    (tmp_path / "remote").mkdir()
    return Depot.at(str(tmp_path / "remote"))


@pytest.fixture
def in_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Depot]:
    with stores.bucket(monkeypatch) as uri:
        yield Depot.at(f"{uri}/team")


@pytest.mark.usefixtures("whole_stage")
def test_a_clone_reads_what_was_pushed_at_the_pinned_versions(root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    sent = push(root, remote, pinned(root))
    assert (sent.slices, sent.problems) == (2, ())
    clone = cloned(root, tmp_path / "clone")
    arrived = pull(clone, remote, pinned(clone))
    assert (arrived.slices, arrived.problems) == (2, ())
    assert query(clone, COUNT).equals(query(root, COUNT))
    assert DeltaTable(clone.table("gates")).version() == DeltaTable(root.table("gates")).version()
    assert DeltaTable(clone.table("gates")).metadata().id == cards.slices(root, "gates")[0].pin.table_id
    assert json.loads(clone.witness("gates", "s-a").read_text()) == json.loads(root.witness("gates", "s-a").read_text())
    rows = list(Path(root.table("gates")).rglob("run_id*/*.parquet"))
    assert len(list(Path(clone.table("gates")).rglob("run_id*/*.parquet"))) == len(rows) - 1 == 2, "the old rows stay"
    write(clone, "c", gate("c", "x"))  # and it can be written on
    assert query(clone, COUNT).num_rows == 3


def test_both_are_idempotent(root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    push(root, remote, pinned(root))
    clone = cloned(root, tmp_path / "clone")
    pull(clone, remote, pinned(clone))
    before = remote.sizes()
    for moved in (push(root, remote, pinned(root)), pull(clone, remote, pinned(clone))):
        assert (moved.slices, moved.files, moved.size, moved.problems) == (0, 0, 0, ())
    assert remote.sizes() == before


@pytest.mark.usefixtures("whole_stage")
def test_the_versions_of_another_revision_come_too(root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    git = ["git", "-C", str(root.local), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git[:3], "init", "-q"], check=True)
    subprocess.run([*git, "add", "cards"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    write(root, "a", gate("a", "later"))
    push(root, remote, pinned(root))
    push(root, remote, pinned(root, "HEAD"))
    subprocess.run(["git", "clone", "-q", str(root.local), str(tmp_path / "clone")], check=True)
    clone = cloned(root, tmp_path / "clone")
    pull(clone, remote, pinned(clone))
    pull(clone, remote, pinned(clone, "HEAD"))
    assert query(clone, COUNT, at="HEAD").to_pylist() == [{"run_id": "a", "n": 3}, {"run_id": "b", "n": 2}]
    assert query(clone, COUNT).to_pylist() == [{"run_id": "a", "n": 1}, {"run_id": "b", "n": 2}]


def test_what_was_not_pushed_is_named(root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    push(root, remote, pinned(root)[1:])
    clone = cloned(root, tmp_path / "clone")
    arrived = pull(clone, remote, pinned(clone))
    assert arrived.slices == 1
    (problem,) = arrived.problems
    assert problem.startswith("'gates.s-a' was not pulled: its version is not in the remote")
    assert "whoever committed its card has to run `dhs push`" in problem
    (problem,) = push(clone, remote, pinned(clone)).problems
    assert problem.startswith("not pushed: table 'gates.s-a'")


def test_bytes_that_changed_on_the_way_do_not_arrive(root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    push(root, remote, pinned(root))
    clone = cloned(root, tmp_path / "clone")
    damaged = next(Path(remote.place).rglob("*.parquet"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(
        DamagedError, match=f"{damaged.name} has checksum .*; delete that file; `dhs push`, where it is"
    ):
        pull(clone, remote, pinned(clone))
    assert not (Path(clone.table("gates")) / "_delta_log").exists(), "the log comes after the rows"
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert pull(clone, remote, pinned(clone)).slices == 2


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff"])
def test_a_damaged_record_is_one_sentence(text: bytes, root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    push(root, remote, pinned(root))
    clone = cloned(root, tmp_path / "clone")
    next(Path(remote.place).rglob("pins/*.json")).write_bytes(text)
    with pytest.raises(DamagedError, match="is not the record of a pinned table"):
        pull(clone, remote, pinned(clone))


def test_a_record_cannot_write_outside_of_the_table(root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    push(root, remote, pinned(root))
    clone = cloned(root, tmp_path / "clone")
    record = next(Path(remote.place).rglob("pins/*.json"))
    found = json.loads(record.read_text())
    found["data"][0]["name"] = "../../../elsewhere"
    record.write_text(json.dumps(found))
    with pytest.raises(DamagedError, match="names files outside of the table's folder"):
        pull(clone, remote, pinned(clone))


def test_another_table_of_the_same_name_is_left_alone(root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    push(root, remote, pinned(root))
    other = DataRoot.of(tmp_path / "other" / "data")
    write(other, "a", gate("a", "mine"))
    own = cloned(other, tmp_path / "kept")  # the cards of the table that is here
    shutil.copytree(root.cards, other.cards, dirs_exist_ok=True)
    arrived = pull(other, remote, pinned(other))
    (problem,) = arrived.problems
    assert "'gates' was not pulled: another table of this name is here than the cards pin" in problem
    shutil.copytree(own.cards, other.cards, dirs_exist_ok=True)
    assert delta.read(other, "gates", ["name"], ["s-a"]).to_pylist() == [{"name": "mine"}]


@pytest.mark.usefixtures("whole_stage")
def test_of_two_who_wrote_on_the_same_version_the_second_is_told(root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    push(root, remote, pinned(root))
    clone = cloned(root, tmp_path / "clone")
    pull(clone, remote, pinned(clone))
    write(root, "c", gate("c", "x"))
    write(clone, "d", gate("d", "x"))
    assert push(root, remote, pinned(root)).problems == ()
    before = remote.sizes()
    (problem,) = push(clone, remote, pinned(clone)).problems
    assert "of 'gates' in the remote is not the one here" in problem
    assert "dhs pull --merge" in problem
    assert remote.sizes() == before
    shutil.copytree(root.cards, clone.cards, dirs_exist_ok=True)
    (problem,) = pull(clone, remote, pinned(clone)).problems
    assert "here is another one than the cards pin" in problem
    with pytest.raises(LakeError, match="that version was written by someone else; run `dhs pull --merge`"):
        query(clone, COUNT)


@pytest.mark.usefixtures("whole_stage")
def test_two_who_push_at_the_same_time_do_not_both_succeed(
    root: DataRoot, remote: Depot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(root, remote, pinned(root))
    clone = cloned(root, tmp_path / "clone")
    pull(clone, remote, pinned(clone))
    write(root, "c", gate("c", "x"))
    write(clone, "d", gate("d", "x"))
    whole = Depot.write

    def after_the_other(self: Depot, name: str, content: bytes) -> None:
        monkeypatch.setattr(Depot, "write", whole)
        assert push(root, remote, pinned(root)).problems == ()
        whole(self, name, content)

    monkeypatch.setattr(Depot, "write", after_the_other)
    (problem,) = push(clone, remote, pinned(clone)).problems
    assert "someone else has written on from the same version" in problem
    assert not [name for name in remote.sizes() if "s-d" in name]


def test_a_remote_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreachableError, match=r"there is no .*/nowhere"):
        Depot.at(str(tmp_path / "nowhere" / "remote")).require_place()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(UnreachableError, match="s3://team/lake cannot be reached"):
        Depot.at("s3://team/lake").require_place()


@pytest.mark.usefixtures("whole_stage")
def test_an_object_store_is_a_remote(root: DataRoot, in_store: Depot, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="there is no bucket missing"):
        Depot.at("s3://missing/team").require_place()
    in_store.require_place()
    assert push(root, in_store, pinned(root)).slices == 2
    clone = cloned(root, tmp_path / "clone")
    assert pull(clone, in_store, pinned(clone)).slices == 2
    assert query(clone, COUNT).equals(query(root, COUNT))
    record = next(name for name in in_store.below("lake").sizes() if "/pins/" in name and "s-b" in name)
    text = in_store.below("lake").read(record)
    row = records.parse(text, record).data[0]
    shelf = in_store.below("lake", *record.split("/")[:2])
    shelf.write(row.key, b"x" * row.size)
    again = cloned(root, tmp_path / "again")
    with pytest.raises(DamagedError, match="has checksum"):
        pull(again, in_store, pinned(again))
    shelf.remove(row.key)
    with pytest.raises(DamagedError, match=f"{row.name} is missing; `dhs push`, where it is, brings it again"):
        pull(again, in_store, pinned(again))
    assert push(root, in_store, pinned(root)).files == 1
    assert pull(again, in_store, pinned(again)).slices == 2
    there = DataRoot.of(cloned(root, tmp_path / "third").local, f"{in_store.place}/tables")
    assert pull(there, in_store, pinned(there)).slices == 2
    assert query(there, COUNT).equals(query(root, COUNT))


KILLED = """
import sys, time
from lake.root import DataRoot
from lake.upkeep import pulling, pushing
from lake.upkeep.depot import Depot
root, remote = DataRoot.of(sys.argv[1]), Depot.at(sys.argv[2])
chunks = Depot.chunks
def slowly(self, name):
    for content in chunks(self, name):
        for start in range(0, len(content), 512):
            time.sleep(0.004)
            yield content[start:start + 512]
Depot.chunks = slowly
print("ready", flush=True)
moved = getattr(pushing if sys.argv[3] == "push" else pulling, sys.argv[3])(root, remote, pushing.pinned(root))
assert not moved.problems, moved.problems
"""


def killed_after(seconds: float, root: DataRoot, remote: Depot, what: str) -> bool:
    """Whether a push or pull in a process of its own was killed before it ended."""
    command = [sys.executable, "-c", KILLED, str(root.local), remote.place, what]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return not ended


@pytest.mark.usefixtures("whole_stage")
def test_a_kill_at_any_moment_leaves_nothing_half_and_it_goes_on(root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    for k in range(4):
        assert killed_after(0.02 + 0.04 * k, root, remote, "push")
        for name in remote.sizes():
            if "/pins/" in name:  # what a record names is there
                record = records.parse(remote.read(name), name)
                shelf = records.shelf(remote, record.table, record.table_id)
                assert all(shelf.sha256(item.key) == item.sha256 for item in (*record.log, *record.data))
    push(root, remote, pinned(root))
    clone = cloned(root, tmp_path / "clone")
    for k in range(4):
        assert killed_after(0.02 + 0.04 * k, clone, remote, "pull")
        log = Path(clone.table("gates")) / "_delta_log"
        versions = sorted(int(path.stem) for path in log.glob("[!.]*.json")) if log.exists() else []
        assert versions == list(range(len(versions))), "the log has no gap"
    pull(clone, remote, pinned(clone))
    assert query(clone, COUNT).equals(query(root, COUNT))
    left = [path for folder in (remote.place, clone.local) for path in Path(folder).rglob(".*") if path.is_file()]
    assert not left, "drafts of the killed"
    assert os.path.exists(clone.witness("gates", "s-a"))  # noqa: PTH110


@pytest.fixture
def forked(root: DataRoot, remote: Depot, tmp_path: Path) -> DataRoot:
    """A clone with an own slice d, after the root has pushed its own slice c, written on the same version."""
    push(root, remote, pinned(root))
    clone = cloned(root, tmp_path / "clone")
    pull(clone, remote, pinned(clone))
    write(root, "c", gate("c", "x"))
    write(clone, "d", gate("d", "xy"), gate("d", "x"))
    push(root, remote, pinned(root))
    return clone


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("with_their_cards", [False, True])
def test_after_a_merge_both_have_all_slices(
    with_their_cards: bool, root: DataRoot, remote: Depot, forked: DataRoot
) -> None:
    card = cards.read_slice(forked, "gates", "s-d")
    if with_their_cards:
        shutil.copytree(root.cards, forked.cards, dirs_exist_ok=True)
    assert merge(forked, remote, pinned(forked)) == ["gates.s-d"]
    assert pull(forked, remote, pinned(forked)).problems == ()
    anew = cards.read_slice(forked, "gates", "s-d")
    assert anew.card == card.card
    assert anew.pin.version > cards.read_slice(root, "gates", "s-c").pin.version
    assert query(forked, "select name from gates where run_id = 'd'").num_rows == 2
    assert push(forked, remote, pinned(forked)).problems == ()
    shutil.copytree(forked.cards, root.cards, dirs_exist_ok=True)
    assert merge(root, remote, pinned(root)) == [], "who pushed first has nothing to do"
    assert pull(root, remote, pinned(root)).problems == ()
    assert query(root, COUNT).num_rows == 4
    assert len(list((forked.local / "lake" / ".replaced").iterdir())) == 1, "the clone's table is kept"


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("moment", ["ready", "aside", "in place", "published"])
def test_a_merge_that_was_cut_off_is_finished(
    moment: str, remote: Depot, forked: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {
        "ready": (merging, "_finish"),
        "aside": (Path, "rename"),
        "in place": (cards, "publish"),
        "published": (merging.shutil, "rmtree"),
    }
    owner, name = places[moment]
    whole = getattr(owner, name)

    def cut(*arguments: object, **named: object) -> object:
        if moment == "published" and (named or "ready" not in {p.name for p in Path(str(arguments[0])).iterdir()}):
            return whole(*arguments, **named)
        if moment == "in place" and arguments[0] != forked:
            return whole(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, cut)
        with pytest.raises(KeyboardInterrupt):
            merge(forked, remote, pinned(forked))
    assert merge(forked, remote, pinned(forked)) == ["gates.s-d"]
    assert merge(forked, remote, pinned(forked)) == []
    assert pull(forked, remote, pinned(forked)).problems == ()
    assert query(forked, COUNT).num_rows == 3


@pytest.mark.usefixtures("whole_stage")
def test_tables_made_apart_become_one(root: DataRoot, remote: Depot, tmp_path: Path) -> None:
    push(root, remote, pinned(root))
    other = DataRoot.of(tmp_path / "other" / "data")
    write(other, "e", gate("e", "mine"))
    shutil.copytree(root.cards, other.cards, dirs_exist_ok=True)
    assert "made independently" in pull(other, remote, pinned(other)).problems[0]
    assert merge(other, remote, pinned(other)) == ["gates.s-e"]
    assert pull(other, remote, pinned(other)).problems == ()
    assert query(other, COUNT).num_rows == 3
    assert len({entry.pin.table_id for entry in cards.slices(other, "gates")}) == 1


@pytest.mark.usefixtures("whole_stage")
def test_a_version_that_was_written_over_is_not_read(root: DataRoot, remote: Depot, forked: DataRoot) -> None:
    old = cards.read_slice(forked, "gates", "s-d")
    merge(forked, remote, pinned(forked))
    cards.publish(forked, old.card, old.pin)  # as `git checkout` of an earlier commit does
    with pytest.raises(LakeError, match=r"'gates.s-d' has 0 rows in version \d+, its card says 2"):
        delta.read(forked, "gates", slices=["s-d"])


@pytest.mark.usefixtures("whole_stage")
def test_rows_that_are_nowhere_cannot_be_merged(root: DataRoot, remote: Depot, forked: DataRoot) -> None:
    shutil.rmtree(forked.table("gates"))
    write(forked, "e", gate("e", "x"))
    with pytest.raises(LakeError, match=r"'gates.s-d' cannot be merged: its version is not in the remote"):
        merge(forked, remote, pinned(forked))
    assert query(forked, "select name from gates at (version => 0)").num_rows == 0, "the table here is as it was"
