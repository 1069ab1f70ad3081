"""Every SQL query that the project shows: it runs, and tells the same after other grids and finders have come."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pytest

import lake
from etl.tables.query import sql
from lake import tables
from lake.root import DataRoot
from lake.store import cards, delta, writing
from lake.store.query import query
from lake.store.writing import Provenance, Target
from pipeline.cli import dhs
from pipeline.finders.reproduce import closing_words
from pipeline.project import params
from pipeline.tables.catalogue import tree
from pipeline.verbs.foreign import question
from tests.pipeline.checkout import PROJECT, Checkout

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("whole_stage")]

_COMMAND = re.compile(r"dhs (query|sql) \"((?:select|with|describe|show|explain) [^\"]+)\"", re.IGNORECASE)
_IN_WORDS = re.compile(r"`(select [^`]+)`", re.IGNORECASE)


def helps(command: click.Command, name: str) -> Iterator[str]:
    """The help of a command and of all below it, as written."""
    context = click.Context(command, info_name=name)
    yield f"{command.help or ''} {command.epilog or ''}"
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from helps(found, below)


def published(folder: Path) -> dict[str, str]:
    """Every query shown, with the command it is shown for."""
    pages = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
    texts = [*(page.read_text() for page in pages), *helps(dhs, "dhs"), closing_words(params.load(folder))]
    found = {}
    for text in texts:
        found |= {" ".join(one[2].split()): one[1] for one in _COMMAND.finditer(text) if "..." not in one[2]}
        found |= {" ".join(one[1].split()): "query" for one in _IN_WORDS.finditer(text) if "..." not in one[1]}
    return found


def changed(rows: pa.Table, **values: str) -> pa.Table:
    """The rows with other values in some columns."""
    for name, value in values.items():
        place = rows.column_names.index(name)
        rows = rows.set_column(place, rows.schema.field(name), pa.array([value] * rows.num_rows, pa.string()))
    return rows


def copied(root: DataRoot, table: str, new: str, **values: str) -> None:
    """Publish a slice like demo1's with other names and identities."""
    entry = cards.read_slice(root, table, "demo1")
    rows = changed(delta.read(root, table, slices=["demo1"]), **values)
    where = {name: values.get(name, value) for name, value in entry.card.where.items()}
    if where == entry.card.where:
        cards.publish(root, replace(entry.card, slice=new), entry.pin)
    else:
        writing.write_slice(Target(root, tables.spec(table), new, where, Provenance("test")), rows)


@pytest.fixture(scope="module")
def crowded(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """The finished lake after `dhs inject`, the audit of another finder, and a model whose results count no longer."""
    folder = tmp_path_factory.mktemp("crowded") / "data"
    for name in ("lake", "cards"):
        shutil.copytree(finished.folder / "data" / name, folder / name)
    root = DataRoot.of(folder)
    for table in ("injections", "injection_scores", "completeness"):
        copied(root, table, "demo1-des46", grid_id="ffff", grid_name="des46")
    for name, checkpoint, status in (("theirs", "aaaa", "valid"), ("bad", "bbbb", "invalidated")):
        other = {"checkpoint_id": checkpoint, "generation": name}
        copied(root, "injections", name)
        for table in ("injection_scores", "completeness", "scores"):
            copied(root, table, name, **other)
        run = {"run_id": f"audit-{name}", "status": status, "status_reason": "a reason"}
        copied(root, "experiments", name, origin=name, **other, **run)
    return root


OF_A_SET = "mine-hsc-wide"
"""Audit of cut-outs that the docs speak of and the chain has not."""


def test_every_published_query_tells_the_same_before_and_after(
    finished: Checkout, crowded: DataRoot, spark: Any
) -> None:
    shown = published(finished.folder)
    assert {"query", "sql"} == set(shown.values())
    assert len(shown) >= 6
    assert sum("completeness_main" in text for text in shown) >= 2
    before = DataRoot.of(finished.folder / "data")
    run = {"query": query, "sql": lambda root, text: sql(spark, root, text).toArrow()}
    for text, command in shown.items():
        if "from set_" in text or "from finder_pairs" in text:  # of cut-outs, of two finders: tested with these
            continue
        answer = run[command](before, text)
        assert answer.num_rows or OF_A_SET in text, text
        assert key(run[command](crowded, text)) == key(answer), text
    of_the_view = next(text for text in shown if "completeness_main" in text)
    assert key(sql(spark, crowded, of_the_view).toArrow()) == key(query(before, of_the_view))


def key(rows: pa.Table) -> list[str]:
    """Rows in an order of their own; sums are decimals here and integers there."""
    return sorted(
        str([float(v) if isinstance(v, int) or hasattr(v, "as_tuple") else v for v in row.values()])
        for row in rows.to_pylist()
    )


def test_completeness_main_is_one_grid_and_valid_results_only(finished: Checkout, crowded: DataRoot) -> None:
    before = lake.read("completeness_main", root=finished.folder / "data")
    assert before.equals(lake.read("completeness", root=finished.folder / "data"))
    whole, view = (lake.read(name, root=crowded).to_pandas() for name in ("completeness", "completeness_main"))
    assert sorted(whole.generation.unique()) == ["bad", "demo1", "theirs"]
    assert sorted(whole.grid_name.unique()) == ["des46", "main"]
    assert sorted(view.generation.unique()) == ["demo1", "theirs"]
    assert view.grid_name.unique().tolist() == ["main"]
    assert view.grid_id.nunique() == 1
    assert len(view) == 2 * len(before)
    assert len(lake.read("injections", root=crowded)) == 2 * len(lake.read("injections", root=finished.folder / "data"))


def test_of_two_main_grids_the_newer_one_is_shown(crowded: DataRoot, tmp_path: Path) -> None:
    shutil.copytree(crowded.local, tmp_path / "data")
    root = DataRoot.of(tmp_path / "data")
    entry = cards.read_slice(root, "completeness", "theirs")
    rows = changed(delta.read(root, "completeness", slices=["theirs"]), grid_id="old", generation="old")
    place = rows.column_names.index("extracted_at")
    early = pa.array([0] * len(rows), rows.schema.field("extracted_at").type)
    rows = rows.set_column(place, rows.schema.field("extracted_at"), early)
    where = {**entry.card.where, "grid_id": "old", "generation": "old"}
    writing.write_slice(Target(root, tables.spec("completeness"), "old", where, Provenance("test")), rows)
    assert "old" in lake.read("completeness", root=root)["generation"].to_pylist()
    assert lake.read("completeness_main", root=root).equals(lake.read("completeness_main", root=crowded))


def test_the_query_that_inject_shows_is_about_its_own_rows(finished: Checkout, crowded: DataRoot) -> None:
    rows = query(crowded, question("demo1")).to_pandas()
    assert set(zip(rows.generation, rows.grid_name, rows.cell, strict=True)) == {("demo1", "des46", "marginal")}
    assert not query(DataRoot.of(finished.folder / "data"), question("demo1")).num_rows


def test_a_view_comes_from_the_tables_it_reads(finished: Checkout) -> None:
    root = DataRoot.of(finished.folder / "data")
    lines = tree(root, "completeness_main").splitlines()
    for start in ("table completeness.demo1", "table experiments.demo1"):
        assert any(line.startswith(start) for line in lines), start


def test_a_view_has_no_slices(crowded: DataRoot) -> None:
    from lake.errors import ParameterError

    with pytest.raises(ParameterError, match="'slices' must be None of the view 'completeness_main'"):
        lake.read("completeness_main", slices=["demo1"], root=crowded)
    assert lake.read("completeness_main", ["n"], root=crowded).column_names == ["n"]
