"""Thresholds: whose negatives they are, what is refused, and intervals that know the threshold's own uncertainty."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit

from analysis.statistics.thresholds import (
    bootstrap_thresholds,
    fix_thresholds,
    from_rows,
    threshold_rows,
)
from analysis.statistics.uncertain import (
    field_intervals,
    fpr_interval,
    joint_intervals,
    roc_band,
    share_interval,
    tpr_interval,
)
from lake import tables
from lake.errors import DataError
from lake.sky.survey import SURVEY
from lake.store import delta, writing
from lake.store.writing import Provenance, Target
from tests.analysis.coverage import independent
from tests.analysis.report_inputs import EVALUATE


def named(fixing, testing, **changes):
    params = EVALUATE.model_copy(update=changes)
    return {point.threshold_id: point for point in fix_thresholds(fixing, testing, params)}


def test_a_threshold_is_fixed_on_one_sample_and_judged_on_another():
    rng = np.random.default_rng(0)
    fixing, testing = rng.random(400), rng.random(1000)
    point = named(fixing, testing)["fpr5e-2@val"]
    assert (point.status, point.threshold) == ("measured", np.sort(fixing)[-21])
    assert (point.negatives, point.above, point.negatives_needed) == (400, 20, 200)
    above = (testing > point.threshold).sum()
    assert (point.test_above, point.test_negatives, point.fpr_reached) == (above, 1000, above / 1000)
    exact = stats.binomtest(int(above), 1000).proportion_ci(0.95, method="exact")
    assert (point.fpr_low, point.fpr_high) == pytest.approx((exact.low, exact.high))


def test_a_rate_with_fewer_than_ten_negatives_expected_above_it_is_refused_by_name():
    point = named(np.linspace(0, 1, 307), np.linspace(0, 1, 633))["fpr1e-3@val"]
    assert not point.measurable
    assert np.isnan(point.threshold)
    assert point.reason == "not measurable with 307 negatives, needs 10,000"
    limit = named(np.linspace(0, 1, 200), [0.5])["fpr5e-2@val"], named(np.linspace(0, 1, 199), [0.5])["fpr5e-2@val"]
    assert [point.status for point in limit] == ["measured", "not measurable"]
    assert {point.status for point in named([], [0.5]).values()} == {"fixed", "not measurable", "not selective"}


def test_a_fixed_threshold_that_lets_everything_through_is_not_selective():
    found = named(np.full(300, 0.6), np.full(300, 0.6))
    assert (found["p0.5"].status, found["p0.5"].fpr_reached, found["p0.5"].fpr_high) == ("not selective", 1.0, 1.0)
    assert found["p0.5"].fpr_low == pytest.approx(0.025 ** (1 / 300))
    assert not found["fpr5e-2@val"].measurable
    tenth = np.r_[np.ones(30), np.zeros(270)]
    assert named([], tenth)["p0.5"].status == "fixed", "10 % is the limit, and not above it"
    assert named([], np.r_[tenth, 1.0])["p0.5"].status == "not selective"


def test_a_threshold_that_no_negative_reaches_has_a_rate_of_0_with_its_bound():
    """No rate below the bound is claimed, and no rate is derived where all negatives are alike."""
    found = named(np.full(400, 0.1), np.full(300, 0.1))
    point = found["p0.5"]
    assert (point.status, point.test_above, point.fpr_reached, point.fpr_low) == ("fixed", 0, 0.0, 0.0)
    assert point.fpr_high == pytest.approx(1 - 0.025 ** (1 / 300))
    assert {found["fpr5e-2@val"].status, found["fpr1e-3@val"].status} == {"not measurable"}


@pytest.mark.parametrize(
    "answers",
    [
        np.full(400, 0.7),
        np.repeat([0.0, 1.0], [320, 80]),
        np.repeat([0.2, 0.4, 0.6, 0.8, 1.0], 80),
        expit(np.linspace(-500, 500, 400)),
        np.repeat([0.1, 0.9, 0.95], [370, 21, 9]),
    ],
)
def test_ties_leave_no_threshold_rather_than_one_that_nothing_is_above(answers):
    """The 20 best of 400 cannot be let through where the 21st is as good: recall there would read 0 %."""
    point = named(answers, answers)["fpr5e-2@val"]
    assert (point.status, point.above) == ("not measurable", None)
    assert point.reason == "not measurable: too many negatives share one score to let 0.05 of them through"
    (back,) = from_rows(pd.DataFrame(threshold_rows([point], "c1", "demo1")))
    assert back.reason == point.reason
    assert named(np.repeat([0.1, 0.9, 0.95], [370, 20, 10]), answers)["fpr5e-2@val"].above == 10


def test_rows_meet_the_contract_and_come_back(root):
    points = fix_thresholds(np.linspace(0, 1, 300), np.linspace(0, 1, 500), EVALUATE)
    rows = pd.DataFrame(threshold_rows(points, "c1", "demo1"))
    spec = tables.spec("thresholds")
    assert set(rows.columns) == {column.name for column in spec.columns if column.role != "lineage"}
    fields = [column.arrow for column in spec.columns if column.role != "lineage"]
    stored = pa.Table.from_pylist(rows.replace({np.nan: None}).to_dict("records"), pa.schema(fields))
    where = {"checkpoint_id": "c1", "generation": "demo1"}
    writing.write_slice(Target(root, spec, "demo1", where, Provenance("test")), stored)
    back = from_rows(delta.read(root, "thresholds").to_pandas().sample(frac=1.0, random_state=1))
    assert [p.threshold_id for p in back] == ["p0.3", "p0.5", "fpr5e-2@val", "fpr1e-3@val"]
    assert {repr(p) for p in back} == {repr(p) for p in points}
    with pytest.raises(DataError, match="thresholds of different finders are mixed: c1, c2"):
        from_rows(pd.concat([rows, rows.assign(checkpoint_id="c2")]))
    with pytest.raises(DataError, match="not finite: exclude failed objects"):
        fix_thresholds([0.1, np.nan], [0.2], EVALUATE)


@pytest.mark.parametrize(("n", "fpr"), [(200, 0.05), (37, 0.3), (400, 0.1)])
def test_the_bootstrap_of_a_threshold_is_exact(n, fpr):
    """Against ten thousand resamples, drawn and sorted."""
    rng = np.random.default_rng(3)
    sample = rng.normal(size=n)
    values, weights = bootstrap_thresholds(sample, fpr)
    drawn = np.sort(rng.choice(sample, (10_000, n)), axis=1)[:, ::-1][:, int(fpr * n + 1e-9)]
    assert weights.sum() == pytest.approx(1.0)
    assert np.average(values, weights=weights) == pytest.approx(drawn.mean(), abs=0.01)
    spread = np.sqrt(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights))
    assert spread == pytest.approx(drawn.std(), rel=0.05)


def test_a_known_threshold_gives_the_interval_of_independent_trials():
    for k, n in ((3, 40), (17, 40)):
        found = share_interval(np.arange(n), np.arange(n) < k, (np.array([0.5]), np.array([1.0])), 0.95)
        assert found == pytest.approx(independent(k, n), abs=1e-6)


def test_nothing_found_is_no_certainty():
    """0 of 127 is not [0, 0], nor 127 of 127 [1, 1]."""
    negatives = np.linspace(0, 1, 600)
    low, high = tpr_interval(np.full(127, -1.0), negatives, 0.05, 0.95)
    assert (low, high) == (0.0, pytest.approx(stats.beta.ppf(0.975, 1, 127), rel=1e-3))
    low, high = tpr_interval(np.full(127, 2.0), negatives, 0.05, 0.95)
    assert (low, high) == (pytest.approx(stats.beta.ppf(0.025, 127, 1), rel=1e-3), 1.0)
    assert fpr_interval(np.full(127, 2.0), negatives, 0.85, 0.95)[0] == 0.0
    assert fpr_interval(np.full(127, 2.0), negatives, 0.85, 0.95)[1] > 1e-4


def test_rates_at_a_rate_agree_with_a_drawn_bootstrap():
    """Both classes resampled, the threshold derived anew each time: the same interval to a point."""
    rng = np.random.default_rng(5)
    positive, negative = rng.normal(1.5, 1.0, 300), rng.normal(size=500)
    ours, theirs = rng.choice(positive, (4000, 300)), rng.choice(negative, (4000, 500))
    draws = (ours > np.partition(theirs, 500 - 26, axis=1)[:, 500 - 26, None]).mean(axis=1)
    assert tpr_interval(positive, negative, 0.05, 0.95) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.012)
    ours, theirs = rng.choice(positive, (4000, 300)), rng.choice(negative, (4000, 500))
    draws = (theirs >= np.partition(ours, 45, axis=1)[:, 45, None]).mean(axis=1)
    assert fpr_interval(positive, negative, 0.85, 0.95) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.012)


def test_the_band_of_a_roc_begins_where_ten_negatives_lie_above():
    rng = np.random.default_rng(6)
    positive, negative = rng.normal(1.5, 1.0, 120), rng.normal(size=400)
    rates, low, high = roc_band(positive, negative, 0.95)
    assert rates[0] == pytest.approx(10 / 400)
    true = stats.norm.sf(stats.norm.isf(rates) - 1.5)
    assert ((low <= true) & (true <= high)).mean() > 0.9
    assert len(roc_band(positive, negative[:9], 0.95)[0]) == 0


def simulated(rng, negatives, hosts, uses, fpr, correlation):
    """Injections whose scores share their host's offset; the share above the true threshold is known."""
    offset = rng.normal(size=hosts) * np.sqrt(correlation)
    score = 1.0 + np.repeat(offset, uses) + rng.normal(size=hosts * uses) * np.sqrt(1.0 - correlation)
    fixing = rng.normal(size=negatives)
    threshold = bootstrap_thresholds(fixing, fpr)
    low, high = share_interval(np.repeat(np.arange(hosts), uses), score, threshold, 0.95)
    return low <= stats.norm.sf(stats.norm.isf(fpr) - 1.0) <= high


@pytest.mark.parametrize(("negatives", "fpr"), [(300, 0.05)])
def test_intervals_at_a_derived_threshold_cover(negatives, fpr):
    rng = np.random.default_rng(11)
    inside = [simulated(rng, negatives, 80, 4, fpr, 0.3) for _ in range(150)]
    assert 0.90 <= np.mean(inside) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("above", [6, 10, 15, 50])
@pytest.mark.parametrize("correlation", [0.0, 0.3])
@pytest.mark.parametrize("fpr", [0.05, 0.01])
def test_coverage_over_the_number_of_negatives_above(above, correlation, fpr):
    rng = np.random.default_rng(above)
    inside = [simulated(rng, round(above / fpr), 150, 4, fpr, correlation) for _ in range(1500)]
    assert 0.93 <= np.mean(inside) <= 0.975


def test_rows_of_the_table_have_the_interval_of_their_injections():
    rng = np.random.default_rng(7)
    rows = pd.DataFrame(
        {
            "cell": rng.choice(["0/0/0", "1/0/0"], 400),
            "galaxy_id": rng.choice([f"h{i}" for i in range(60)], 400),
            "src_mag_r": rng.uniform(23, 25, 400),
            "probability": rng.random(400),
        }
    )
    rows.loc[0, "src_mag_r"] = 25.0
    distribution = bootstrap_thresholds(rng.random(300), 0.1)
    found = joint_intervals(rows, {"fpr1e-1@val": distribution}, (23.0, 24.0, 25.0), SURVEY)
    assert len(found) == 3 * 3
    for (cell, name), part in found.set_index(["cell", "source_mag_bin"]).iterrows():
        held = rows if cell == "marginal" else rows[rows["cell"] == cell]
        if name != "all":
            low, high = (float(edge) for edge in name.split("-"))
            held = held[(held["src_mag_r"] >= low) & ((held["src_mag_r"] < high) | (high == 25.0))]
        assert part["n"] == len(held)
        expected = share_interval(held["galaxy_id"], held["probability"], distribution, 0.95)
        assert (part["joint_95_low"], part["joint_95_high"]) == pytest.approx(expected)
    assert joint_intervals(rows.iloc[:0], {"fpr1e-1@val": distribution}, (23.0, 24.0), SURVEY).empty


def test_the_interval_of_the_sky_is_that_of_a_cluster_robust_regression():
    """150 fields of 4 to 40 injections; the correction of both is for the number of fields."""
    rng = np.random.default_rng(9)
    field = np.repeat(np.arange(150), rng.integers(4, 41, 150))
    hit = (rng.random(len(field)) < rng.beta(2.0, 4.0, 150)[field]).astype(float)
    rows = pd.DataFrame({"field": field.astype(str), "galaxy_id": np.arange(len(field)).astype(str), "cell": "0/0/0"})
    rows = rows.assign(src_mag_r=23.5, probability=hit)
    found = field_intervals(rows, {"p0.5": (np.array([0.5]), np.ones(1))}, (23.0, 24.0), SURVEY).iloc[0]
    fit = sm.OLS(hit, np.ones(len(hit))).fit(cov_type="cluster", cov_kwds={"groups": field}, use_t=True)
    low, high = fit.conf_int()[0]
    assert found["field_clustered_95_high"] - found["field_clustered_95_low"] == pytest.approx(high - low, rel=0.04)


def test_unknown_fields_are_one_cluster():
    rng = np.random.default_rng(4)
    field = np.array(["a", "b", None], dtype=object)[rng.integers(3, size=90)]
    rows = pd.DataFrame({"field": field, "galaxy_id": [f"h{i}" for i in range(90)], "cell": "0/0/0"})
    rows["src_mag_r"], rows["probability"] = 23.5, rng.random(90)
    chosen = {"fpr1e-1@val": bootstrap_thresholds(rng.random(300), 0.1)}
    unknown, known = (field_intervals(each, chosen, (23.0, 24.0), SURVEY) for each in (rows, rows.fillna("c")))
    pd.testing.assert_frame_equal(unknown, known)


def test_marginals_of_the_sky_have_bricks_as_clusters():
    """Hosts of a brick are found or not together: 12 bricks of 30 hosts tell less than 360 hosts."""
    rng = np.random.default_rng(3)
    bricks = np.repeat([f"b{i}" for i in range(12)], 30)
    rows = pd.DataFrame({"field": bricks, "galaxy_id": [f"h{i}" for i in range(360)], "cell": "0/0/0"})
    rows["src_mag_r"], rows["probability"] = 23.5, np.repeat(np.arange(12) < 4, 30) * 0.5 + 0.25
    chosen = {"p0.5": (np.array([0.5]), np.ones(1)), "fpr1e-1@val": bootstrap_thresholds(rng.random(300), 0.1)}
    found = field_intervals(rows, chosen, (23.0, 24.0), SURVEY).set_index(["threshold_id", "source_mag_bin"])
    assert set(found["cell"]) == {"marginal"}
    for name, distribution in chosen.items():
        expected = share_interval(bricks, rows["probability"], distribution, 0.95)
        for mag_bin in ("all", "23-24"):
            bounds = found.loc[(name, mag_bin), ["field_clustered_95_low", "field_clustered_95_high"]]
            assert tuple(bounds) == pytest.approx(expected)
    bounds = found.loc[("p0.5", "all"), ["field_clustered_95_low", "field_clustered_95_high"]]
    assert tuple(bounds) == pytest.approx(independent(4, 12), abs=1e-6)
