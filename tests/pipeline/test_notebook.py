"""The notebook of docs runs on a finished project, and shows what the tables hold."""

from __future__ import annotations

import json
from typing import Any

import matplotlib as mpl
import pytest

import lake
from lake.errors import ParameterError
from lake.root import DataRoot
from lake.store import delta
from tests import notebook
from tests.pipeline.checkout import PROJECT, Checkout

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("whole_stage")]
NOTEBOOK = json.loads((PROJECT / "docs" / "lake.ipynb").read_text())


@pytest.fixture(scope="module")
def shown(finished: Checkout) -> list[Any]:
    """What every cell shows, run in a folder below the project's."""
    mpl.use("agg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished.folder / "docs")
        return [cell.value for cell in notebook.run(NOTEBOOK)]


def test_the_notebook_shows_what_the_tables_hold(shown: list[Any], finished: Checkout) -> None:
    names, completeness, figure, missed, scores, by_type = shown
    root = DataRoot.of(finished.folder / "data")
    assert {"completeness_main", "tractor_pool"} <= set(names["name"])
    cells = delta.read(root, "completeness").to_pandas()
    cells = cells[(cells.threshold_id == "p0.5") & (cells.source_mag_bin == "all") & (cells.cell != "marginal")]
    assert completeness["n"].sum() == cells["n"].sum() > 0
    assert (completeness["completeness"] * completeness["n"]).sum() == pytest.approx(cells["detected"].sum())
    (axes,) = figure.axes
    assert len(axes.lines) == completeness["generation"].nunique()
    assert (missed["probability"] < 0.5).all()
    assert missed["arc_snr"].is_monotonic_decreasing
    assert scores["count"].sum() == delta.read(root, "scores", slices=["demo1"]).num_rows
    assert by_type["n"].sum() == delta.read(root, "tractor_pool").num_rows


def test_its_stored_results_are_those_of_its_cells(shown: list[Any]) -> None:
    for cell, value in zip(notebook.code_cells(NOTEBOOK), shown, strict=True):
        (stored,) = cell["outputs"]
        assert ("image/png" in stored["data"]) == hasattr(value, "savefig")
        if hasattr(value, "columns"):
            head = "".join(stored["data"]["text/html"]).partition("</thead>")[0]
            assert all(f"<th>{name}</th>" in head for name in value.columns)
    (listed,) = notebook.code_cells(NOTEBOOK)[0]["outputs"]
    assert f"[{len(shown[0])} rows x" in "".join(listed["data"]["text/plain"]), "tables or views have come or gone"


def test_without_a_project_the_data_folder_is_named(
    finished: Checkout, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=r"no params\.yaml in .* or above it: name the data folder"):
        lake.query("select 1")
    count = "select count(*) as n from tractor_pool"
    named = lake.query(count, root=finished.folder / "data")
    monkeypatch.chdir(finished.folder / "pipeline" / "stages")
    assert lake.query(count).equals(named)
    assert lake.read("tractor_pool", ["galaxy_id"]).num_rows == named["n"][0].as_py()


def test_spark_knows_tables_and_views_by_name(finished: Checkout) -> None:
    root = finished.folder / "data"
    spark = lake.spark(root)
    for name in ("manifest", "completeness", "completeness_main"):
        assert spark.table(name).count() == lake.read(name, root=root).num_rows
