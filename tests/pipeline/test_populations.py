"""`dhs population`: expected and listed lenses."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from injection.priors.population import Population, shipped
from lake.errors import ParameterError
from lake.store.query import query
from pipeline.experiment.populations import counted, expected, footprint_deg2, load_population
from pipeline.project import params
from tests.pipeline.checkout import Checkout


def test_the_number_is_a_product_with_its_range() -> None:
    ranges = {
        "lenses_per_deg2": {"low": 1.0, "central": 2.0, "high": 4.0},
        "in_pool": {"low": 0.5, "central": 0.8, "high": 1.0},
    }
    population = Population.load(shipped("collett2015") | ranges, "population")
    rows = pd.DataFrame({"completeness": [0.3], "low_95": [0.2], "high_95": [0.4], "support": [0.75]})
    found = counted(rows, population, 10.0).iloc[0]
    assert found[["lenses_low", "lenses", "lenses_high"]].to_list() == pytest.approx([5.0, 16.0, 40.0])
    assert found["expected_low"] == pytest.approx(5 * 0.75 * 0.2)
    assert found["expected"] == pytest.approx(16 * 0.75 * 0.3)
    assert found["expected_high"] == pytest.approx(40 * (0.75 * 0.4 + 0.25))


def test_a_population_is_shipped_or_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("meaning: mine\n")
    with pytest.raises(ParameterError, match=r"'population .*mine.yaml.citations' is missing"):
        load_population(str(path))
    with pytest.raises(ParameterError, match=r"'population' must be one of collett2015, or a path to a .yaml file"):
        load_population("collett")
    assert load_population("collett2015").citations


@pytest.mark.timeout(900)
def test_on_a_finished_lake(finished: Checkout) -> None:
    project = params.load(finished.folder)
    with pytest.raises(ParameterError, match=r"of 'collett2015', less than 95%"):
        expected(project, "collett2015", None, None, None, 0.95)
    row = expected(project, "collett2015", None, "p0.3", None, 0.5).to_pylist()[0]
    assert 0 < row["expected_low"] < row["expected"] < row["expected_high"] <= row["lenses_high"]
    bricks = query(project.data, "select count(distinct brickname) as n from tractor_pool").to_pylist()[0]["n"]
    side = project.values["cutouts"]["coadd_pixels"] * 0.262 / 3600
    assert row["area_deg2"] == footprint_deg2(project) == pytest.approx(bricks * side**2)
    text = "select tier, count(*) as n from lens_candidates where match_reason = 'matched' group by tier"
    tiers = {each["tier"]: each["n"] for each in query(project.data, text).to_pylist()}
    assert (row["listed_a"], row["listed_b"]) == (tiers["A"], tiers["B"])
    with pytest.raises(ParameterError, match="'area' must be above 0, got -1"):
        expected(project, "collett2015", None, None, -1.0, 0.5)
