"""Tables in an object store whose writer is killed, or that two write at once: no row is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.root import DataRoot
from lake.store import delta
from tests.lake import stores
from tests.lake.gates import gate, write

pytestmark = pytest.mark.usefixtures("whole_stage")

ROWS = [gate("a", f"new {number}") for number in range(3)]
_WRITER = """
import sys
from tests.lake.gates import gate, write
from lake.root import DataRoot
write(DataRoot.of(*sys.argv[1:]), "a", *(gate("a", f"new {number}") for number in range(3)))
"""
FIRST, SECOND = "_delta_log/00000000000000000000.json", "_delta_log/00000000000000000001.json"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, stores.bucket(patch) as place:
        yield place


@pytest.fixture
def root(bucket: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DataRoot]:
    yield DataRoot.of(tmp_path / "data", f"{bucket}/{request.node.name.replace('[', '-').strip(']')}/tables")
    stores.heal()


def writer(root: DataRoot, match: str) -> subprocess.Popen[bytes]:
    """A process that writes slice `a`, once it has sent a request to write an object whose path contains a text."""
    before = len(stores.seen())
    command = [sys.executable, "-c", _WRITER, str(root.local), str(root.lake_uri)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while not [each for each in stores.seen()[before:] if each.startswith("PUT") and match in each]:
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.02)
    return process


def killed_at(root: DataRoot, kind: str, match: str) -> None:
    """Write slice `a` in a process that is killed while the store works on a request, or has just met it (`late`)."""
    stores.fault(kind, method="PUT", match=match, seconds=60)
    with writer(root, match) as process:
        time.sleep(0.3 if kind == "late" else 0.0)
        process.kill()
    stores.heal()


def names(root: DataRoot) -> list[str]:
    return sorted(delta.read(root, "gates", ["name"])["name"].to_pylist())


@pytest.mark.parametrize(
    ("kind", "match"),
    [("stall", ".parquet"), ("stall", "_delta_log/"), ("late", "_delta_log/")],
    ids=["rows", "log", "pin"],
)
def test_a_killed_commit_leaves_the_pinned_rows_and_is_repeated(
    root: DataRoot, tmp_path: Path, kind: str, match: str
) -> None:
    write(root, "a", gate("a", "old"))
    write(root, "b", gate("b", "other"))
    killed_at(root, kind, match)
    newest = delta.at(root.table("gates")).to_pyarrow_table(columns=["name"])["name"].to_pylist()
    assert sorted(newest) == (["new 0", "new 1", "new 2", "other"] if kind == "late" else ["old", "other"])
    assert names(root) == ["old", "other"], "readers see what the pins name"
    assert write(root, "a", *ROWS) == write(DataRoot.of(tmp_path / "local"), "a", *ROWS)
    assert names(root) == ["new 0", "new 1", "new 2", "other"]


@pytest.mark.parametrize(("kind", "match"), [("stall", FIRST), ("stall", SECOND)], ids=["creation", "rules"])
def test_a_table_whose_creation_was_killed_gets_its_rows_and_rules(
    root: DataRoot, tmp_path: Path, kind: str, match: str
) -> None:
    killed_at(root, kind, match)
    assert write(root, "a", *ROWS) == write(DataRoot.of(tmp_path / "local"), "a", *ROWS)
    assert names(root) == ["new 0", "new 1", "new 2"]
    made, local = (delta.at(each.table("gates")) for each in (root, DataRoot.of(tmp_path / "local")))
    assert made.metadata().configuration == local.metadata().configuration


def test_of_two_who_commit_at_once_both_keep_their_rows(root: DataRoot, tmp_path: Path) -> None:
    """One has read the table and written its rows when another commits the version that it was to commit."""
    write(root, "a", gate("a", "old"))
    write(root, "b", gate("b", "other"))
    stores.fault("stall", method="PUT", match="_delta_log/", seconds=3)
    with writer(root, "_delta_log/") as process:
        write(DataRoot.of(tmp_path / "elsewhere", root.lake_uri), "b", gate("b", "theirs"))
        assert process.poll() is None
    assert process.returncode == 0
    newest = delta.at(root.table("gates")).to_pyarrow_table(columns=["name"])["name"].to_pylist()
    assert sorted(newest) == ["new 0", "new 1", "new 2", "theirs"]
