"""A lake that holds the tables of two surveys shows each its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lake.errors import LakeError
from lake.root import DataRoot
from lake.store import cards, delta, writing
from lake.store.query import query
from lake.store.writing import Provenance, Target
from pipeline.tables.catalogue import listing, tree
from tests.lake.gates import SPEC, gate, rows


@pytest.fixture
def mine(root: DataRoot) -> DataRoot:
    """The root of one survey; the table of gates holds a slice of it, one of another, and one of none."""
    for run, survey in (("a", "mine"), ("b", "theirs"), ("c", None)):
        inputs = {} if survey is None else {cards.SURVEY: survey}
        writing.write_slice(
            Target(root, SPEC, run, {"run_id": run}, Provenance("test", {}, inputs)), rows(gate(run, "x"))
        )
    return replace(root, survey_name="mine")


def test_rows_of_another_survey_are_not_read(mine: DataRoot) -> None:
    assert delta.read(mine, "gates", ["run_id"])["run_id"].to_pylist() == ["a", "c"]
    assert query(mine, "select run_id from gates order by 1")["run_id"].to_pylist() == ["a", "c"]
    assert delta.read(mine.of_any_survey, "gates").num_rows == 3


def test_a_table_of_another_survey_alone_says_whose_it_is(mine: DataRoot) -> None:
    whose = "was made for the survey 'theirs', and params.yaml names 'mine': run `dvc repro` to make it"
    with pytest.raises(LakeError, match=whose):
        delta.read(mine, "gates", slices=["b"])
    with pytest.raises(LakeError, match=whose):
        cards.read_slice(mine, "gates", "b")
    for run in ("a", "c"):
        cards.remove(mine, "gates", run)
    assert cards.tables(mine) == []
    with pytest.raises(LakeError, match=whose):
        query(mine, "select * from gates")


def test_listing_and_lineage_mark_them(mine: DataRoot) -> None:
    told = listing(mine).splitlines()
    assert next(line for line in told if line.startswith("gates")).endswith("[a, c]")
    assert told[-1] == "not read: 1 tables or slices of the survey 'theirs'; params.yaml names 'mine'"
    assert "not read" not in listing(mine.of_any_survey)
    assert tree(mine, "gates.b").splitlines()[1].strip() == "survey  theirs"
