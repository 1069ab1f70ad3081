"""Data files that are missing or damaged are noticed wherever they are read, and made again over."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lake.errors import DamagedError, LakeError, UnreachableError
from lake.root import DataRoot
from lake.store import cards, delta, held
from lake.store.query import query
from pipeline.tables import verifying
from tests.lake.gates import gate, write
from tests.pipeline.checkout import project_of


def remove(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Change one byte of what is packed, which only unpacking can notice."""
    content = bytearray(path.read_bytes())
    content[content.index(b"PASS")] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = DataRoot.of(tmp_path_factory.mktemp("pinned") / "data")
    write(made, "a", *(gate("a", f"x{number}") for number in range(3)))
    write(made, "b", gate("b", "x"))
    return made.local


@pytest.fixture
def pinned(root: DataRoot, written: Path) -> DataRoot:
    shutil.copytree(written, root.local)
    return root


def file_of(root: DataRoot, run: str) -> Path:
    return next((Path(root.table("gates")) / f"run_id={run}").glob("*.parquet"))


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("harm", [remove, shorten, empty, flip], ids=lambda function: function.__name__)
def test_lost_rows_are_found_forgotten_and_made_again(pinned: DataRoot, harm: Callable[[Path], None]) -> None:
    card = cards.read_slice(pinned, "gates", "s-a").card
    harm(file_of(pinned, "a"))
    findings = verifying.check(project_of(pinned), deep=True)
    assert [[entry.card.slice for entry in finding.forget] for finding in findings] == [["s-a"]]
    assert bool(verifying.check(project_of(pinned), deep=False)) == (harm is not flip), (
        "a change of length shows without reading"
    )
    if harm is not flip:
        with pytest.raises(DamagedError, match=r"'gates\.s-a' has lost rows .*run `dhs verify --deep --repair`"):
            delta.read(pinned, "gates")
        with pytest.raises(DamagedError, match=r"'gates\.s-a' has lost rows"):
            query(pinned, "select * from gates")
    assert delta.read(pinned, "gates", slices=["s-b"]).num_rows == 1
    assert verifying.repair(project_of(pinned), findings) == ["dvc repro"]
    assert write(pinned, "a", *(gate("a", f"x{number}") for number in range(3))) == card
    assert verifying.check(project_of(pinned), deep=True) == []
    assert query(pinned, "select count(*) as n from gates").to_pylist() == [{"n": 4}]


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (FileNotFoundError(2, "No such file"), True),
        (OSError("ZSTD decompression failed: Data corruption detected"), True),
        (pa.ArrowInvalid("Parquet magic bytes not found in footer"), True),
        (OSError("Corrupt snappy compressed data."), True),
        (OSError(5, "Input/output error"), False),
        (OSError(24, "Too many open files"), False),
        (PermissionError(13, "Permission denied"), False),
        (OSError("When reading information for key 'x': AWS Error NETWORK_CONNECTION"), False),
    ],
)
def test_only_what_was_read_is_called_lost(pinned: DataRoot, error: Exception, lost: bool) -> None:
    entry, store = cards.read_slice(pinned, "gates", "s-a"), DataRoot.of(pinned.local, "s3://bucket/lake")
    assert isinstance(held.data_verdict(store, entry, error), DamagedError if lost else UnreachableError)


@pytest.mark.parametrize(
    ("plain", "reader", "name"),
    [(1, pq, "ParquetFile"), (0, DeltaTable, "to_pyarrow_table")],
    ids=["its files", "its log may mark rows as deleted"],
)
def test_a_failure_to_read_rows_forgets_nothing(
    pinned: DataRoot, monkeypatch: pytest.MonkeyPatch, plain: int, reader: object, name: str
) -> None:
    def away(*arguments: object, **more: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(delta, "_PLAIN_FILES", plain)
    monkeypatch.setattr(reader, name, away)
    findings = verifying.check(project_of(pinned), deep=True)
    assert len(findings) == 2
    assert verifying.repair(project_of(pinned), findings) == []
    assert len(cards.slices(pinned, "gates")) == 2


def test_a_table_made_before_a_column_is_not_called_lost(pinned: DataRoot) -> None:
    with pytest.raises(LakeError, match=r"'gates\.s-a' was made without later; run `dvc repro`"):
        delta.read(pinned, "gates", ["name", "later"])
