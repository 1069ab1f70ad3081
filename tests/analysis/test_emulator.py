"""The emulator of completeness: against known probabilities, statsmodels, and what must not change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits

from analysis.results import emulation
from analysis.results.emulation import FEW, INSIDE, OUTSIDE, Sample, at_points, compared, constraints
from analysis.results.injection_views import along, midpoints
from analysis.statistics.emulator import Basis, fit, host_weights, logit_interval, out_of_fold
from analysis.statistics.thresholds import Threshold
from lake.errors import DataError
from lake.sky.survey import SURVEY

RADII, SIGNS = (0.75, 1.0, 1.25, 1.5, 2.0, 2.5), (-1, 1, 0)
CUT = Threshold("p0.5", "fixed", 0.5, np.nan, 100, 5, None, 100, 5, 0.05, 0.02, 0.1)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    with threadpool_limits(1):
        yield


def probability(radii: Any, values: Any, shift: Any = 0.0) -> Any:
    """Peaks in the radius, falls with magnitude, rises with depth, ignores the offset."""
    peak = 2.0 * np.exp(-(((radii - 1.5) / 0.7) ** 2))
    return expit(-1.2 + peak - 1.3 * (values[:, 0] - 24.0) + 0.9 * (values[:, 1] - 23.5) + shift)


def drawn(n: int, hosts: int, seed: int, spread: float = 0.0) -> tuple[Any, ...]:
    """Hosts, radii, values and outcomes; `spread` is that of the hosts on the logit scale."""
    rng = np.random.default_rng(seed)
    host, own = rng.integers(0, hosts, n), rng.normal(0.0, spread, hosts)
    values = np.c_[rng.uniform(23, 25, n), rng.uniform(22.5, 24.5, hosts)[host], rng.uniform(0.1, 0.55, n)]
    radii = rng.choice(RADII, n)
    return host, radii, values, rng.random(n) < probability(radii, values, own[host])


def injections(n: int, hosts: int, seed: int) -> pd.DataFrame:
    host, radii, values, found = drawn(n, hosts, seed)
    names = ("src_mag_r", "host_depth_r_mag", "src_beta_frac")
    return pd.DataFrame(dict(zip(names, values.T, strict=True))).assign(
        grid_id="g", injection_id=[str(i) for i in range(n)], galaxy_id=host.astype(str), status="scored",
        lens_theta_e_arcsec=radii, probability=np.where(found, 0.9, 0.1), src_n=np.nan,
    )  # fmt: skip


def test_it_finds_known_probabilities() -> None:
    _, radii, values, found = drawn(30_000, 3_000, 0)
    basis = Basis.of(radii, values, SIGNS)
    p = fit(basis, basis.columns(radii, values), found)(radii, values)
    truth = probability(radii, values)
    assert np.sqrt(np.mean((p - truth) ** 2)) < 0.02
    for radius in RADII:
        here = radii == radius
        assert p[here].mean() == pytest.approx(truth[here].mean(), abs=0.03)
    for between in (0.85, 1.1, 1.4, 1.75, 2.2):
        at = np.full(len(values), between)
        assert fit(basis, basis.columns(radii, values), found)(at, values).mean() == pytest.approx(
            probability(at, values).mean(), abs=0.03
        )


@pytest.mark.parametrize("sense", [1.0, -1.0])
def test_it_is_monotone_whatever_the_outcomes_say(sense: float) -> None:
    rng = np.random.default_rng(3)
    radii, values = rng.choice(RADII, 1_500), np.c_[rng.uniform(23, 25, (1_500, 2)), rng.uniform(0, 1, 1_500)]
    found = rng.random(1_500) < expit(sense * (1.5 * values[:, 1] - 2.0 * values[:, 0] + 12.0))
    basis = Basis.of(radii, values, SIGNS)
    model = fit(basis, basis.columns(radii, values), found)
    steps = np.linspace(22, 26, 41)
    for radius in np.linspace(0.5, 3.0, 9):
        for column, sign in ((0, -1), (1, 1)):
            at = np.tile([24.0, 24.0, 0.5], (41, 1))
            at[:, column] = steps
            assert (sign * np.diff(model(np.full(41, radius), at)) >= 0).all()
    faint = np.ptp(model(np.full(2, 1.5), np.array([[23.0, 24.0, 0.5], [25.0, 24.0, 0.5]])))
    assert (faint > 0.3) if sense > 0 else (faint == 0.0)


def test_with_one_radius_it_is_the_regression_of_statsmodels_and_its_scatter_the_clustered_one() -> None:
    host, radii, values, found = drawn(4_000, 150, 1, spread=1.0)
    radii[:], signs = 1.5, (0, 0, 0)
    basis = Basis.of(radii, values, signs)
    columns = basis.columns(radii, values)
    other = sm.Logit(found, sm.add_constant(columns)).fit(disp=0, cov_type="cluster", cov_kwds={"groups": host})
    model = fit(basis, columns, found)
    assert np.r_[model.intercept, model.slopes] == pytest.approx(other.params, abs=0.01)
    point = np.array([[23.5, 24.0, 0.3]])
    row = np.r_[1.0, basis.columns(radii[:1], point)[0]]
    weights = host_weights(host, 200, np.random.default_rng(0))
    replicates = [fit(basis, columns, found, each)(radii[:1], point)[0] for each in weights]
    low, high = logit_interval(0.5, replicates, 150, 0.95)
    width = 2 * 1.976 * np.sqrt(row @ other.cov_params() @ row)
    assert logit(high) - logit(low) == pytest.approx(width, rel=0.2)


def test_predictions_of_a_host_do_not_depend_on_its_outcomes() -> None:
    host, radii, values, found = drawn(600, 60, 2)
    changed = np.where(host == 7, ~found, found)
    before, after = (out_of_fold(radii, values, SIGNS, host, y) for y in (found, changed))
    assert before[host == 7] == pytest.approx(after[host == 7], abs=1e-12)
    assert np.abs(before - after).max() > 1e-6


def test_points_inside_and_outside_of_what_was_drawn() -> None:
    sample = Sample.of(injections(2_000, 200, 5), SURVEY)
    assert list(sample.signs) == ["lens_theta_e_arcsec", "src_mag_r", "host_depth_r_mag", "src_beta_frac"]
    points = {
        "a": {"lens_theta_e_arcsec": 1.4, "src_mag_r": 24.0},
        "b": {"src_mag_r": 25.5},
        "c": {"lens_theta_e_arcsec": 0.75, "src_mag_r": 25.0, "host_depth_r_mag": 22.5, "src_beta_frac": 0.1},
    }
    rows = at_points(sample, points, CUT, None, np.random.default_rng(0)).set_index("at")
    assert rows["support"].to_dict() == {"a": INSIDE, "b": OUTSIDE, "c": FEW}
    assert rows.loc["b", ["completeness", "low_95", "high_95"]].isna().all()
    assert rows.loc["a", "averaged_over"] == "host_depth_r_mag, src_beta_frac"
    near = sample.rows.query("abs(lens_theta_e_arcsec - 1.4) <= 0.15 * 1.75 and abs(src_mag_r - 24) <= 0.3")
    assert rows.loc["a", "n_near"] == pytest.approx(len(near), abs=3)
    depth = np.linspace(22.5, 24.5, 200)
    truth = probability(np.full(200, 1.4), np.c_[np.full(200, 24.0), depth, depth]).mean()
    assert rows.loc["a", "low_95"] < truth < rows.loc["a", "high_95"]
    assert rows.loc["a", "completeness"] == pytest.approx(truth, abs=0.1)


def test_an_uncertain_threshold_widens_the_interval() -> None:
    rows = injections(1_500, 150, 6)
    rows["probability"] = np.random.default_rng(0).random(1_500)
    sample, point = Sample.of(rows, SURVEY), {"a": {"src_mag_r": 24.0}}
    spread = (np.linspace(0.3, 0.7, 9), np.full(9, 1 / 9))
    fixed, derived = (at_points(sample, point, CUT, d, np.random.default_rng(0)).iloc[0] for d in (None, spread))
    assert (fixed["interval"], derived["interval"]) == ("h", "t")
    assert derived["high_95"] - derived["low_95"] > 2 * (fixed["high_95"] - fixed["low_95"])


def test_unlisted_lenses_give_a_range_at_their_ends_of_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each end is the completeness at that threshold; an end with too few outcomes for a fit has none.

    None of this comes from resampled hosts, so a few are enough.
    """
    monkeypatch.setattr(emulation, "_REPLICATES", 5)
    sample, points = Sample.of(injections(1_500, 150, 6), SURVEY), {"a": {"src_mag_r": 24.0}, "b": {"src_mag_r": 30.0}}
    sample.rows["probability"] = sample.rows["probability"] * np.random.default_rng(0).uniform(0.5, 1.0, 1_500)
    drawn = (np.array([CUT.threshold]), np.ones(1))

    def found(*cuts: float) -> pd.DataFrame:
        ends = tuple((cut, drawn) for cut in cuts)
        given = replace(CUT, fpr_unlisted_low=0.01, fpr_unlisted_high=0.06)
        return at_points(sample, points, given, drawn, np.random.default_rng(0), ends).set_index("at")

    rows = found(0.6, 0.3)
    assert rows.loc["a", ["fpr_unlisted_low", "fpr_unlisted_high"]].to_list() == [0.01, 0.06]
    at_end = [
        at_points(sample, points, replace(CUT, threshold=cut), drawn, np.random.default_rng(0))["completeness"][0]
        for cut in (0.6, 0.3)
    ]
    assert rows.loc["a", ["unlisted_low", "unlisted_high"]].to_list() == pytest.approx(at_end)
    assert rows.loc["a", "unlisted_low"] < rows.loc["a", "completeness"] < rows.loc["a", "unlisted_high"]
    assert rows.loc["b", ["unlisted_low", "unlisted_high"]].isna().all(), "outside of what was drawn"
    assert found(0.999, 0.3).loc["a", ["unlisted_low", "unlisted_high"]].isna().to_list() == [True, False]
    plain = at_points(sample, points, CUT, drawn, np.random.default_rng(0))
    assert plain[["unlisted_low", "unlisted_high"]].isna().all(axis=None)


def test_it_is_compared_with_the_table_cell_by_cell() -> None:
    rows = injections(3_000, 300, 7)
    rows["cell"] = rows["lens_theta_e_arcsec"].map(lambda radius: f"t{radius}")
    table = along(rows, {"lens_theta_e_arcsec": midpoints(rows["lens_theta_e_arcsec"])}, 0.5)
    table["cell"] = [f"t{radius}" for radius in RADII]
    found = compared(Sample.of(rows, SURVEY), table, 0.5)
    assert found.inside == len(found.cells) == 6
    assert found.scatter < 1.6
    assert found.log_loss < 0.9 * found.log_loss_constant
    assert found.calibration_slope == pytest.approx(1.0, abs=0.15)
    truth = probability(rows["lens_theta_e_arcsec"], rows[["src_mag_r", "host_depth_r_mag"]].to_numpy())
    assert found.cells["emulator"].to_numpy() == pytest.approx(truth.groupby(rows["cell"]).mean().to_numpy(), abs=0.06)
    rows.loc[rows["cell"] == "t1.5", "cell"] = "t2.0"
    assert "6 of 6 cells inside" in found.summary


def test_too_few_outcomes_are_refused() -> None:
    rows = injections(300, 30, 8).assign(probability=0.1)
    with pytest.raises(DataError, match=r"at least 20 .* in 10 hosts each, got 0 detected in 0, 300 missed in 30"):
        at_points(Sample.of(rows, SURVEY), {"a": {"src_mag_r": 24.0}}, CUT, None, np.random.default_rng(0))
    few = rows.assign(probability=np.where(rows["galaxy_id"].isin([str(i) for i in range(6)]), 0.9, 0.1))
    with pytest.raises(DataError, match=r"got \d+ detected in 6"):
        at_points(Sample.of(few, SURVEY), {"a": {"src_mag_r": 24.0}}, CUT, None, np.random.default_rng(0))
    with pytest.raises(DataError, match="needs scored injections with their Einstein radii"):
        Sample.of(rows.assign(status="failed"), SURVEY)


def test_the_einstein_radius_is_free_and_flux_depth_and_seeing_are_not() -> None:
    signs = constraints(SURVEY)
    assert {name: sign for name, sign in signs.items() if sign} == {
        "src_mag_r": -1, "host_depth_r_mag": 1, "host_psf_fwhm_nea_r_arcsec": -1,
    }  # fmt: skip
    assert signs["lens_theta_e_arcsec"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("n", "hosts", "spread"), [(1_000, 200, 0.0), (3_000, 300, 1.0), (400, 60, 1.0)])
def test_intervals_cover_a_known_probability(n: int, hosts: int, spread: float) -> None:
    points = [(1.25, 24.0), (2.0, 24.5), (1.5, 23.5)]
    depth, rng = np.linspace(22.5, 24.5, 2_000), np.random.default_rng(0)
    own = rng.normal(0.0, spread, 2_000)
    truth = [probability(np.full(2_000, t), np.c_[np.full(2_000, m), depth], own).mean() for t, m in points]
    hits = 0
    for seed in range(100):
        host, radii, values, found = drawn(n, hosts, 1_000 + seed, spread)
        basis = Basis.of(radii, values, SIGNS)
        columns = basis.columns(radii, values)
        there = [basis.columns(np.full(n, t), np.c_[np.full(n, m), values[:, 1:]]) for t, m in points]
        value = [fit(basis, columns, found).of_columns(each).mean() for each in there]
        replicates = []
        for weights in host_weights(host, 60, rng):
            model = fit(basis, columns, found, weights)
            replicates.append([np.average(model.of_columns(each), weights=weights) for each in there])
        for place, known in enumerate(truth):
            low, high = logit_interval(value[place], np.array(replicates)[:, place], len(np.unique(host)), 0.95)
            hits += low <= known <= high
    assert 0.91 <= hits / 300 <= 0.985
