"""Completeness rows: denominators, marginals, refusals, and the contract of the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.statistics.completeness import completeness_table, with_intervals
from analysis.statistics.intervals import clustered, jeffreys
from lake import tables
from lake.errors import DataError
from tests.analysis.cells import RATES, cells, cluster_sums


def counted(rows):
    """The cells with their marginals, as SQL counts them; every host served once."""
    sums = rows.groupby(["threshold_id", "source_mag_bin"], as_index=False)[["n", "detected", "failed", "hosts"]].sum()
    same = rows[["grid_id", "grid_name", "generation", "checkpoint_id", "weighting_id", "prior", "threshold"]].iloc[0]
    return pd.concat([rows, sums.assign(cell="marginal", **same)], ignore_index=True)


def marginal(rows, name="all"):
    """The marginal of one magnitude bin as the table holds it."""
    frame = completeness_table(rows).to_pandas()
    return frame[(frame["cell"] == "marginal") & (frame["source_mag_bin"] == name)].iloc[0]


def test_intervals_and_columns():
    rows = with_intervals(cells())
    low, high = jeffreys(rows["detected"], rows["n"], 0.95)
    assert rows["jeffreys_95_low"].to_numpy() == pytest.approx(low)
    assert rows["jeffreys_95_high"].to_numpy() == pytest.approx(high)
    assert (rows["jeffreys_68_low"] >= rows["jeffreys_95_low"]).all()
    assert (rows["completeness"] == rows["detected"] / rows["n"]).all()


def test_failures_never_enter_a_denominator():
    few, many = with_intervals(cells(failed=0)), with_intervals(cells(failed=150))
    names = ["n", "completeness", "jeffreys_95_low", "jeffreys_95_high"]
    pd.testing.assert_frame_equal(few[names], many[names])


def test_a_marginal_is_one_ratio_not_an_average_of_bins():
    """The mistake of the reference: 2.6 % reported where 818 / 110,000 = 0.74 % were detected."""
    uneven = cells(rates={"23-24": 0.2, "24-25": 0.01})
    uneven.loc[uneven["source_mag_bin"] == "24-25", "n"] *= 20
    total = uneven["source_mag_bin"] == "all"
    parts = uneven[~total].groupby("cell")[["n", "detected"]].sum()
    for name in ("n", "detected", "hosts"):
        uneven.loc[total, name] = parts["n" if name == "hosts" else name].to_numpy()
    row = marginal(counted(uneven))
    assert row["completeness"] == pytest.approx(parts["detected"].sum() / parts["n"].sum())
    averaged = (uneven[~total]["detected"] / uneven[~total]["n"]).mean()
    assert averaged > 2 * row["completeness"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 1)), min_size=1, max_size=12))
def test_marginal_is_additive(counts):
    template = cells().iloc[3]
    rows = pd.DataFrame(
        [
            {**template, "cell": str(i), "n": n, "hosts": n, "detected": int(n * share)}
            for i, (n, share) in enumerate(counts)
        ]
    )
    row = marginal(counted(rows))
    assert row["n"] == rows["n"].sum()
    if row["n"]:
        assert row["completeness"] == rows["detected"].sum() / rows["n"].sum()
    else:
        assert np.isnan(row["completeness"])


def test_empty_cell_says_so():
    rows = cells()
    rows.loc[0, ["n", "detected", "hosts"]] = 0
    rows = with_intervals(rows)
    assert rows.loc[0, ["completeness", "jeffreys_95_low", "host_clustered_95_high"]].isna().all()


@pytest.mark.parametrize("name", ["grid_id", "grid_name", "checkpoint_id", "generation", "weighting_id", "prior"])
def test_different_grids_models_and_priors_are_not_combined(name):
    other = cells().assign(**{name: "other"})
    with pytest.raises(DataError, match=f"different '{name}' cannot be combined"):
        completeness_table(pd.concat([cells(), other]))


def test_thresholds_of_different_runs_are_not_combined():
    with pytest.raises(DataError, match=r"threshold 'p0\.3' has more than one value"):
        completeness_table(pd.concat([cells(), cells().assign(threshold=0.31, cell="9/0/0")]))


def test_a_marginal_over_sub_bins_is_refused():
    broken = counted(cells())
    broken.loc[broken["source_mag_bin"] == "all", "n"] -= 200
    with pytest.raises(DataError, match="hold more injections than bin 'all'"):
        completeness_table(broken)


@pytest.mark.parametrize("column", ["n", "detected"])
def test_a_marginal_that_does_not_count_its_cells_is_refused(column):
    rows = counted(cells())
    rows.loc[rows["cell"] == "marginal", column] -= 1
    for wrong in (rows, cells(), counted(cells()).query("source_mag_bin != 'all' or cell != 'marginal'")):
        with pytest.raises(DataError, match="the marginal rows do not count the same injections as their cells"):
            completeness_table(wrong)


def test_impossible_counts_are_refused():
    with pytest.raises(DataError, match="break detected <= n"):
        with_intervals(cells().assign(detected=10_000))
    with pytest.raises(DataError, match="counts lack failed"):
        with_intervals(cells().drop(columns="failed"))


def test_host_sums_widen_the_interval():
    """Ten injections per host that share its fate: the sums give the interval of hosts, not of injections."""
    rows = cells(rates={"all": 0.3}, thetas=(1.0,)).iloc[[0]].assign(n=400, detected=120, hosts=40)
    assert with_intervals(rows)["host_clustered_95_low"].isna().all()
    shared = rows.assign(host_detected_sq=12 * 100.0, host_detected_n=12 * 100.0, host_n_sq=40 * 100.0)
    found = with_intervals(shared).iloc[0]
    low, high = jeffreys(12, 40, 0.95)
    assert found["host_clustered_95_low"] == pytest.approx(low[0], abs=0.02)
    assert found["host_clustered_95_high"] == pytest.approx(high[0], abs=0.02)


def test_table_meets_its_contract():
    table = completeness_table(counted(cells()))
    spec = tables.spec("completeness")
    assert table.column_names == [c.name for c in spec.columns if c.role != "lineage"]
    frame = table.to_pandas()
    assert set(frame.loc[frame["cell"] == "marginal", "source_mag_bin"]) == {*RATES, "all"}
    assert frame.loc[frame["cell"] == "marginal", "theta_e_arcsec"].isna().all()
    assert not frame.duplicated(list(spec.key)).any()


def recurring(radii=10, hosts=120):
    """The same hosts at every Einstein radius, each used once per cell; a host finds all of its arcs or none."""
    hit = np.arange(hosts) < 40
    one = cells(rates={"all": 0.3}, thetas=(1.0,)).iloc[[0]]
    sums = {"host_detected_sq": 40, "host_detected_n": 40, "host_n_sq": hosts}
    row = one.assign(n=hosts, detected=40, hosts=hosts, **sums)
    rows = pd.concat([row.assign(cell=f"{i}/0/0", theta_e_arcsec=1.0 + 0.1 * i) for i in range(radii)])
    return rows, clustered(
        radii * 40, radii * hosts, cluster_sums(radii * hit.astype(float), np.full(hosts, float(radii))), 0.95
    )


def test_hosts_that_recur_over_cells_are_not_counted_as_many():
    """1,200 injections into 120 hosts are worth 120: [0.254, 0.421], not the [0.307, 0.360] of 1,200 hosts."""
    rows, right = recurring()
    sums = {"host_detected_sq": 40 * 100, "host_detected_n": 40 * 100, "host_n_sq": 120 * 100}
    whole = rows.iloc[[0]].assign(cell="marginal", n=1200, detected=400, failed=30, **sums)
    found = marginal(pd.concat([rows, whole]))
    assert found["hosts"] == 120
    bounds = found[["host_clustered_95_low", "host_clustered_95_high"]].to_numpy(float)
    assert bounds == pytest.approx([right.low[0], right.high[0]])
    assert bounds == pytest.approx([0.254, 0.421], abs=0.002)


def test_unknown_hosts_have_no_clustered_interval():
    rows, _ = recurring()
    unknown = rows.assign(hosts=np.nan, host_detected_sq=np.nan, host_detected_n=np.nan, host_n_sq=np.nan)
    assert with_intervals(unknown)["host_clustered_95_low"].isna().all()


def test_as_many_hosts_as_injections_are_no_sums_over_hosts():
    """Ten cells of 120 hosts have 1,200 hosts when they are added up, and the sums of neither."""
    rows, _ = recurring()
    whole = rows.iloc[[0]].assign(n=1200, detected=400, hosts=1200)
    assert with_intervals(whole.drop(columns=["host_n_sq"]))["host_clustered_95_low"].isna().all()
    assert with_intervals(whole.drop(columns=["host_n_sq"]))["jeffreys_95_low"].notna().all()


def test_sums_that_no_hosts_have_are_refused():
    """The sums of ten cells added up beside their 120 hosts would pass for 1,200 injections into as many hosts."""
    rows, _ = recurring()
    added = {name: 10 * rows[name].iloc[0] for name in ("host_detected_sq", "host_detected_n", "host_n_sq")}
    whole = rows.iloc[[0]].assign(n=1200, detected=400, hosts=120, **added)
    for wrong in (whole, rows.assign(host_detected_n=10), rows.assign(host_n_sq=1e9), rows.assign(host_detected_sq=-1)):
        with pytest.raises(DataError, match=r"sums over hosts that are not those of their injections"):
            with_intervals(wrong)
