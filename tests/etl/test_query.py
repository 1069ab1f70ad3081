"""Tables by name: the same answers from Spark and without a JVM, at pinned versions, other versions and revisions."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.errors import PySparkException

from etl.tables.query import parse, sql
from lake import tables
from lake.errors import LakeError, ParameterError
from lake.root import DataRoot
from lake.store import status, views, writing
from lake.store.delta import read, where_sql
from lake.store.query import query
from lake.store.writing import Provenance, Target
from pipeline.project.edge import spark_sentence
from tests.pipeline.smallruns import project_with_runs

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
    writing.write_slice(
        Target(root, COUNTS, stage, {"stage": stage}, Provenance("test")),
        pa.table(values, schema=COUNTS.arrow_schema()),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slices; the first was written twice, so that an early version differs from the pins."""
    made = DataRoot.of(tmp_path_factory.mktemp("filled") / "data")
    write(made, "pool:1", {"a": 100})
    write(made, "near", {"b": 2})
    write(made, "pool:1", {"a": 1, "c": 3})
    return made.local


@pytest.fixture
def filled(root: DataRoot, written: Path) -> DataRoot:
    """A copy of them."""
    shutil.copytree(written, root.local)
    return root


QUESTIONS = (
    "SELECT source_file, rows FROM ingest_counts ORDER BY source_file",
    "select stage, sum(rows) as n from INGEST_COUNTS group by stage order by n desc",
    "WITH c AS (SELECT * FROM ingest_counts WHERE stage = 'near') SELECT count(*) AS n FROM c",
    "SELECT sha256, rows FROM ingest_counts ORDER BY sha256, rows LIMIT 2",
    "WITH ingest_counts AS (SELECT rows FROM ingest_counts WHERE rows > 1) SELECT sum(rows) AS n FROM ingest_counts",
    "SELECT a.rows FROM ingest_counts a JOIN ingest_counts b USING (source_file) ORDER BY rows",
)


@pytest.mark.parametrize("text", QUESTIONS)
def test_spark_and_duckdb_answer_alike(spark: Any, filled: DataRoot, text: str) -> None:
    with_spark = [row.asDict() for row in sql(spark, filled, text).collect()]
    assert query(filled, text).to_pylist() == with_spark
    assert with_spark


def test_an_earlier_version_is_read_whole(filled: DataRoot) -> None:
    from deltalake import DeltaTable

    last = DeltaTable(filled.table("ingest_counts")).version()
    answer = query(filled, f"SELECT sum(ingest_counts.rows) AS n FROM ingest_counts AT (VERSION => {last - 1})")
    assert answer.to_pylist() == [{"n": 102}]
    both = f"FROM ingest_counts i JOIN ingest_counts old AT (VERSION => {last - 1}) USING (source_file) SELECT i.rows"
    assert sorted(row["rows"] for row in query(filled, both).to_pylist()) == [1, 2]
    with pytest.raises(LakeError, match=re.escape("'ingest_counts' has no version 99")):
        query(filled, "SELECT * FROM ingest_counts AT (VERSION => 99)")


def test_spark_reads_an_earlier_version_whole(spark: Any, filled: DataRoot) -> None:
    from deltalake import DeltaTable

    last = DeltaTable(filled.table("ingest_counts")).version()
    text = (
        f"SELECT sum(old.rows) AS n, count(i.rows) AS kept FROM ingest_counts VERSION AS OF {last - 1} old "
        "LEFT JOIN ingest_counts i ON i.source_file = old.source_file"
    )
    assert sql(spark, filled, text).collect()[0].asDict() == {"n": 102, "kept": 2}


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
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir("/")
        assert query(filled, text, at="HEAD").to_pylist() == [{"n": 6}], "the repository is that of the cards"
    for odd in ("--output=x", "-r", "", "HEAD..HEAD", "HEAD:data", "no such"):
        with pytest.raises(ParameterError, match=f"'at' must be a commit, branch or tag .* got '{re.escape(odd)}'"):
            query(here, text, at=odd)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "data"]
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "none"))
    with pytest.raises(LakeError, match="revisions need a git repository"):
        query(here, text, at="HEAD")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT * FROM nothing", "'table' must be one of .*got 'nothing'"),
        ("SELECT * FROM other.scores", r"'table' must be one of .*got 'other\.scores'"),
        ("DELETE FROM scores", "'SQL' must be one query"),
        ("SELECT 1; SELECT 2", "'SQL' must be one query"),
        ("SELECT rows FROM ingest_counts; COPY (SELECT 1) TO 'x.csv'", "'SQL' must be one query"),
        ("ATTACH 'x.db'", "'SQL' must be one query"),
        ("INSTALL httpfs", "'SQL' must be one query"),
        ("SET threads = 1", "'SQL' must be one query"),
        ("CALL enable_logging()", "'SQL' must be one query"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'", "'SQL' must be one query"),
        ("WITH x AS (COPY (SELECT 1) TO 'x.csv') SELECT 1", "'SQL' must be a query that only reads, got 'COPY'"),
        ("FROM (WITH x AS (DELETE FROM ingest_counts RETURNING *) FROM x)", "that only reads, got 'DELETE'"),
        ("SELECT * FROM 'https://example.org/x.csv'", "'table' must be one of"),
        ("SELECT * FROM read_parquet('https://example.org/x')", "requires the extension httpfs to be loaded"),
        ("SELECT * FROM read_text('/etc/hostname')", r"'SQL' must be about tables and files \(read_csv, .*'read_text'"),
        ("SELECT * FROM query('SELECT 1')", "'SQL' must be about tables and files"),
        ("SELECT (SELECT x FROM Enable_Logging(storage_path = 'x'))", "'SQL' must be about tables and files"),
        ("SELECT * FROM information_schema.tables", r"'table' must be one of .*got 'information_schema\.tables'"),
        ("SELECT * FROM filled", "'table' must be one of .*got 'filled'"),
        ("SELECT FROM WHERE", "not understood as DuckDB's SQL: syntax error"),
        ("SELECT * FROM scores VERSION AS OF 1", r"not understood as DuckDB's SQL: .*`dhs sql` speaks Spark's"),
        ("SELECT * FROM scores AT (TIMESTAMP => now())", "'version' must be given as 'scores AT"),
        ("SELECT * FROM scores AT (VERSION => 'x')", "'version' must be given as .*got 'x'"),
        ("SELECT missing FROM ingest_counts", "the query failed: there is no column 'missing'; DESCRIBE"),
        ("SELECT sorce_file FROM ingest_counts", r"no column 'sorce_file'; similar names are source_file$"),
        ("SELECT i.stages FROM ingest_counts i", r"no column 'stages'; similar names are stage$"),
        ("SELECT nosuch(rows) FROM ingest_counts", r"^the query failed: [^\n]*nosuch[^\n]*$"),
        ("  ; ", "'SQL' must be a query, such as .*, got 'nothing'"),
        ("DESCRIBE nothing", "'table' must be one of .*completeness_main.*got 'nothing'"),
        ("SELECT * FROM completeness_main AT (VERSION => 1)", "'version' must be that of a table; the view"),
    ],
)
def test_what_cannot_be_answered_is_explained(filled: DataRoot, text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        query(filled, text)
    assert not Path("x.csv").exists()


EXECUTING = (
    "SELECT TRANSFORM(rows) USING 'touch executed' AS x FROM ingest_counts",
    "SELECT MAP(rows) USING 'touch executed' AS x FROM ingest_counts",
    "FROM ingest_counts REDUCE rows USING 'touch executed' AS x",
    "SELECT reflect('java.lang.System', 'getenv', 'HOME')",
    "SELECT `reflect`/**/('java.lang.System', 'getenv', 'HOME')",
    "SELECT try_reflect('java.lang.System', 'getenv', 'HOME')",
    "SELECT java_method('java.lang.System', 'getenv', 'HOME')",
    "SELECT * FROM IDENTIFIER('csv.`/etc/hostname`')",
    "SELECT IDENTIFIER('reflect')('java.lang.System', 'getenv', 'HOME')",
    "SELECT * FROM csv.`/etc/hostname`",
    "SELECT * FROM parquet.`data`",
    "WITH `/etc/hostname` AS (SELECT 1 AS x) SELECT * FROM text.`/etc/hostname`",
    "SELECT * FROM (WITH c AS (SELECT 1 AS x) SELECT * FROM c) JOIN c",
    "WITH c AS (SELECT * FROM d), d AS (SELECT 1 AS x) SELECT * FROM c",
)


@pytest.mark.parametrize("text", EXECUTING)
def test_no_query_runs_a_program_calls_java_or_names_a_path(text: str) -> None:
    with pytest.raises(ParameterError, match=r"'SQL' must be|'table' must be|not understood as SQL"):
        parse(text)


def test_spark_refuses_a_plan_that_executes_however_it_was_written(
    spark: Any, filled: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of the text is blinded: Spark's own plan is what counts then."""
    monkeypatch.setattr("etl.tables.query._refuse_execution_in_text", lambda tree: None)
    with pytest.raises(ParameterError, match=r"'SQL' must be a query that neither runs .* got 'ScriptTransformation'"):
        sql(spark, filled, EXECUTING[0])
    with pytest.raises(ParameterError, match=r"'SQL' must be a query that neither runs .* got 'reflect"):
        sql(spark, filled, EXECUTING[3])


def test_text_of_a_query_is_not_filled_in_from_the_environment(spark: Any, filled: DataRoot) -> None:
    text = "SELECT '${env:HOME} ${system:user.home} ${spark.app.name}' AS x"
    assert sql(spark, filled, text).collect()[0]["x"] == "${env:HOME} ${system:user.home} ${spark.app.name}"


def test_the_dialect_is_duckdbs(filled: DataRoot) -> None:
    text = "FROM ingest_counts SELECT source_file, list_transform([rows], lambda x: x + 1) AS read_text ORDER BY rows"
    assert query(filled, text)["read_text"].to_pylist() == [[2], [3], [4]]
    wide = query(filled, "PIVOT ingest_counts ON stage IN ('near', 'pool:1') USING sum(rows) GROUP BY outcome")
    assert [float(v) for v in wide.to_pylist()[0].values() if v != "kept"] == [2, 4]
    assert query(filled, "SUMMARIZE ingest_counts")["column_name"].to_pylist() == list(COUNTS.names)


def test_files_of_ones_own_are_read_beside_the_lake(filled: DataRoot, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("source_file,weight\na,2.5\n")
    text = f"SELECT rows * weight AS x FROM ingest_counts JOIN read_csv('{tmp_path}/mine.csv') USING (source_file)"
    assert query(filled, text)["x"].to_pylist() == [2.5]
    folder = tmp_path / "it's"
    (tmp_path / "mine.csv").rename(folder.mkdir() or folder / "mine.csv")
    assert query(filled, text.replace(f"{tmp_path}/", ""), files=folder)["x"].to_pylist() == [2.5]


@pytest.mark.timeout(60)
def test_ctrl_c_ends_a_query_that_takes_hours(filled: DataRoot) -> None:
    hours = "SELECT count(*) FROM range(1000000000) a, range(1000000) b WHERE a.range % 7 = b.range % 5"
    pressed = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    pressed.start()
    with pytest.raises(KeyboardInterrupt):
        query(filled, hours)


def test_what_spark_says_is_one_sentence(spark: Any, filled: DataRoot) -> None:
    with pytest.raises(PySparkException) as caught:
        sql(spark, filled, "SELECT rowss FROM ingest_counts").collect()
    said = spark_sentence(caught.value)
    assert said.startswith("A column, variable, or function parameter with name `rowss` cannot be resolved.")
    assert "`rows`" in said
    assert "\n" not in said
    assert "SQLSTATE" not in said


def test_a_slices_predicate_cannot_be_left(filled: DataRoot) -> None:
    with pytest.raises(ParameterError, match="'where' must be made of letters"):
        where_sql({"stage": "a' OR '1' = '1"})


def test_a_path_with_spaces_and_letters_beyond_ascii_is_read(spark: Any, tmp_path: Path) -> None:
    here = DataRoot.of(tmp_path / "my däta 100%")
    write(here, "near", {"b": 2})
    text = "SELECT sum(rows) AS n FROM ingest_counts"
    assert query(here, text).to_pylist() == [{"n": 2}]
    assert read(here, "ingest_counts", ["rows"]).to_pylist() == [{"rows": 2}]
    assert sql(spark, here, text).collect()[0]["n"] == 2


def test_a_table_not_made_yet_is_named(root: DataRoot) -> None:
    with pytest.raises(LakeError, match="'scores' has not been made yet; run `dvc repro`"):
        query(root, "SELECT * FROM scores")


def test_an_empty_slice_has_the_contracts_columns(root: DataRoot) -> None:
    write(root, "near", {})
    assert query(root, "SELECT * FROM ingest_counts").column_names == list(COUNTS.names)


def test_the_names_and_columns_are_told_without_a_query(filled: DataRoot) -> None:
    shown = {row["name"]: row["kind"] for row in query(filled, "show tables;").to_pylist()}
    assert shown == dict.fromkeys(tables.names(), "table") | dict.fromkeys(views.VIEWS, "view")
    for text in ("describe ingest_counts", "DESC TABLE Ingest_Counts ;", 'show "ingest_counts"'):
        columns = {row["col_name"]: row for row in query(filled, text).to_pylist()}
        assert tuple(columns) == COUNTS.names
        assert columns["rows"]["data_type"] == "bigint"
        assert columns["rows"]["comment"] == COUNTS.column("rows").meaning
    assert query(filled, "describe completeness_main").num_rows == len(tables.spec("completeness").columns)
    planned = query(filled, "explain select sum(rows) from ingest_counts where stage = 'near'").to_pylist()
    assert "sum" in planned[0]["explain_value"]
    (measured,) = query(filled, "EXPLAIN  ANALYZE select sum(rows) from ingest_counts").to_pylist()
    assert "Total Time" in measured["explain_value"]
    asked = query(filled, "describe select rows as n from ingest_counts").to_pylist()
    assert [(row["column_name"], row["column_type"]) for row in asked] == [("n", "BIGINT")]


def test_results_of_invalidated_runs_are_left_out_of_both(root: DataRoot, spark: Any) -> None:
    project = project_with_runs(root.local.parent)
    status.decide(project.data, "train-demo1", "invalidated", "it's \\ wrong")
    status.decide(project.data, "train-demo2", "restored", "not this one")
    for text in (
        "select generation, count(*) as n from completeness group by generation",
        "select generation, count(*) as n from completeness_main group by generation",
        "select origin, status, status_reason from experiments order by origin",
    ):
        assert sql(spark, project.data, text).toArrow().to_pylist() == query(project.data, text).to_pylist()
        assert "demo2" in str(query(project.data, text).to_pylist())
    status.decide(project.data, "train-demo2", "invalidated", "this one too")
    text = "select generation from completeness"
    assert sql(spark, project.data, text).count() == query(project.data, text).num_rows == 0
    assert sql(spark, project.data, text, invalid_too=True).count() == 2
