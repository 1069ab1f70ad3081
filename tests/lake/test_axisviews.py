"""Views of completeness along axes: names, counts, standard errors, against a plain computation."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from lake.errors import ParameterError
from lake.root import DataRoot
from lake.store import axisviews, views
from lake.store.query import described, query

N = 900


def made() -> dict[str, pd.DataFrame]:
    """Tables with the columns that the views read."""
    rng = np.random.default_rng(4)
    host = rng.integers(0, 60, N)
    hosts = pd.DataFrame(
        {
            "host_type": np.where(np.arange(60) >= 50, None, np.where(np.arange(60) % 2 == 0, "DEV", "SER")),
            "host_nobs_z_bin": "3-5",
            "host_shape_r": rng.uniform(0, 2, 60),
        }
    )
    injections = pd.DataFrame(
        {
            "grid_id": "g",
            "grid_name": "main",
            "prior": "v1",
            "injection_id": [f"i{number}" for number in range(N)],
            "galaxy_id": [f"h{number}" for number in host],
            "detectable": np.where(np.arange(N) % 7 == 0, None, rng.random(N) < 0.3),
            "lens_theta_e_arcsec": np.array([0.75, 1.5])[np.arange(N) % 2],
            "src_beta_frac": rng.uniform(0.1, 1.0, N),
            "src_mag_r": rng.uniform(23, 26, N),
            "host_depth_r_mag": (22.75 + 0.3 * (host % 5)),
            "host_psf_fwhm_nea_r_arcsec": np.array([0.9, 1.05, 1.2, 1.35])[host % 4],
            **hosts.iloc[host].reset_index(drop=True),
        }
    )
    scores = pd.DataFrame(
        {
            "grid_id": "g",
            "generation": "demo1",
            "checkpoint_id": "c",
            "injection_id": injections["injection_id"],
            "status": np.where(np.arange(N) % 11 == 0, "failed", "scored"),
            "probability": np.clip(rng.random(N) + 0.2 * (host % 3), 0, 1),
            "host_probability": rng.random(N) * 0.6,
        }
    )
    at = {"generation": "demo1", "checkpoint_id": "c", "fpr_reached": 0.05}
    thresholds = pd.DataFrame(
        [
            {**at, "threshold_id": "p0.5", "threshold": 0.5},
            {**at, "threshold_id": "fpr1e-3@val"},
            {**at, "threshold_id": "fpr5e-2@val", "threshold": 0.7, "threshold_low": 0.6, "threshold_high": 0.75},
        ]
    )
    return {"injections": injections, "injection_scores": scores, "thresholds": thresholds}


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return made()


def run(tables: dict[str, pd.DataFrame], sql: str) -> pd.DataFrame:
    with duckdb.connect() as connection:
        for name, rows in tables.items():
            connection.register(name, rows)
        frame: pd.DataFrame = connection.sql(sql).df()
        return frame


@pytest.mark.parametrize("axes", [("theta_e",), ("theta_e", "depth"), ("host_type", "seeing", "src_mag")])
def test_counts_are_those_of_a_plain_computation(tables: dict[str, pd.DataFrame], axes: tuple[str, ...]) -> None:
    found = run(tables, views.VIEWS["completeness_by_" + "_".join(axes)].sql)
    assert sorted(found["threshold_id"].unique()) == ["fpr5e-2@val", "p0.5"]
    found = found[found["threshold_id"] == "p0.5"]
    assert found[["unlisted_low", "unlisted_high"]].isna().all(axis=None), "no negatives fixed it"
    scored = run(tables, axisviews.SCORED_SQL)
    scored = scored[scored["status"] == "scored"]
    for population, rows in (("all", scored), ("detectable", scored[scored["detectable"]])):
        rows = rows.assign(hit=rows["probability"] > 0.5, bare=rows["host_probability"] <= 0.5)
        those = found[found["population"] == population]
        told = {_key(row[list(axes)]): row for _, row in those.iterrows()}
        for _, part in rows.groupby(list(axes), dropna=False):
            row = told.pop(_key(part[list(axes)].iloc[0]))
            assert (row["n"], row["detected"]) == (len(part), part["hit"].sum())
            assert (row["net_n"], row["net_detected"]) == (part["bare"].sum(), (part["hit"] & part["bare"]).sum())
            assert row["hosts"] == part["galaxy_id"].nunique()
            assert bool(row["above_20_percent"]) == (row["completeness"] > 0.2)
        assert not told


def test_a_derived_threshold_has_its_completeness_at_both_ends_of_its_range(tables: dict[str, pd.DataFrame]) -> None:
    found = run(tables, axisviews.by_sql(("theta_e",))).query("population == 'all' and threshold_id == 'fpr5e-2@val'")
    scored = run(tables, axisviews.SCORED_SQL).query("status == 'scored'")
    for _, row in found.iterrows():
        values = scored.loc[scored["theta_e"] == row["theta_e"], "probability"]
        ends = row["unlisted_low"], row["completeness"], row["unlisted_high"]
        assert ends == pytest.approx([(values > cut).mean() for cut in (0.75, 0.7, 0.6)])
    assert len(found) == 2


def _key(values: pd.Series) -> tuple[str, ...]:
    return tuple(str(None if pd.isna(value) else value) for value in values)


def test_the_standard_error_is_that_of_clusters_of_one_host(tables: dict[str, pd.DataFrame]) -> None:
    row = (
        run(tables, axisviews.by_sql(("theta_e",)))
        .query("population == 'all' and theta_e == 1.5 and threshold_id == 'p0.5'")
        .iloc[0]
    )
    scored = run(tables, axisviews.SCORED_SQL).query("status == 'scored' and theta_e == 1.5")
    hit, host = (scored["probability"] > 0.5).astype(float), pd.factorize(scored["galaxy_id"])[0]
    fit = sm.OLS(hit.to_numpy(), np.ones(len(hit))).fit(cov_type="cluster", cov_kwds={"groups": host})
    assert fit.bse[0] > np.sqrt(hit.mean() * (1 - hit.mean()) / len(hit))
    assert row["standard_error"] == pytest.approx(fit.bse[0])


def test_bins_are_closed_on_the_left_and_edges_are_round(tables: dict[str, pd.DataFrame]) -> None:
    rows = run(tables, axisviews.SCORED_SQL).merge(tables["injections"], on="injection_id")
    assert sorted(rows["seeing"].unique()) == [0.9, 1.05, 1.2, 1.35]
    assert (rows["seeing"] == rows["host_psf_fwhm_nea_r_arcsec"]).all()
    inside = (rows["depth"] <= rows["host_depth_r_mag"]) & (rows["host_depth_r_mag"] < rows["depth"] + 0.5)
    assert inside.all()
    assert sorted(rows["beta_frac"].unique()) == [0.1, 0.25, 0.4, 0.55, 0.7, 0.85]
    assert rows["detectable_x"].notna().all()
    assert rows.loc[rows["galaxy_id_x"].isin(["h55", "h59"]), "host_type_x"].isna().all()


def test_sets_of_cut_outs_have_views_of_their_own(tables: dict[str, pd.DataFrame]) -> None:
    """The same injections as a set has them: along the axes that both have, the same rows."""
    names = {"host_psf_fwhm_nea_r_arcsec": "host_psf_fwhm_nea_arcsec", "host_depth_r_mag": "host_depth_mag"}
    own = tables["injections"].rename(columns={**names, "src_mag_r": "src_mag"}).assign(generation="demo1")
    of_set = {name: tables[name] for name in ("injection_scores", "thresholds")} | {"set_injections": own}
    view = views.VIEWS["set_completeness_by_seeing_depth_src_mag"]
    assert view.needs == tuple(axisviews.SET_NEEDS)
    order = ["population", "seeing", "depth", "src_mag", "threshold_id"]
    found = run(of_set, view.sql).sort_values(order, ignore_index=True)
    assert tuple(found.columns) == view.spec.names
    expected = run(tables, axisviews.by_sql(("seeing", "depth", "src_mag"))).sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(found, expected)
    assert "set_completeness_by_host_type" not in views.VIEWS


def test_any_one_to_three_axes_name_a_view() -> None:
    assert axisviews.axes_of("completeness_by_host_size") == ("host_size",)
    assert axisviews.axes_of("completeness_by_depth_theta_e_src_mag") == ("depth", "theta_e", "src_mag")
    for wrong in ("completeness_by_", "completeness_by_depth_depth", "completeness_by_theta", "completeness_main"):
        assert axisviews.axes_of(wrong) is None
    assert axisviews.axes_of("completeness_by_depth_theta_e_src_mag_seeing") is None
    assert "completeness_by_seeing_host_type" in views.VIEWS
    spec = views.VIEWS["completeness_by_seeing_host_type"].spec
    assert spec.key[-2:] == ("seeing", "host_type")
    with pytest.raises(ParameterError, match="'by' must be one to 3 different axes"):
        axisviews.checked_axes(("depth", "depth"))


def test_queries_know_such_views_and_refuse_others(root: DataRoot) -> None:
    told = described("completeness_by_beta_frac_depth").to_pylist()
    assert [row["col_name"] for row in told][8:10] == ["beta_frac", "depth"]
    with pytest.raises(Exception, match="table 'injections' has not been made yet"):
        query(root, "select * from completeness_by_beta_frac_depth")
    with pytest.raises(ParameterError, match="'table' must be one of"):
        query(root, "select * from completeness_by_nothing")


@pytest.mark.parametrize("axes", [("theta_e",), ("host_type", "seeing", "src_mag")])
def test_a_view_has_the_columns_that_it_describes(tables: dict[str, pd.DataFrame], axes: tuple[str, ...]) -> None:
    assert tuple(run(tables, axisviews.by_sql(axes)).columns) == axisviews.by_spec(axes).names
    names = [name for name in axisviews.SCORED_SPEC.names if name != "cell"]
    assert list(run(tables, axisviews.SCORED_SQL).columns) == names
