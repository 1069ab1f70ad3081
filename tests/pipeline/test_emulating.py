"""`dhs completeness --at` and `--compare-emulator`."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from analysis.results.emulation import Sample
from analysis.statistics.thresholds import Threshold
from lake.errors import DataError, ParameterError
from lake.sky.survey import SURVEY
from lake.store.query import query
from pipeline.commands.selection import completeness
from pipeline.experiment import emulating
from pipeline.experiment.emulating import (
    columns_of,
    completeness_at,
    emulator_compared,
    emulator_tests,
    fit_for,
    parsed,
)
from pipeline.project import params
from tests.pipeline.checkout import Checkout

KNOWN = {"theta_e": "lens_theta_e_arcsec", "src_mag": "src_mag_r", "src_mag_r": "src_mag_r"}
FIXED = Threshold("p0.5", "fixed", 0.5, np.nan, 100, 5, None, 100, 5, 0.05, 0.02, 0.1)


def test_a_point_is_names_and_numbers() -> None:
    assert parsed("theta_e=1.4, src_mag_r=24") == {"theta_e": 1.4, "src_mag_r": 24.0}
    for text in ("theta_e", "theta_e=x", "=3", "theta_e=1,theta_e=2", "theta_e=nan", "theta_e=1,"):
        with pytest.raises(ParameterError, match=rf"'at' must be NAME=NUMBER.*, got '{re.escape(text)}'"):
            parsed(text)


def test_points_that_differ_have_labels_that_differ() -> None:
    near = [emulating._label({"depth": value}) for value in (23.5, 23.50001, 23.5000000001)]
    assert near == ["depth=23.5", "depth=23.50001", "depth=23.5000000001"]


def test_axes_and_columns_name_the_same_parameters() -> None:
    assert columns_of({"theta_e": 1.0, "src_mag_r": 24.0}, KNOWN) == {"lens_theta_e_arcsec": 1.0, "src_mag_r": 24.0}
    with pytest.raises(ParameterError, match="'at' must be one of theta_e, src_mag, src_mag_r, got 'src_magn'; did"):
        columns_of({"src_magn": 24.0}, KNOWN)
    with pytest.raises(ParameterError, match="one value of src_mag_r"):
        columns_of({"src_mag": 24.0, "src_mag_r": 24.0}, KNOWN)


@pytest.mark.parametrize(("options", "named"), [
    (["--at", "theta_e=1", "--by", "depth"], "by"),
    (["--compare-emulator", "--prior", "v1"], "priors"),
    (["--at", "theta_e=1", "--compare-emulator"], "compare-emulator"),
])  # fmt: skip
def test_options_that_do_not_go_together(options: list[str], named: str) -> None:
    error = CliRunner().invoke(completeness, options).exception
    assert isinstance(error, ParameterError)
    assert f"'{named}' must be left out: only --generation, --threshold" in str(error)


def test_thresholds_with_too_few_outcomes_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    rng, levels = (
        np.random.default_rng(0),
        [replace(FIXED, threshold_id=f"p{cut}", threshold=cut) for cut in (0.5, 0.99)],
    )
    rows = pd.DataFrame({"probability": rng.random(500), "galaxy_id": rng.integers(0, 50, 500).astype(str)})
    sample = Sample.of(rows.assign(status="scored", lens_theta_e_arcsec=1.0), SURVEY)
    assert [level.threshold_id for level in fit_for(sample, levels)] == ["p0.5"]
    assert "p0.99: an emulator needs at least 20 detected" in caplog.text
    with pytest.raises(DataError, match=r"p0.99: an emulator needs"):
        fit_for(sample, levels[1:])


@pytest.mark.timeout(900)
def test_on_a_finished_lake(finished: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the median probability: at most thresholds the test survey's network finds all injections, or none."""
    project = params.load(finished.folder)
    text = "select median(probability) as p from injection_scores where generation = 'demo1' and grid_name = 'main'"
    level = replace(FIXED, threshold=query(project.data, text).to_pylist()[0]["p"])
    monkeypatch.setattr(emulating, "thresholds_of", lambda *_: ([level], {}, {}))
    rows = completeness_at(project, [{"theta_e": 1.0, "src_mag": 24.0}, {"src_mag": 30.0}], "demo1", None).to_pandas()
    assert rows["at"].to_list() == ["theta_e=1, src_mag=24", "src_mag=30"]
    assert rows["support"].to_list() == ["inside", "outside"]
    assert 0 < rows["low_95"][0] < rows["completeness"][0] < rows["high_95"][0] < 1
    cells = emulator_compared(project, "demo1", None).to_pandas()
    text = """select cell, n from completeness where generation = 'demo1' and grid_name = 'main' and n > 0
        and source_mag_bin = 'all' and threshold_id = 'p0.5' and cell <> 'marginal' order by cell"""
    stored = query(project.data, text).to_pandas()
    assert cells.sort_values("cell")[["cell", "n"]].to_numpy().tolist() == stored.to_numpy().tolist()
    assert cells["emulator"].between(0, 1).all()
    tests = emulator_tests(project.data, "demo1")
    assert tests[["threshold_id", "cells", "inside"]].to_numpy().tolist() == [
        ["p0.5", len(cells), cells["inside"].sum()]
    ]
