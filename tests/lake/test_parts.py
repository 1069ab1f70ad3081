"""Parquet files that a job writes itself as a table: statistics, constraints, and what other engines make of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from lake import provenance
from lake.contract.fingerprint import Sums, fingerprint, of_hashes, row_hashes
from lake.contract.rules import conform
from lake.contract.spec import Column, TableSpec
from lake.errors import LakeError
from lake.root import DataRoot
from lake.store import delta, parts, writing
from lake.store.parts import Part
from lake.store.writing import Provenance, Target
from lake.upkeep import collecting
from lake.upkeep.references import References

SPEC = TableSpec(
    "tractor_pool",
    "A table of parts",
    (
        Column("name", "string", "identifier", role="key"),
        Column("x", "float", "number", low=0),
        Column("y", "double", "number", nullable=True),
        Column("n", "bigint", "integer"),
    ),
)
WHO = Provenance("pool")


def rows(first: int, count: int = 5) -> pa.Table:
    """Rows with the same lineage in every call."""
    values = {
        "name": [f"r{i:03d}" for i in range(first, first + count)],
        "x": pa.array(np.arange(first, first + count) / 3, pa.float32()),
        "y": pa.array([None, *np.arange(1, count) - 0.1], pa.float64()),
        "n": pa.array(np.arange(first, first + count)),
    }
    return conform(SPEC, pa.table(values))


def written(root: DataRoot, name: str, held: pa.Table) -> Part:
    place = Path(root.table(SPEC.name)) / name
    place.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(held, place, row_group_size=3, **parts.options(SPEC))
    return Part(name, place.stat().st_size, held.num_rows, parts.statistics(pq.read_metadata(place)))


def whole(root: DataRoot) -> Target:
    return Target(root, SPEC, None, {}, WHO)


SLICED = TableSpec(
    "tractor_pool",
    "A table of parts in slices",
    (Column("kind", "string", "slice", role="key"), Column("flag", "boolean", "a flag"), *SPEC.columns),
    slice_by=("kind",),
)


def slice_of(root: DataRoot, kind: str) -> Target:
    return Target(root, SLICED, kind.replace(" ", ""), {"kind": kind}, WHO)


def part_of(target: Target, name: str, first: int) -> Part:
    """A part of a slice, of five rows."""
    place = parts.folder(target.where) + name
    held = rows(first).append_column("flag", pa.array([True, False] * 2 + [True]))
    path = Path(target.root.table(SLICED.name)) / place
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = conform(SLICED, held, target.where).drop_columns(["kind"])
    pq.write_table(kept, path, **parts.options(SLICED))
    return Part(place, path.stat().st_size, held.num_rows, parts.statistics(pq.read_metadata(path)))


def held_by(table: DeltaTable) -> list[tuple[str, int]]:
    found = table.to_pyarrow_table(columns=["kind", "n"]).sort_by([("kind", "ascending"), ("n", "ascending")])
    return [(row["kind"], row["n"]) for row in found.to_pylist()]


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot.of(tmp_path / "data")


def test_a_table_of_parts_is_read_like_any_other(root: DataRoot) -> None:
    held = [rows(0), rows(5), rows(10)]
    made = [written(root, f"part-{i}.parquet", each) for i, each in enumerate(held)]
    table = parts.replace(whole(root), made)
    found = table.to_pyarrow_table().cast(SPEC.arrow_schema())
    assert fingerprint(found, SPEC) == fingerprint(pa.concat_tables(held), SPEC)
    with duckdb.connect() as connection:
        answer = connection.sql(f"SELECT count(*), max(n) FROM read_parquet('{root.table(SPEC.name)}/*.parquet')")
        assert answer.fetchall() == [(15, 14)]
    assert json.loads(table.history(1)[0]["provenance"])["stage"] == "pool"
    constraints = [name for name in table.metadata().configuration if name.startswith("delta.constraints.")]
    assert len(constraints) == len(SPEC.constraints())


def test_statistics_are_those_of_the_rows(root: DataRoot) -> None:
    held = rows(7, 8)
    found = json.loads(written(root, "part.parquet", held).statistics)
    assert found["numRecords"] == 8
    for name in ("name", "x", "y", "n"):
        ends = pc.min_max(held[name]).as_py()
        assert found["minValues"][name] == ends["min"]
        assert found["maxValues"][name] == ends["max"]
        assert found["nullCount"][name] == held[name].null_count
    table = parts.replace(whole(root), [written(root, "part.parquet", held)])
    added = pa.table(table.get_add_actions(flatten=True))
    assert (added["min.n"][0].as_py(), added["max.x"][0].as_py()) == (7, pytest.approx(14 / 3, rel=1e-6))


def test_a_row_group_whose_ends_are_unknown_leaves_the_file_none(tmp_path: Path) -> None:
    """Engines pass over a file by its ends; Parquet keeps none of long texts, nor of a row group of NaN alone."""
    groups = [("a", 1.0, 1.0), ("b" * 9000, math.nan, None)]
    schema = pa.schema([("name", pa.string()), ("x", pa.float64()), ("y", pa.float64())])
    with pq.ParquetWriter(tmp_path / "part.parquet", schema, **parts.options(SPEC)) as file:
        for group in groups:
            file.write_table(pa.table([[value] for value in group], schema=schema))
    found = json.loads(parts.statistics(pq.read_metadata(tmp_path / "part.parquet")))
    assert found["minValues"] == found["maxValues"] == {"y": 1.0}
    assert found["nullCount"] == {"name": 0, "x": 0, "y": 1}


def test_only_the_difference_is_committed(root: DataRoot) -> None:
    made = [written(root, f"part-{i}.parquet", rows(5 * i)) for i in range(3)]
    first = parts.replace(whole(root), made[:2]).version()
    assert parts.replace(whole(root), made[:2]).version() == first
    second = parts.replace(whole(root), made[1:])
    assert second.version() == first + 1
    log = Path(root.table(SPEC.name)) / "_delta_log" / f"{second.version():020d}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    assert [a["add"]["path"] for a in actions if "add" in a] == ["part-2.parquet"]
    assert [a["remove"]["path"] for a in actions if "remove" in a] == ["part-0.parquet"]
    assert sorted(second.to_pyarrow_table()["n"].to_pylist()) == list(range(5, 15))
    assert parts.replace(whole(root), []).to_pyarrow_table().num_rows == 0
    old = writing.opened(root, SPEC)
    old.load_as_version(first)
    assert old.to_pyarrow_table().num_rows == 10


def test_a_part_made_again_with_another_size_has_that_size_in_the_log(root: DataRoot) -> None:
    """Readers find a file's footer by the size that the log says."""
    made = [written(root, "part-0.parquet", rows(0)), written(root, "part-1.parquet", rows(5))]
    parts.replace(whole(root), made)
    made[0] = written(root, "part-0.parquet", rows(0, 4))
    table = parts.replace(whole(root), made)
    assert dict(delta.added(table, {})) == {part.path: part.size for part in made}
    assert sorted(table.to_pyarrow_table()["n"].to_pylist()) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert parts.replace(whole(root), made).version() == table.version()


def test_a_slice_is_replaced_alone(root: DataRoot) -> None:
    odd, other = slice_of(root, "a b:c+1"), slice_of(root, "b")
    parts.replace(odd, [part_of(odd, "part-0.parquet", 0), part_of(odd, "part-1.parquet", 5)])
    parts.replace(other, [part_of(other, "part-0.parquet", 20)])
    table = parts.replace(odd, [part_of(odd, "part-2.parquet", 10)])
    wanted = [("a b:c+1", n) for n in range(10, 15)] + [("b", n) for n in range(20, 25)]
    assert held_by(table) == wanted
    assert "flag" not in json.loads(part_of(odd, "part-2.parquet", 10).statistics)["minValues"], "Delta keeps none"
    assert held_by(delta.at(root.table(SLICED.name))) == wanted
    made = {path.parent.name for path in Path(root.table(SLICED.name)).rglob("*.parquet")}
    assert made == {"kind=a%20b%3Ac%2B1", "kind=b"}, "as delta-rs and Spark name folders"
    files = delta.files(table, odd.where)
    with duckdb.connect() as connection:
        connection.execute("SET python_enable_replacements = false")
        query = "SELECT kind, max(n), max(flag) FROM read_parquet($1, hive_partitioning = true) GROUP BY kind"
        assert connection.execute(query, [files]).fetchall() == [("a b:c+1", 14, True)]
    assert parts.replace(odd, [part_of(odd, "part-2.parquet", 10)]).version() == table.version()
    assert held_by(parts.replace(odd, [])) == wanted[5:]


@pytest.mark.parametrize("held", [False, True])
def test_of_two_who_replace_a_slice_at_once_one_stays(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """One commits while the other is about to; a slice never holds the rows of both."""
    mine = slice_of(root, "a")
    if held:
        parts.replace(mine, [part_of(mine, "part-0.parquet", 0)])
    else:
        writing.made(root, SLICED)
    commit, waiting = DeltaTable.create_write_transaction, [part_of(mine, "part-9.parquet", 90)]

    def late(table: DeltaTable, *args: object, **kwargs: object) -> None:
        if waiting:
            parts.replace(mine, [waiting.pop()])
        commit(table, *args, **kwargs)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", late)
    ours = [part_of(mine, "part-5.parquet", 50)]
    if held:
        with pytest.raises(LakeError, match="was changed by another run that wrote at the same time; run it again"):
            parts.replace(mine, ours)
    else:
        parts.replace(mine, ours)
    assert held_by(delta.at(root.table(SLICED.name)))[0] == ("a", 90 if held else 50)
    assert len(held_by(delta.at(root.table(SLICED.name)))) == 5


def test_parts_are_committed_anew_where_another_changes_the_rules_meanwhile(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, commit = writing.made(root, SLICED), DeltaTable.create_write_transaction
    dropped = sorted(writing._constraints(table))

    def late(own: DeltaTable, *args: object, **kwargs: object) -> None:
        if dropped:
            table.alter.drop_constraint(dropped.pop())
            dropped.clear()
        commit(own, *args, **kwargs)

    assert dropped, "there is a rule to drop"
    monkeypatch.setattr(DeltaTable, "create_write_transaction", late)
    mine = slice_of(root, "a")
    parts.replace(mine, [part_of(mine, "part-5.parquet", 50)])
    assert len(held_by(delta.at(root.table(SLICED.name)))) == 5
    assert set(writing._wanted(SLICED)) == writing._constraints(delta.at(root.table(SLICED.name)))


def test_what_a_killed_job_wrote_into_a_slice_is_removed(root: DataRoot) -> None:
    mine = slice_of(root, "a")
    used, left = (part_of(mine, parts.name(f"{number:032x}"), 0) for number in range(2))
    parts.replace(mine, [used])
    draft = Path(root.table(SLICED.name), left.path).with_name(f".123.{parts.name(f'{2:032x}')}")
    draft.write_bytes(b"half")
    found = collecting.waste(root, References(frozenset()), 0)
    assert [(one.table, one.files) for one in found if one.table == SLICED.name] == [
        (SLICED.name, (f"kind=a/{draft.name}", left.path))
    ]


def test_names_of_parts_and_accounts_tell_the_input() -> None:
    key = "0123456789abcdef" * 2
    for name in (parts.name(key), parts.name(key, "77"), parts.account(key)):
        assert parts.key_of(name) == key
    for name in ("part-00000-a5a7a615-7fa5-4f68-ad16-38af17f59a03-c000.zstd.parquet", f"x/{key}.arrow", f"part-{key}0"):
        assert parts.key_of(name) is None


def test_a_slice_of_a_table_without_files_has_none(root: DataRoot) -> None:
    sliced = TableSpec("quarantine", "In slices", SPEC.columns, slice_by=("name",))
    assert delta.added(writing.made(root, sliced), {"name": "a"}) == []


def test_sums_of_parts_are_the_tables() -> None:
    """Also where they overflow, and taken away again."""
    hashes = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 1000)
    some = [Sums.of(each) for each in np.split(hashes, [0, 10, 500])]
    assert sum(some[1:], some[0]).render() == of_hashes(hashes)
    assert (Sums.of(hashes) - Sums.of(hashes[:10])).render() == of_hashes(hashes[10:])
    assert fingerprint(rows(0), SPEC) == Sums.of(row_hashes(rows(0), SPEC)).render()
    assert "extracted_at" in provenance.lineage()
