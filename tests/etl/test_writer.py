"""Publishing: bad rows are quarantined and counted, slices replaced, fingerprints those of the JVM-free definition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings

from etl.tables import judge, table, writer
from etl.tables.table import read
from etl.tables.writer import publish
from lake import tables
from lake.contract import rules
from lake.contract.fingerprint import fingerprint, render
from lake.errors import ContractError, DamagedError, LakeError
from lake.root import DataRoot
from lake.store import cards, delta, quarantine, writing
from lake.store.writing import Provenance, Target
from tests.etl.specs import EVERY_TYPE, MEASURED, WITHOUT_ORIGIN, every_type_rows

pytestmark = pytest.mark.usefixtures("whole_stage")

WHO = Provenance("near", {"git_commit": "abc"}, {"sweeps": "1:2:3"})


@pytest.fixture(autouse=True)
def known_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the lake know the test's own contract."""
    known = tables.spec
    monkeypatch.setattr(tables, "spec", lambda name: MEASURED if name == MEASURED.name else known(name))


def frame(spark: Any, rows: list[tuple[str, float | None, str, int]]) -> Any:
    return spark.createDataFrame(rows, "name string, x double, sweep_file string, row_index bigint")


def quarantined(root: DataRoot) -> dict[tuple[str, int], str]:
    rows = delta.read(root, "quarantine").to_pylist()
    return {(row["source_file"], row["row_index"]): row["reason"] for row in rows}


def test_slices_that_several_write_at_once_are_all_kept(spark: Any, root: DataRoot) -> None:
    """As stages do that run side by side: the tables, that of quarantined rows too, are made meanwhile."""

    def write(part: str) -> None:
        for x in (0.0, 1.0, 2.0):
            rows = frame(spark, [("a", x, part, 1), ("b", -1.0, part, 2)])
            publish(rows, Target(root, MEASURED, part, {"part": part}, replace(WHO, stage=f"near.{part}")))

    parts = ("p", "q", "r", "s")
    with ThreadPoolExecutor(len(parts)) as threads:
        list(threads.map(write, parts))
    held = delta.read(root, MEASURED.name)
    assert sorted(zip(held["part"].to_pylist(), held["x"].to_pylist(), strict=True)) == [(part, 2.0) for part in parts]
    assert set(quarantined(root)) == {(part, 2) for part in parts}


def test_the_version_that_is_pinned_holds_the_rows_though_others_commit_meanwhile(
    spark: Any, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a commit and the search for its version: the history of delta-rs then numbers it one too low."""
    mine = Target(root, MEASURED, "p", {"part": "p"}, WHO)
    publish(frame(spark, [("a", 1.0, "f", 1)]), mine)
    theirs = delta.read(root, MEASURED.name).set_column(MEASURED.names.index("part"), "part", pa.array(["q"]))
    search = table._require_commit

    def late(*args: Any) -> DeltaTable:
        writing.replace(root, MEASURED, theirs, {"part": "q"}, WHO)
        return search(*args)

    monkeypatch.setattr(table, "_require_commit", late)
    publish(frame(spark, [("a", 2.0, "f", 1)]), mine)
    assert delta.read(root, MEASURED.name)["x"].to_pylist() == [2.0]


def test_sparks_write_begins_anew_where_another_changes_the_rules_meanwhile(
    spark: Any, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, left = table.location, [RuntimeError("[DELTA_METADATA_CHANGED] MetadataChangedException: of the table")]

    def once_disturbed(*args: Any) -> str:
        if left:
            raise left.pop()
        return place(*args)

    monkeypatch.setattr(table, "location", once_disturbed)
    publish(frame(spark, [("a", 1.0, "f", 1)]), Target(root, MEASURED, "p", {"part": "p"}, WHO))
    monkeypatch.undo()
    assert DeltaTable(root.table(MEASURED.name)).to_pyarrow_table()["x"].to_pylist() == [1.0]


def test_broken_rows_are_quarantined_and_the_rest_written(spark: Any, root: DataRoot) -> None:
    rows = [
        ("a", 1.0, "f2", 1),
        ("a", 2.0, "f1", 9),
        ("b", -1.0, "f1", 2),
        ("b", 3.0, "f3", 3),
        ("c", float("nan"), "f1", 4),
        ("d", None, "f1", 5),
        (None, 5.0, "f1", 6),
    ]
    card = publish(frame(spark, rows), Target(root, MEASURED, "one", {"part": "p:1"}, WHO))
    held = delta.read(root, MEASURED.name)
    assert sorted(zip(held["name"].to_pylist(), held["x"].to_pylist(), strict=True)) == [("a", 2.0), ("b", 3.0)]
    assert card.rows == 2
    assert card.fingerprint == fingerprint(held, MEASURED)
    outside = "'x' must be given, a number, in [0, 100]"
    assert quarantined(root) == {
        ("f2", 1): "duplicate key (part, name)",
        ("f1", 2): outside,
        ("f1", 4): outside,
        ("f1", 5): outside,
        ("f1", 6): "'name' must be given",
    }


def test_a_repeated_publish_gives_the_same_table_and_quarantine(spark: Any, root: DataRoot) -> None:
    rows = [("a", 1.0, "f1", 1), ("a", 1.0, "f1", 2), ("b", 200.0, "f1", 3)]
    first = publish(frame(spark, rows), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    before = cards.read_slice(root, "quarantine", "near").card
    second = publish(frame(spark, rows), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    assert second == first
    assert cards.read_slice(root, "quarantine", "near").card == before
    assert before.rows == 2
    clean = publish(frame(spark, rows[:1]), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    assert clean == first
    assert cards.read_slice(root, "quarantine", "near").card.rows == 0


def test_a_slice_leaves_the_others_alone_and_readers_keep_to_their_pins(spark: Any, root: DataRoot) -> None:
    publish(frame(spark, [("a", 1.0, "f", 1)]), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    publish(frame(spark, [("b", 2.0, "f", 1)]), Target(root, MEASURED, "two", {"part": "2"}, WHO))
    publish(frame(spark, [("c", 3.0, "f", 1)]), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    assert sorted(row["name"] for row in read(spark, root, MEASURED.name).collect()) == ["b", "c"]
    assert [row["name"] for row in read(spark, root, MEASURED.name, ["two"]).collect()] == ["b"]
    spark.sql(f"DELETE FROM delta.`{root.table(MEASURED.name)}`")
    assert read(spark, root, MEASURED.name).count() == 2


def test_rows_the_job_could_not_use_are_quarantined_too(spark: Any, root: DataRoot) -> None:
    lost = spark.createDataFrame(
        [("bad.fits", -1, "empty file", None)], "source_file string, row_index long, reason string, record string"
    )
    rows = frame(spark, [("a", 1.0, "f1", 1), ("b", 101.0, "f1", 2)])
    publish(rows, Target(root, MEASURED, "one", {"part": "1"}, WHO), rejected=lost)
    assert quarantined(root)["bad.fits", -1] == "empty file"
    assert len(quarantined(root)) == 2


def test_many_rejected_rows_stay_in_spark_and_end_alike(
    spark: Any, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = frame(spark, [("a", -1.0, "f", 1), ("b", 1.0, "f", 2), ("c", -2.0, "f", 3)])
    publish(bad, Target(root, MEASURED, "one", {"part": "1"}, WHO))
    few, held = cards.read_slice(root, "quarantine", WHO.stage).card, quarantined(root)
    monkeypatch.setattr(writer, "_MOST_COLLECTED", 1)
    publish(bad, Target(root, MEASURED, "one", {"part": "1"}, WHO))
    assert cards.read_slice(root, "quarantine", WHO.stage).card == few
    assert quarantined(root) == held


def test_arrow_rows_are_judged_and_quarantined_as_those_of_spark(spark: Any, root: DataRoot, tmp_path: Path) -> None:
    given = [("a", 2.0), ("a", 1.0), ("b", -1.0), ("c", None), (None, 5.0), ("d", 4.0)]
    rows = pa.table({"name": [name for name, _ in given], "x": [x for _, x in given]})
    other = DataRoot.of(tmp_path / "other")
    card = quarantine.publish(Target(other, WITHOUT_ORIGIN, "one", {"part": "1"}, WHO), rows)
    assert publish(spark.createDataFrame(rows), Target(root, WITHOUT_ORIGIN, "one", {"part": "1"}, WHO)) == card
    assert card.rows == 2
    for columns in (["source_file", "row_index", "reason"], ["record"]):
        here, there = (delta.read(place, "quarantine", columns, ordered=False).to_pylist() for place in (root, other))
        assert sorted(here, key=str) == sorted(map(json_alike, there), key=str)


def json_alike(row: dict[str, Any]) -> dict[str, Any]:
    """A record as Spark writes JSON: without spaces."""
    return {n: json.dumps(json.loads(v), separators=(",", ":")) if n == "record" else v for n, v in row.items()}


def test_rows_judged_by_the_job_are_counted_and_fingerprinted_as_they_are_written(spark: Any, root: DataRoot) -> None:
    rows = frame(spark, [("a", 1.0, "f", 1), ("b", 2.0, "f", 2)])
    target = Target(root, MEASURED, "one", {"part": "1"}, WHO)
    card = publish(rows, target, judged=2)
    assert card == publish(rows, target)
    with pytest.raises(LakeError, match=r": 2 of 3 rows were written; run the stage again"):
        publish(rows, target, judged=3)
    assert cards.read_slice(root, MEASURED.name, "one").card == card
    broken = frame(spark, [("a", -1.0, "f", 1)])
    with pytest.raises(Exception, match="x_valid"):
        publish(broken, target, judged=1)


def test_two_tables_of_a_stage_share_its_quarantine(spark: Any, root: DataRoot) -> None:
    publish(frame(spark, [("a", -1.0, "f", 1)]), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    other = spark.createDataFrame([(None, 1)], "name string, count32 int")
    nulls = {
        "word": "string",
        "count64": "bigint",
        "x32": "float",
        "x64": "double",
        "flag": "boolean",
        "seen_at": "timestamp",
    }
    empty = other.selectExpr("*", *(f"cast(null as {t}) {n}" for n, t in nulls.items()))
    publish(empty, Target(root, EVERY_TYPE, None, {}, WHO))
    targets = sorted(delta.read(root, "quarantine")["target_table"].to_pylist())
    assert targets == ["every_type", MEASURED.name]


def test_an_empty_frame_makes_an_empty_table(spark: Any, root: DataRoot) -> None:
    card = publish(frame(spark, []), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    assert (card.rows, card.fingerprint) == (0, "0:0:0000000000000000")
    assert read(spark, root, MEASURED.name).count() == 0


def test_the_table_carries_its_contract_and_provenance(spark: Any, root: DataRoot) -> None:
    publish(frame(spark, [("it's", 1.0, "f", 1)]), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    held = DeltaTable(root.table(MEASURED.name))
    properties = held.metadata().configuration
    held_rules = {n.rsplit("_", 1)[0]: sql for n, sql in properties.items() if n.startswith("delta.constraints.")}
    assert set(held_rules) == {f"delta.constraints.{name}" for name in MEASURED.constraints()}
    assert "x <= 100" in held_rules["delta.constraints.x_valid"]
    assert held.schema().fields[2].metadata == {"comment": "number"}
    assert properties["delta.enableDeletionVectors"] == "false"
    assert properties["delta.enableExpiredLogCleanup"] == "false"
    assert '"git_commit": "abc"' in held.history(1)[0]["userMetadata"]
    place = root.table(MEASURED.name)
    with pytest.raises(Exception, match="x_valid"):
        spark.sql(f"INSERT INTO delta.`{place}` SELECT part, 'z', -1D, 'f', 1L, '', '', now() FROM delta.`{place}`")


def test_a_changed_rule_replaces_the_constraint(spark: Any, root: DataRoot) -> None:
    publish(frame(spark, [("a", 1.0, "f", 1)]), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    wider = replace(MEASURED, columns=tuple(replace(c, high=1000) if c.name == "x" else c for c in MEASURED.columns))
    card = publish(frame(spark, [("a", 999.0, "f", 1)]), Target(root, wider, "one", {"part": "1"}, WHO))
    assert card.rows == 1
    properties = DeltaTable(root.table(MEASURED.name)).metadata().configuration
    assert ["1000" in sql for name, sql in properties.items() if "x_valid" in name] == [True]


def test_wrong_columns_and_slices_are_errors(spark: Any, root: DataRoot) -> None:
    rows = frame(spark, [("a", 1.0, "f", 1)])
    with pytest.raises(ContractError, match=r"missing \['x'\], not in the contract \['y'\]"):
        publish(rows.withColumnRenamed("x", "y"), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    with pytest.raises(LakeError, match=r"given by \['part'\], got \[\]"):
        Target(root, MEASURED, None, {}, WHO)


def test_a_lost_table_is_named(spark: Any, root: DataRoot) -> None:
    with pytest.raises(LakeError, match="has not been made yet"):
        read(spark, root, MEASURED.name)
    publish(frame(spark, [("a", 1.0, "f", 1)]), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    Path(root.table(MEASURED.name)).rename(root.local / "gone")
    with pytest.raises(LakeError, match=r"is pinned at version .*dvc repro"):
        read(spark, root, MEASURED.name)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"PAR1")])
def test_lost_files_are_written_over(spark: Any, root: DataRoot, harm: Callable[[Path], object]) -> None:
    rows = frame(spark, [("a", 1.0, "f", 1), ("b", 2.0, "f", 2)])
    card = publish(rows, Target(root, MEASURED, "one", {"part": "1"}, WHO))
    for path in Path(root.table(MEASURED.name)).rglob("part=1/*.parquet"):
        harm(path)
    with pytest.raises(DamagedError, match=rf"'{MEASURED.name}.one' has lost rows .*--deep --repair"):
        read(spark, root, MEASURED.name)
    assert publish(rows, Target(root, MEASURED, "one", {"part": "1"}, WHO)) == card
    assert read(spark, root, MEASURED.name).count() == 2


@given(rows=every_type_rows())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spark_and_arrow_fingerprints_agree(spark: Any, rows: pa.Table) -> None:
    if rows.num_rows:
        found = spark.createDataFrame(rows).agg(*judge.aggregates(EVERY_TYPE)).collect()[0]
        assert render(**found.asDict()) == fingerprint(rows, EVERY_TYPE)


def test_reasons_survive_quotes(spark: Any) -> None:
    text = "it's \\ 'quoted'"
    assert spark.sql(f"SELECT {rules.literal(text, 'spark')} AS t").first()["t"] == text
    assert duckdb.sql(f"SELECT {rules.literal(text, 'duckdb')}").fetchall() == [(text,)]


_CLASSIC = """
import sys
from lake.root import DataRoot
from etl.spark.session import session
from lake.store.writing import Provenance, Target
from etl.tables.writer import publish
from etl.tables.table import read
from tests.etl.specs import MEASURED
from lake import tables
known = tables.spec
tables.spec = lambda name: MEASURED if name == MEASURED.name else known(name)
root = DataRoot.of(sys.argv[1])
spark = session(root, "near")
rows = spark.createDataFrame([("a", 1.0, "f", 1)], "name string, x double, sweep_file string, row_index bigint")
card = publish(rows, Target(root, MEASURED, "one", {"part": "1"}, Provenance("near")))
count = read(spark, root, MEASURED.name).count()
print(type(spark).__module__, spark.sparkContext.master, card.rows, count, card.fingerprint)
"""


def test_the_classic_session_writes_the_same(spark: Any, root: DataRoot, tmp_path: Path) -> None:
    here = publish(frame(spark, [("a", 1.0, "f", 1)]), Target(root, MEASURED, "one", {"part": "1"}, WHO))
    environment = {**os.environ, "DHS_SPARK": "classic", "DHS_SPARK_CORES": "2"}
    for name in ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED"):
        environment.pop(name, None)
    command = [sys.executable, "-c", _CLASSIC, str(tmp_path / "classic")]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["pyspark.sql.session", "local[2]", "1", "1", here.fingerprint]
