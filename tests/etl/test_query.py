"""Tables by name: the same answers from Spark and without a JVM, at pinned versions, other versions and revisions."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from etl.query import sql
from lake import tables
from lake.delta import write_slice
from lake.errors import LakeError, ParameterError
from lake.query import query
from lake.root import DataRoot

COUNTS = tables.spec("ingest_counts")


def write(root: DataRoot, stage: str, rows: dict[str, int]) -> None:
    """Publish counts of one stage, without a JVM."""
    values = {
        "stage": [stage] * len(rows),
        "source_file": list(rows),
        "outcome": ["kept"] * len(rows),
        "reason": [""] * len(rows),
        "rows": list(rows.values()),
        "sha256": [None] * len(rows),
        "pipeline_version": ["1"] * len(rows),
        "git_commit": ["c"] * len(rows),
        "extracted_at": [0] * len(rows),
    }
    write_slice(
        root, COUNTS, pa.table(values, schema=COUNTS.arrow_schema()), stage, {"stage": stage}, code={}, inputs={}
    )


@pytest.fixture
def filled(root: DataRoot) -> DataRoot:
    """Two slices; the first was written twice, so that an early version differs from the pins."""
    write(root, "pool:1", {"a": 100})
    write(root, "near", {"b": 2})
    write(root, "pool:1", {"a": 1, "c": 3})
    return root


QUESTIONS = (
    "SELECT source_file, rows FROM ingest_counts ORDER BY source_file",
    "select stage, sum(rows) as n from INGEST_COUNTS group by stage order by n desc",
    "WITH c AS (SELECT * FROM ingest_counts WHERE stage = 'near') SELECT count(*) AS n FROM c",
    "SELECT sha256, rows FROM ingest_counts ORDER BY sha256, rows LIMIT 2",
    "SELECT percentile(rows, 0.5) AS middle, concat_ws('-', collect_set(outcome)) AS seen FROM ingest_counts",
    "SELECT i.rows FROM ingest_counts i JOIN ingest_counts VERSION AS OF 2 old ON i.source_file = old.source_file",
)


@pytest.mark.parametrize("text", QUESTIONS)
def test_spark_and_duckdb_answer_alike(spark: Any, filled: DataRoot, text: str) -> None:
    with_spark = [row.asDict() for row in sql(spark, filled, text).collect()]
    assert query(filled, text).to_pylist() == with_spark
    assert with_spark


def test_an_earlier_version_is_read_whole(filled: DataRoot) -> None:
    import re

    from deltalake import DeltaTable

    last = DeltaTable(filled.table("ingest_counts")).version()
    answer = query(filled, f"SELECT sum(rows) AS n FROM ingest_counts VERSION AS OF {last - 1}")
    assert answer.to_pylist() == [{"n": 102}]
    with pytest.raises(LakeError, match=re.escape("'ingest_counts' has no version 99")):
        query(filled, "SELECT * FROM ingest_counts VERSION AS OF 99")


def test_a_revision_answers_from_the_pins_committed_then(
    filled: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = DataRoot.of("data")
    for command in (
        ["init", "-q"],
        ["add", "-f", "data/cards"],
        ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "1"],
    ):
        subprocess.run(["git", *command], check=True)
    write(here, "near", {"b": 50})
    text = "SELECT sum(rows) AS n FROM ingest_counts"
    assert query(here, text).to_pylist() == [{"n": 54}]
    assert query(here, text, at="HEAD").to_pylist() == [{"n": 6}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT * FROM nothing", "'table' must be one of .*got 'nothing'"),
        ("SELECT * FROM other.scores", r"'table' must be one of .*got 'other\.scores'"),
        ("DELETE FROM scores", "'SQL' must be a query"),
        ("SELECT FROM WHERE", r"not understood as SQL \(line 1\)"),
        ("SELECT * FROM scores VERSION AS OF 'x'", "'version' must be given as"),
        ("SELECT missing FROM ingest_counts", "the query cannot be answered: there is no column 'missing'; DESCRIBE"),
        ("SELECT sorce_file FROM ingest_counts", r"no column 'sorce_file'; near names are source_file$"),
        ("SELECT i.stages FROM ingest_counts i", r"no column 'stages'; near names are stage$"),
        ("SELECT nosuch(rows) FROM ingest_counts", r"^the query cannot be answered: [^\n]*nosuch[^\n]*$"),
        ("  ; ", "'SQL' must be a query, such as .*, got 'nothing'"),
        ("DESCRIBE nothing", "'table' must be one of .*completeness_main.*got 'nothing'"),
        ("SHOW DATABASES", "'SQL' must be a query, DESCRIBE <table>, SHOW TABLES or EXPLAIN <query>"),
        ("SELECT * FROM completeness_main VERSION AS OF 1", "'version' must be of a table; the view"),
    ],
)
def test_what_cannot_be_answered_is_explained(filled: DataRoot, text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        query(filled, text)


def test_a_table_not_made_yet_is_named(root: DataRoot) -> None:
    with pytest.raises(LakeError, match="'scores' has not been made yet; run `dvc repro`"):
        query(root, "SELECT * FROM scores")


def test_an_empty_slice_has_the_contracts_columns(root: DataRoot) -> None:
    write(root, "near", {})
    assert query(root, "SELECT * FROM ingest_counts").column_names == list(COUNTS.names)


def test_the_names_and_columns_are_told_without_a_query(filled: DataRoot) -> None:
    shown = {row["name"]: row["kind"] for row in query(filled, "show tables;").to_pylist()}
    assert shown == dict.fromkeys(tables.names(), "table") | {"completeness_main": "view"}
    for text in ("describe ingest_counts", "DESC TABLE Ingest_Counts ;"):
        columns = {row["col_name"]: row for row in query(filled, text).to_pylist()}
        assert tuple(columns) == COUNTS.names
        assert columns["rows"]["data_type"] == "bigint"
        assert columns["rows"]["comment"] == COUNTS.column("rows").meaning
    assert query(filled, "describe completeness_main").num_rows == len(tables.spec("completeness").columns)
    planned = query(filled, "explain select sum(rows) from ingest_counts where stage = 'near'").to_pylist()
    assert "sum" in planned[0]["explain_value"]
    asked = query(filled, "describe select rows as n from ingest_counts").to_pylist()
    assert [(row["column_name"], row["column_type"]) for row in asked] == [("n", "BIGINT")]
