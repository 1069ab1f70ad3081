"""Completeness along any axis of the same injections."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.results.injection_views import along, at_values, host_false_positives, midpoints
from analysis.statistics.completeness import completeness_table
from lake.errors import DataError, ParameterError
from tests.analysis.outcomes import fixed
from tests.analysis.report_inputs import counts, injections


@pytest.fixture(scope="module")
def rows():
    frame = injections(0.0)
    return frame.assign(detectable=frame["mag"] < 24.5, host_probability=0.1)


def test_views_agree_with_the_table(rows):
    """Summed over PSF and depth, the same injections give the counts of the stored cells."""
    view = along(rows, {"theta": midpoints(rows["theta"])}, 0.3)
    assert at_values(view, "theta", rows["theta"])["theta_low"].tolist() == sorted(rows["theta"].unique())
    table = completeness_table(counts(rows, "demo1", [fixed([0.1])])).to_pandas()
    cells = table.query("cell != 'marginal' and threshold_id == 'p0.3' and source_mag_bin == 'all'")
    stored = cells.groupby("theta_e_arcsec")[["n", "detected"]].sum()
    assert view["n"].tolist() == stored["n"].tolist()
    assert view["detected"].tolist() == stored["detected"].tolist()
    marginal = table.query("cell == 'marginal' and threshold_id == 'p0.3' and source_mag_bin == 'all'").iloc[0]
    whole = along(rows, {"theta": [0, 99]}, 0.3).iloc[0]
    for name in ("n", "detected", "host_clustered_95_low", "host_clustered_95_high"):
        assert whole[name] == pytest.approx(marginal[name])


def test_a_gridded_parameter_is_shown_at_its_values_however_uneven_they_are(rows):
    uneven = rows.assign(theta=rows["theta"].rank(method="dense").map({1.0: 0.75, 2.0: 1.0, 3.0: 1.25}).fillna(2.5))
    view = at_values(along(uneven, {"theta": midpoints(uneven["theta"])}, 0.3), "theta", uneven["theta"])
    assert view["theta_high"].tolist() == sorted(uneven["theta"].unique())
    assert view["n"].tolist() == uneven[uneven["status"] == "scored"].groupby("theta").size().tolist()


FRAME = injections(0.0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(22.5, 26.5), min_size=2, max_size=6, unique=True))
def test_bins_never_lose_or_double_an_injection(edges):
    edges = sorted(edges)
    view = along(FRAME, {"mag": edges}, 0.3)
    assert view["n"].sum() == FRAME["mag"].between(edges[0], edges[-1]).sum()


def test_two_axes_show_empty_combinations(rows):
    view = along(rows, {"psf": [-0.5, 0.5, 1.5, 2.5], "depth": [-0.5, 0.5, 1.5]}, 0.3)
    assert len(view) == 6
    empty = view[(view["psf_low"] == 1.5) & (view["depth_low"] == -0.5)].iloc[0]
    assert empty["n"] == 0
    assert np.isnan(empty["completeness"])


def test_detectable_lenses_are_another_denominator(rows):
    every, some = (along(rows, {"theta": [0, 9]}, 0.3, only).iloc[0] for only in (False, True))
    assert some["n"] < every["n"]
    assert some["completeness"] > every["completeness"]


def test_failed_injections_are_left_out(rows):
    broken = rows.copy()
    broken.loc[:99, "status"] = "failed"
    broken.loc[:99, "probability"] = np.nan
    assert along(broken, {"theta": [0, 9]}, 0.3)["n"].sum() == len(rows) - 100


def test_each_bare_host_counts_once(rows):
    row = host_false_positives(rows, 0.05).iloc[0]
    assert (row["n"], row["detected"]) == (rows["galaxy_id"].nunique(),) * 2
    unknown = rows["host_probability"].where(rows["galaxy_id"] != rows["galaxy_id"].iloc[0])
    row = host_false_positives(rows.assign(host_probability=unknown), 0.05).iloc[0]
    assert (row["n"], row["completeness"]) == (rows["galaxy_id"].nunique() - 1, 1.0), "an unscored host is no negative"


def test_refusals(rows):
    with pytest.raises(DataError, match="an injection appears twice"):
        along(pd.concat([rows, rows]), {"theta": [0, 9]}, 0.3)
    with pytest.raises(DataError, match="different grids cannot be combined"):
        along(pd.concat([rows, rows.assign(grid_id="other")]), {"theta": [0, 9]}, 0.3)
    with pytest.raises(ParameterError, match="'edges of theta' must be ascending"):
        along(rows, {"theta": [3, 1]}, 0.3)
