"""The emulator of completeness: against known probabilities, statsmodels, and what must not change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize
from scipy.special import expit, logit, ndtr
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from analysis.fitted import emulator
from analysis.fitted.emulator import fit, host_weights, logit_interval, out_of_fold
from analysis.fitted.emulatorbasis import Basis
from analysis.results import emulation
from analysis.results.emulation import FEW, INSIDE, OUTSIDE, Sample, at_points, compared, constraints
from analysis.results.injection_views import along, midpoints
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
    model = fit(basis, basis.columns(radii, values), found)
    p, truth = model(radii, values), probability(radii, values)
    assert np.sqrt(np.mean((p - truth) ** 2)) < 0.02
    for radius in RADII:
        here = radii == radius
        assert p[here].mean() == pytest.approx(truth[here].mean(), abs=0.03)
    for between in (0.85, 1.1, 1.4, 1.75, 2.2):
        at = np.full(len(values), between)
        assert model(at, values).mean() == pytest.approx(probability(at, values).mean(), abs=0.03)


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
            assert (sign * np.diff(model(np.full(41, radius), at)) >= -1e-12).all()
    faint = np.ptp(model(np.full(2, 1.5), np.array([[23.0, 24.0, 0.5], [25.0, 24.0, 0.5]])))
    assert (faint > 0.3) if sense > 0 else (faint < 1e-12)


def test_where_nothing_varies_it_is_the_share_that_is_found() -> None:
    radii, found = np.full(100, 1.5), np.arange(100) < 30
    basis = Basis.of(radii, np.zeros((100, 0)), ())
    assert fit(basis, basis.columns(radii, np.zeros((100, 0))), found)(radii[:1], np.zeros((1, 0))) == pytest.approx(
        0.3
    )


def test_without_bounds_it_is_the_ridge_regression_of_scikit_learn() -> None:
    _, radii, values, found = drawn(2_000, 200, 4)
    basis = Basis.of(radii, values, (0, 0, 0))
    columns, weights = basis.columns(radii, values), np.random.default_rng(0).poisson(1.0, 2_000)
    other = LogisticRegression(C=1 / emulator._PENALTY, tol=1e-8, max_iter=1000)
    other.fit(columns[:, :-1], found, sample_weight=weights)
    slopes = fit(basis, columns, found, weights).slopes
    assert slopes == pytest.approx(np.r_[other.coef_[0], other.intercept_], abs=2e-3)


@pytest.mark.parametrize("sense", [1.0, -1.0])
def test_with_bounds_it_is_the_best_that_scipy_finds(sense: float) -> None:
    """Also from the start of another fit, and where the outcomes contradict all bounds."""
    _, radii, values, found = drawn(800, 100, 4)
    basis = Basis.of(radii, np.c_[sense * values[:, :2], values[:, 2]], SIGNS)
    columns = basis.columns(radii, np.c_[sense * values[:, :2], values[:, 2]])
    penalty = np.r_[np.full(columns.shape[1] - 1, emulator._PENALTY), 0.0]

    def loss(slopes: Any) -> Any:
        eta = columns @ slopes
        value = (np.logaddexp(0.0, eta) - found * eta).sum() + (penalty * slopes**2).sum() / 2
        return value, columns.T @ (expit(eta) - found) + penalty * slopes

    limits = [(0.0 if bound else None, None) for bound in basis.bounded]
    exact = {"ftol": 1e-16, "gtol": 1e-7, "maxiter": 10_000, "maxfun": 10_000}
    start = np.zeros(len(penalty))
    other = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits, options=exact)
    plain = fit(basis, columns, found)
    for model in (plain, fit(basis, columns, found, start=fit(basis, columns, ~found))):
        assert (model.slopes[basis.bounded] >= 0.0).all()
        assert loss(model.slopes)[0] == pytest.approx(other.fun, abs=1e-6)


def test_with_one_radius_its_scatter_is_the_clustered_one_of_statsmodels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "_PENALTY", 1e-6)
    host, radii, values, found = drawn(4_000, 150, 1, spread=1.0)
    radii[:], signs = 1.5, (0, 0, 0)
    basis = Basis.of(radii, values, signs)
    columns = basis.columns(radii, values)
    other = sm.Logit(found, columns).fit(disp=0, cov_type="cluster", cov_kwds={"groups": host})
    model = fit(basis, columns, found)
    assert model.slopes == pytest.approx(other.params, abs=0.01)
    point = np.array([[23.5, 24.0, 0.3]])
    row = basis.columns(radii[:1], point)[0]
    weights = host_weights(host, 200, np.random.default_rng(0))
    replicates = [fit(basis, columns, found, each, model)(radii[:1], point)[0] for each in weights]
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


def test_depth_and_seeing_are_monotone_and_the_einstein_radius_and_the_flux_come_first() -> None:
    """A finder may miss the faintest and the brightest arcs, so the flux is free."""
    signs = constraints(SURVEY)
    assert {name: sign for name, sign in signs.items() if sign} == {
        "host_depth_r_mag": 1, "host_psf_fwhm_nea_r_arcsec": -1,
    }  # fmt: skip
    assert list(signs)[:2] == ["lens_theta_e_arcsec", "src_mag_r"]
    assert signs["lens_theta_e_arcsec"] == signs["src_mag_r"] == 0


def found_by_signal(radii: Any, values: Any, shift: Any = 0.0) -> Any:
    """A second truth, of another form than the model: detection saturates with the signal-to-noise ratio of the arc,
    which seeing blends with the host, and is lost again where it outshines the host or lies far outside."""
    mag, depth, seeing, size = values.T
    signal = 0.9 * (25.3 - mag) + 0.7 * (depth - 23.5) + 0.8 * np.log(size / 0.2) - 1.2 * (seeing - 1.2)
    bright = 1.3 * np.maximum(22.6 - mag, 0.0)
    blend = 3.2 * (radii / seeing - 1.1) - 2.4 * np.maximum(radii - 1.9, 0.0)
    return 0.97 * ndtr(signal - 1.2 - bright + 0.6 * shift) * expit(2.2 + blend)


def found_by_sum(radii: Any, values: Any, shift: Any = 0.0) -> Any:
    """The first truth, in which the seeing and the size do not matter."""
    return probability(radii, values[:, :2], shift)


FOUR_SIGNS = (0, 1, -1, 0)
"""Of magnitude, depth, seeing and size."""
POINTS: Any = (
    (1.25, 24.0, None, None, None), (2.0, 24.5, None, None, None), (1.5, 23.0, None, None, None),
    (1.0, 22.5, None, None, None), (2.5, 23.5, None, None, None), (0.75, 24.0, None, None, None),
    (None, 25.0, None, None, None), (1.4, 24.0, 23.0, 1.2, None), (1.1, 23.0, 24.2, 1.5, 0.1),
)  # fmt: skip
"""Einstein radius, magnitude, depth, seeing, size; None is averaged over."""


def galaxies(rng: Any, n: int, hosts: int) -> Any:
    host = rng.integers(0, hosts, n)
    own = [rng.uniform(low, high, hosts)[host] for low, high in ((22.5, 24.5), (0.95, 1.75))]
    values = np.column_stack([rng.uniform(21.5, 25.5, n), *own, rng.uniform(0.05, 0.37, n)])
    return host, rng.choice(RADII, n), values


def moved(point: Any, radii: Any, values: Any) -> Any:
    radius, *others = point
    put = [
        column if other is None else np.full(len(radii), other) for column, other in zip(values.T, others, strict=True)
    ]
    return (radii if radius is None else np.full(len(radii), radius)), np.column_stack(put)


def covered(truth: Any, n: int, hosts: int, spread: float, simulations: int, replicates: int = 40) -> Any:
    """Share of simulations whose interval holds the true completeness at each point."""
    rng = np.random.default_rng(99)
    _, radii, values = galaxies(rng, 60_000, 60_000)
    known = [truth(*moved(point, radii, values), rng.normal(0.0, spread, 60_000)).mean() for point in POINTS]
    held = np.zeros(len(POINTS))
    for seed in range(simulations):
        rng = np.random.default_rng(1_000 + seed)
        host, radii, values = galaxies(rng, n, hosts)
        found = rng.random(n) < truth(radii, values, rng.normal(0.0, spread, hosts)[host])
        basis = Basis.of(radii, values, FOUR_SIGNS)
        columns, there = basis.columns(radii, values), [basis.columns(*moved(point, radii, values)) for point in POINTS]
        whole, drawn_again = fit(basis, columns, found), []
        for weights in host_weights(host, replicates, rng):
            model = fit(basis, columns, found, weights, whole)
            drawn_again.append([np.average(model.of_columns(each), weights=weights) for each in there])
        for place, each in enumerate(there):
            value = whole.of_columns(each).mean()
            low, high = logit_interval(value, np.array(drawn_again)[:, place], len(np.unique(host)), 0.95)
            held[place] += low <= known[place] <= high
    return held / simulations


@pytest.mark.slow
@pytest.mark.parametrize("truth", [found_by_sum, found_by_signal])
@pytest.mark.parametrize(("n", "hosts", "spread"), [(1_000, 200, 0.0), (3_000, 300, 1.0), (600, 100, 0.7)])
def test_intervals_cover_a_known_probability(truth: Any, n: int, hosts: int, spread: float) -> None:
    """The mean of nine points has an error of about 1 %, one point of 2 %."""
    held = covered(truth, n, hosts, spread, 100)
    assert 0.92 <= held.mean() <= 0.975
    assert held.min() > 0.85


@pytest.mark.parametrize("truth", [found_by_sum, found_by_signal])
def test_it_predicts_at_least_as_well_as_monotone_trees(truth: Any) -> None:
    rng = np.random.default_rng(7)
    host, radii, values = galaxies(rng, 2_500, 250)
    found = rng.random(2_500) < truth(radii, values)
    trees, guessed = (
        HistGradientBoostingClassifier(
            max_iter=150, learning_rate=0.05, max_leaf_nodes=8, l2_regularization=5.0, monotonic_cst=[0, *FOUR_SIGNS]
        ),
        np.empty(2_500),
    )
    both = np.column_stack([radii, values])
    for fitted, out in GroupKFold(5, shuffle=True, random_state=0).split(both, groups=host):
        guessed[out] = trees.fit(both[fitted], found[fitted]).predict_proba(both[out])[:, 1]
    ours = out_of_fold(radii, values, FOUR_SIGNS, host, found)
    assert log_loss(found, ours) < log_loss(found, guessed)
