"""Ends of columns that files and the log claim: those of the rows pass, and any that hides rows is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.errors import DamagedError, DamagedLogError
from lake.store import cards, delta
from lake.upkeep import ends
from lake.upkeep.ends import Ends
from pipeline.tables import verifying
from tests.etl.pooled import Survey, sweep


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    made = Survey(tmp_path_factory.mktemp("ends"))
    sweep(made.folder, "0", 0)
    made.published()
    return made


def require(survey: Survey) -> None:
    entry = cards.read_slice(survey.root, "tractor_pool")
    ends.require(survey.root, entry, delta.open_pinned(survey.root, entry))


@pytest.fixture
def changed() -> Iterator[Callable[[Path, bytes], None]]:
    """Writes other content into a file; afterwards the file is as before."""
    kept: dict[Path, bytes] = {}

    def change(path: Path, content: bytes) -> None:
        kept.setdefault(path, path.read_bytes())
        path.write_bytes(content)

    yield change
    for path, content in kept.items():
        path.write_bytes(content)


def test_a_footer_that_hides_rows_is_found(survey: Survey, changed: Callable[[Path, bytes], None]) -> None:
    """DuckDB passes over the rows that the changed footer denies; read without a filter they are all there."""
    require(survey)
    (path,) = Path(survey.root.table("tractor_pool")).glob("part-*.parquet")
    highest, content = float(pq.read_table(path)["dec"].to_numpy().max()), path.read_bytes()
    count = f"SELECT count(*) FROM read_parquet('{path}') WHERE dec >= {highest!r}"
    assert duckdb.sql(count).fetchall() == [(1,)]
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    end = np.float64(highest).tobytes()
    assert end in content[footer:]
    changed(path, content[:footer] + content[footer:].replace(end, np.float64(-highest).tobytes()))
    assert duckdb.sql(count).fetchall() == [(0,)]
    assert pq.read_table(path).num_rows == 20
    with pytest.raises(DamagedError, match=rf"{path.name} is wrong about the ends of dec"):
        require(survey)
    (finding,) = verifying._tables(survey.root, deep=True)
    assert f"{path.name} is wrong about the ends of dec" in finding.sentence
    assert [entry.name for entry in finding.forget] == ["tractor_pool"]
    assert not list(verifying._tables(survey.root, deep=False))


@pytest.mark.parametrize(("kind", "column", "value"), [
    ("maxValues", "mag_z", 15.0), ("minValues", "galaxy_id", "zzz"), ("nullCount", "flux_g", 20),
])  # fmt: skip
def test_a_log_that_hides_rows_is_found(
    survey: Survey, changed: Callable[[Path, bytes], None], kind: str, column: str, value: object
) -> None:
    (path,) = (
        log
        for log in Path(survey.root.table("tractor_pool"), "_delta_log").glob("*.json")
        if b'"add"' in log.read_bytes()
    )
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if "add" in line:
            claims = json.loads(line["add"]["stats"])
            claims[kind][column] = value
            line["add"]["stats"] = json.dumps(claims)
    changed(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    with pytest.raises(DamagedLogError, match=rf"the log is wrong about the ends of {column} in part-.*"):
        require(survey)
    (finding,) = verifying._tables(survey.root, deep=True)
    assert finding.table == "tractor_pool", "a log is set aside with its table"


def test_a_footer_whose_text_is_no_text_is_found(survey: Survey, changed: Callable[[Path, bytes], None]) -> None:
    (path,) = Path(survey.root.table("tractor_pool")).glob("part-*.parquet")
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    assert b"c:10000_0001p000_0" in content[footer:]
    changed(path, content[:footer] + content[footer:].replace(b"c:10000_0001p000_0", b"\xffc10000_0001p000_0"))
    with pytest.raises(DamagedError, match=rf"{path.name} is wrong about the ends of galaxy_id"):
        require(survey)


def test_a_column_whose_name_is_no_text_is_found(survey: Survey, changed: Callable[[Path, bytes], None]) -> None:
    (path,) = Path(survey.root.table("tractor_pool")).glob("part-*.parquet")
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    changed(path, content[:footer] + content[footer:].replace(b"\x06flux_g", b"\x06\xe1lux_g"))
    with pytest.raises(DamagedError, match=rf"{path.name} has a column whose name is no text"):
        require(survey)


def mistyped(content: bytes) -> Iterator[bytes]:
    """A file with one bit of its footer changed, so that a chunk has another type than its column; rows are read."""
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place, bit in product(range(footer, len(content) - 8), range(4)):
        other = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
        with suppress(OSError, pa.ArrowException):
            pq.read_table(pa.BufferReader(other))  # Arrow aborts over the metadata of some that it cannot read
            found = pq.read_metadata(pa.BufferReader(other))
            if found.row_group(0).column(0).physical_type != found.schema.column(0).physical_type:
                yield other


def test_a_footer_with_the_type_of_another_column_is_found(tmp_path: Path) -> None:
    """Arrow ends the process where it is asked for such statistics."""
    pq.write_table(pa.table({"x": [1.5, 2.5]}), tmp_path / "part")
    spoilt = next(mistyped((tmp_path / "part").read_bytes()))
    ((column, claim, _),) = ends._row_groups(pq.ParquetFile(pa.BufferReader(spoilt)))
    assert (column, claim) == ("x", None)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([3, None, 1], pa.int32(), Ends(1, 3, 1)),
        ([np.nan, -1.5, None, 2.0], pa.float32(), Ends(-1.5, 2.0, 1)),
        ([np.nan], pa.float64(), Ends(None, None, 0)),
        ([True, True], pa.bool_(), Ends(True, True, 0)),
        (["é", "z", None], pa.string(), Ends("z", "é", 1)),
        ([None], pa.string(), Ends(None, None, 1)),
        ([[1.0]], pa.list_(pa.float64()), None),
    ],
)
def test_ends_of_columns(values: list[object], kind: pa.DataType, expected: Ends | None) -> None:
    column = pa.chunked_array([pa.array(values, kind)])
    assert Ends.of(column) == expected
    if expected is not None and kind == pa.string():
        assert Ends.of(column.dictionary_encode()) == expected


def test_wider_ends_and_none_hide_nothing() -> None:
    true = Ends(1.0, 2.0, 0)
    assert not any(claim.hides(true) for claim in (Ends(None, None, None), Ends(0.0, 3.0, 0), Ends(1.0, np.nan, None)))
    assert all(claim.hides(true) for claim in (Ends(1.5, 2.0, 0), Ends(1.0, 1.5, 0), Ends(1.0, 2.0, 1)))
    assert true + Ends(None, None, 2) + Ends(0.5, 0.7, None) == Ends(0.5, 2.0, 2)
