"""What `dhs describe` tells of a table and of a view."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from lake import tables
from lake.errors import LakeError, ParameterError, not_one_of
from lake.root import DataRoot
from lake.store import writing
from lake.store.writing import Provenance, Target
from pipeline.tables.catalogue import description, tree

COUNTS = tables.spec("ingest_counts")


def write(root: DataRoot, stage: str, rows: int) -> None:
    values = {name: [0] if kind in ("bigint", "timestamp") else ["x"] for name, kind in types()}
    values |= {"stage": [stage], "outcome": ["kept"], "rows": [rows], "sha256": [None]}
    made = pa.table(values, schema=COUNTS.arrow_schema())
    where = {"stage": stage}
    writing.write_slice(
        Target(root, COUNTS, stage, where, Provenance("test", {"git_commit": "c0ffee"}, {"file:sweep.fits": "123@4"})),
        made,
    )


def types() -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in COUNTS.columns]


def test_a_table_has_columns_slices_pins_and_inputs(root: DataRoot) -> None:
    for stage in ("pool", "near"):
        write(root, stage, 1234)
    said = description(root, "Ingest_Counts")
    lines = [line.split() for line in said.splitlines()]
    assert said.startswith(f"ingest_counts: {COUNTS.meaning}\nkey: stage, ")
    for column in COUNTS.columns:
        assert [column.name, column.type] in [line[:2] for line in lines]
        assert column.meaning in said
    assert "ingest_counts: 2 rows" in said
    assert re.search(r"^  near: 1 rows, version \d+, commit c0ffee, 1:-?\d", said, re.MULTILINE)
    assert said.count("    from file sweep.fits  123@4") == 2


def test_a_view_names_its_tables_and_its_query(root: DataRoot) -> None:
    said = description(root, "completeness_main")
    assert said.startswith("completeness_main (view of completeness, experiments): ")
    assert "theta_e_arcsec" in said
    assert "experiments has not been made yet; run `dvc repro`" in said
    assert said.endswith("status <> 'valid')")


def test_another_name_is_refused(root: DataRoot) -> None:
    with pytest.raises(ParameterError, match=r"'table' must be one of .*got 'completenes'"):
        description(root, "completenes")


def test_in_a_new_project_there_is_nothing_to_trace(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="nothing has been made yet, so there is nothing to trace: run `dvc repro`"):
        tree(DataRoot(tmp_path), "demo1")


def test_where_no_name_is_known_the_sentence_is_whole() -> None:
    assert str(not_one_of("name", [], "demo1")) == "'name' must be one of those that are here (none is), got 'demo1'"
