"""AUC, DeLong, the paired test, partial AUC and operating points against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_curve

from analysis.statistics import roc
from analysis.statistics.bootstrap import PRECISION, resample_ranking
from analysis.statistics.thresholds import (
    above,
    fix_thresholds,
    fpr_at_tpr,
    fpr_name,
    probability_name,
    threshold_at_fpr,
    too_few,
)
from lake.errors import DataError, ParameterError
from tests.analysis.report_inputs import EVALUATE


def sample(rng, positives=80, negatives=300, shift=1.2, decimals=None):
    labels = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    scores = rng.normal(size=len(labels)) + shift * labels
    return labels, scores if decimals is None else np.round(scores, decimals)


def brute_force(positive, negative):
    """AUC and DeLong variance by the definition, pair by pair."""
    wins = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    v10, v01 = wins.mean(axis=1), wins.mean(axis=0)
    return wins.mean(), v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_delong_equals_the_definition(decimals):
    labels, scores = sample(np.random.default_rng(0), decimals=decimals)
    area, variance = brute_force(scores[labels == 1], scores[labels == 0])
    found = roc.delong(labels, scores, 0.95)
    assert found.auc == pytest.approx(area, abs=1e-12)
    assert found.standard_error**2 == pytest.approx(variance, rel=1e-9)
    assert found.auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_delong_matches_the_bootstrap():
    rng = np.random.default_rng(2)
    labels, scores = sample(rng)
    draws = resample_ranking(labels, scores, (0.1,), 3000, rng)
    assert draws.auc.std() == pytest.approx(roc.delong(labels, scores, 0.95).standard_error, rel=0.06)


def test_delong_interval_covers():
    """True AUC of two unit normals one apart: Phi(1 / sqrt 2) = 0.76025."""
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(400):
        estimate = roc.delong(*sample(rng, 40, 120, 1.0), 0.95)
        inside += estimate.low <= 0.76025 <= estimate.high
    assert inside / 400 == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(("positives", "negatives"), [(14, 633), (633, 14), (60, 1000)])
def test_the_interval_covers_where_few_are_misranked(positives, negatives):
    """Binormal, AUC 0.98: DeLong's interval on the logit scale covers 81 to 90 %."""
    rng, shift = np.random.default_rng(4), np.sqrt(2.0) * stats.norm.ppf(0.98)
    found = [roc.delong(*sample(rng, positives, negatives, shift), 0.95) for _ in range(400)]
    assert np.mean([each.low <= 0.98 <= each.high for each in found]) > 0.94


def test_the_interval_covers_scores_that_scatter_much():
    """Exponential scores, as Hanley & McNeil's variance has them: Newcombe's method 5 covers 87 % of 100 and 1,000."""
    rng, labels = np.random.default_rng(6), np.repeat([1, 0], [100, 1000])
    inside = 0
    for _ in range(400):
        found = roc.delong(labels, np.r_[rng.exponential(19.0, 100), rng.exponential(1.0, 1000)], 0.95)
        inside += found.low <= 0.95 <= found.high
    assert inside / 400 > 0.92


def test_with_many_misranked_the_interval_is_delongs():
    labels, scores = sample(np.random.default_rng(8), 300, 900)
    found = roc.delong(labels, scores, 0.95)
    half = 1.959964 * found.standard_error / (found.auc * (1.0 - found.auc))
    expected = special.expit(special.logit(found.auc) + np.array([-half, half]))
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-6)


def test_a_measured_auc_says_how_its_interval_was_formed():
    many = sample(np.random.default_rng(8), 300, 900)
    few = sample(np.random.default_rng(4), 14, 633, 3.0)
    perfect = [0, 0, 0, 1, 1], [1.0, 2, 3, 4, 5]
    said = [roc.auc_measure("auc", *each).method for each in (many, few, perfect)]
    assert said == [
        f"DeLong, {how}" for how in ("interval on the logit scale", "score interval", "Clopper-Pearson interval")
    ]
    assert roc.auc_measure("auc", *many, "fitted").method == "fitted"


def test_perfect_separation_keeps_an_interval():
    estimate = roc.delong([0, 0, 0, 1, 1], [1.0, 2, 3, 4, 5], 0.95)
    assert (estimate.auc, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.025**0.5)


def test_paired_test_against_the_bootstrap():
    rng = np.random.default_rng(11)
    labels, base = sample(rng, 150, 600)
    better = base + 0.5 * labels + rng.normal(scale=0.5, size=len(labels))
    test = roc.delong_paired(labels, base, better, 0.95)
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    differences = []
    for _ in range(600):
        rows = np.r_[rng.choice(positive, len(positive)), rng.choice(negative, len(negative))]
        differences.append(roc.auc(labels[rows], better[rows]) - roc.auc(labels[rows], base[rows]))
    assert test.standard_error == pytest.approx(np.std(differences), rel=0.12)
    assert test.difference == pytest.approx(test.auc_b - test.auc_a)
    assert np.sign(test.z) == np.sign(test.difference)


def test_paired_test_of_a_scorer_with_itself():
    labels, scores = sample(np.random.default_rng(1))
    test = roc.delong_paired(labels, scores, 3 * scores - 1, 0.95)
    assert (test.difference, test.standard_error, test.p_value) == (0.0, 0.0, 1.0)
    assert test.indistinguishable


def test_indistinguishable_below_two_standard_errors_or_if_the_interval_contains_0():
    common = {"auc_a": 0.9921, "auc_b": 0.9930, "z": 0.35, "p_value": 0.7, "standard_error": 0.0026}
    assert roc.PairedTest(**common, difference=0.0009, low=-0.004, high=0.006).indistinguishable
    assert not roc.PairedTest(**common, difference=-0.006, low=-0.011, high=-0.001).indistinguishable
    assert roc.PairedTest(**common, difference=-0.006, low=-0.02, high=0.001).indistinguishable


def paired_scores(rng, sizes, areas, correlation):
    """Two binormal scorers of the same objects."""
    labels = np.repeat([1, 0], sizes)
    noise = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], len(labels))
    return labels, *(noise + labels[:, None] * np.sqrt(2.0) * stats.norm.ppf(areas)).T


@pytest.mark.parametrize(
    ("sizes", "areas", "correlation"),
    [((14, 633), (0.95, 0.98), 0.9), ((14, 633), (0.98, 0.998), 0.0), ((30, 633), (0.9, 0.98), 0.98)],
)
def test_the_interval_of_a_difference_covers_where_few_are_misranked(sizes, areas, correlation):
    """DeLong's covers 83 and 75 % of the first two; that of the areas and their correlation 89 % of the third."""
    rng, inside = np.random.default_rng(3), 0
    for _ in range(250):
        found = roc.delong_paired(*paired_scores(rng, sizes, areas, correlation), 0.95)
        inside += found.low <= areas[1] - areas[0] <= found.high
    assert inside / 250 > 0.94


def test_paired_delong_equals_the_definition():
    """Covariance of all pairs' wins, pair by pair; with many misranked the interval is two errors wide."""
    labels, a, b = paired_scores(np.random.default_rng(8), (120, 300), (0.75, 0.85), 0.6)
    wins = [(s[labels == 1][:, None] > s[labels == 0][None, :]).astype(float) for s in (a, b)]
    change = wins[1] - wins[0]
    variance = change.mean(axis=1).var(ddof=1) / 120 + change.mean(axis=0).var(ddof=1) / 300
    found = roc.delong_paired(labels, a, b, 0.95)
    assert (found.difference, found.standard_error) == pytest.approx((change.mean(), np.sqrt(variance)))
    assert (found.low, found.high) == pytest.approx(change.mean() + np.array([-1.959964, 1.959964]) * variance**0.5)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(change.mean()) / variance**0.5))


def test_the_score_interval_of_an_auc_solves_its_equation():
    """|A - t| = z sqrt(c V(t)), V(t) as Hanley & McNeil (1982) write it, of the scores or of their mirror image."""
    labels, scores = sample(np.random.default_rng(4), 20, 300, 2.5)
    found = roc.delong(labels, scores, 0.95)
    v10, v01 = roc.placements(scores[labels == 1], scores[labels == 0])
    lost = min((1 - v).sum() ** 2 / ((1 - v) ** 2).sum() for v in (v10, v01))
    assert 0 < lost < roc.FEW

    def variance(t):
        two_negatives, two_positives = t / (2 - t), 2 * t * t / (1 + t)
        return (t * (1 - t) + (20 + 300 - 2) * (max(two_negatives, two_positives) - t * t)) / (20 * 300)

    seen = found.standard_error**2 / variance(found.auc)
    c = (lost * seen + 5 * max(seen, 1)) / (lost + 5)
    for bound in (found.low, found.high):
        assert abs(found.auc - bound) == pytest.approx(1.959964 * np.sqrt(c * variance(bound)), rel=1e-5)


@pytest.mark.parametrize("limit", [0.001, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("decimals", [None, 1])
def test_partial_auc_equals_sklearn(limit, decimals):
    labels, scores = sample(np.random.default_rng(4), 60, 900, decimals=decimals)
    ours = roc.partial_auc(labels, scores, limit)
    assert ours.standardised == pytest.approx(roc_auc_score(labels, scores, max_fpr=limit), abs=1e-12)


def test_curve_equals_sklearn():
    labels, scores = sample(np.random.default_rng(4), decimals=1)
    fpr, tpr, _ = sklearn_curve(labels, scores, drop_intermediate=False)
    ours = roc.roc_curve(labels, scores)
    assert ours.fpr == pytest.approx(fpr, abs=1e-12)
    assert ours.tpr == pytest.approx(tpr, abs=1e-12)


@settings(max_examples=60)
@given(
    st.lists(st.integers(-5, 5), min_size=2, max_size=40),
    st.lists(st.integers(-5, 5), min_size=2, max_size=40),
)
def test_auc_is_invariant_and_antisymmetric(positive, negative):
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    scores = np.r_[positive, negative].astype(float)
    area = roc.auc(labels, scores)
    assert roc.auc(labels, np.exp(scores)) == pytest.approx(area)
    assert roc.auc(labels, -scores) == pytest.approx(1 - area)
    assert roc.auc(1 - labels, scores) == pytest.approx(1 - area)
    estimate = roc.delong(labels, scores, 0.95)
    assert 0.0 <= estimate.low <= estimate.auc <= estimate.high <= 1.0


@settings(max_examples=60)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=300), st.sampled_from([1e-4, 1e-3, 0.01, 0.1, 0.5]))
def test_thresholds_never_exceed_their_rate(scores, fpr):
    """The lowest threshold that keeps the rate: one distinct score lower would break it."""
    negatives = np.array(scores, dtype=float)
    threshold, passed = threshold_at_fpr(negatives, fpr)
    assert passed == (negatives > threshold).sum() <= fpr * len(negatives)
    lower = negatives[negatives < threshold]
    if len(lower):
        assert (negatives > lower.max()).mean() > fpr or (negatives == threshold).sum() == 0


def test_threshold_of_a_small_sample_says_so():
    negatives = np.linspace(0, 1, 700)
    assert threshold_at_fpr(negatives, 1e-4) == (1.0, 0)
    assert too_few(700, 1e-4) == "not measurable with 700 negatives, needs 100,000"


def test_reference_number_of_negatives():
    """FPR 1e-4 of 134,149 negatives is 13 objects."""
    assert threshold_at_fpr(np.random.default_rng(0).random(134_149), 1e-4)[1] == 13


def test_selection_is_strict_and_names_are_the_tables():
    points = fix_thresholds([0.1] * 100, [0.2, 0.3, 0.4], EVALUATE)
    assert points[0].test_above == 1
    assert above([0.3, 0.31], 0.3) == (1, 2)
    assert [p.threshold_id for p in points] == ["p0.3", "p0.5", "fpr1e-3@val", "fpr5e-2@val"]
    assert (fpr_name(0.05), probability_name(0.5)) == ("fpr5e-2", "p0.5")


def test_fpr_at_tpr():
    assert fpr_at_tpr([1, 2, 3, 4], [0, 1.5, 2, 5], 0.75) == 0.5


def test_failed_scores_never_rank():
    with pytest.raises(DataError, match="not finite: exclude failed objects"):
        threshold_at_fpr([0.1, np.nan], 0.1)
    with pytest.raises(DataError, match="1 of 3 scores are not finite"):
        roc.auc([1, 0, 0], [0.1, 0.2, np.inf])
    with pytest.raises(DataError, match="a ROC needs both classes"):
        roc.auc([1, 1], [0.1, 0.2])
    with pytest.raises(ParameterError, match="'labels' must be 0 or 1"):
        roc.auc([2, 0], [0.1, 0.2])
    with pytest.raises(ParameterError, match="'max_fpr' must be in"):
        roc.partial_auc([1, 0], [0.1, 0.2], 0.0)


def test_bootstrap_is_deterministic_and_agrees_with_its_point_estimates():
    labels, scores = sample(np.random.default_rng(9), 100, 800, decimals=1)
    first = resample_ranking(labels, scores, (0.1,), 400, np.random.default_rng(1))
    again = resample_ranking(labels, scores, (0.1,), 400, np.random.default_rng(1))
    assert np.array_equal(first.auc, again.auc)
    assert first.auc.mean() == pytest.approx(roc.auc(labels, scores), abs=0.005)
    exact = roc.partial_auc(labels, scores, 0.1).standardised
    assert first.partial_auc[0.1].mean() == pytest.approx(exact, abs=0.01)
    low, high = first.interval(first.partial_auc[0.1], 0.95)
    assert low <= exact <= high


def test_replicates_that_all_agree_give_no_interval():
    labels, scores = np.r_[np.ones(20), np.zeros(50)], np.linspace(0, 1, 70)[::-1]
    draws = resample_ranking(labels, scores, (0.1,), 50, np.random.default_rng(0))
    assert np.isnan(draws.interval(draws.partial_auc[0.1], 0.95)).all()


def test_clusters_widen_the_bootstrap():
    """Each negative scored five times over: the information of one."""
    rng = np.random.default_rng(3)
    labels, scores = sample(rng, 60, 100)
    keep = np.repeat(np.arange(160), 5)
    plain = resample_ranking(labels[keep], scores[keep], (), 800, rng)
    whole = resample_ranking(labels[keep], scores[keep], (), 800, rng, clusters=keep)
    assert whole.auc.std() > 1.8 * plain.auc.std()


@pytest.mark.parametrize(
    ("labels", "scores"), [([1, 0], [1, 1]), ([1, 0], [2, 1]), ([1, 0, 0], [1, 1, 1]), ([1, 1, 1, 0, 0], [1.0] * 5)]
)
def test_a_handful_of_objects_is_no_certainty(labels, scores):
    """The interval is the exact one of as many pairs as the smaller class has members, by beta quantiles."""
    found = roc.delong(labels, scores, 0.95)
    pairs = min(labels.count(0), labels.count(1))
    wins = found.auc * pairs
    low = stats.beta.ppf(0.025, wins, pairs - wins + 1) if wins else 0.0
    high = stats.beta.ppf(0.975, wins + 1, pairs - wins) if wins < pairs else 1.0
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.high - found.low > 0.8
    assert np.isnan(found.standard_error) == (pairs < 2)


def test_a_difference_whose_error_is_unknown_is_indistinguishable():
    found = roc.delong_paired([1, 0, 0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], 0.95)
    assert np.isnan([found.standard_error, found.z, found.p_value, found.low]).all()
    assert found.indistinguishable


@pytest.mark.parametrize("pairs", [2, 40])
def test_a_difference_that_all_objects_share_is_as_sure_as_they_are_many(pairs):
    """Every lens last for a, first for b: the variance is zero whatever the number; by binomial tests."""
    labels = np.repeat([1, 0], pairs)
    found = roc.delong_paired(labels, -1.0 * labels, 1.0 * labels, 0.95)
    exact = stats.binomtest(pairs, pairs)
    assert found.difference == 1.0
    assert found.indistinguishable == (pairs == 2)
    assert found.p_value == pytest.approx(exact.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(exact.proportion_ci(0.95, method="exact")))
    back = roc.delong_paired(labels, 1.0 * labels, -1.0 * labels, 0.95)
    assert (back.low, back.z) == pytest.approx((-1.0, -found.z))


@pytest.mark.parametrize(
    ("seed", "sizes", "decimals", "areas", "variance", "z", "p", "precision"),
    [
        (1, (80, 300), None, (0.8205416666666666, 0.8137916666666667), 0.0004008612163611473, -0.3371372599882175,
         0.7360134305012342, (0.528720941033864, 0.614668939235989)),
        (2, (80, 300), 1, (0.7584375, 0.8229583333333333), 0.0004891029392763139, 2.9174258828534465,
         0.003529335156233392, (0.4425515117398287, 0.5286522437814762)),
        (3, (30, 3000), None, (0.7427333333333334, 0.8153555555555556), 0.0012559300972212822, 2.0492115737632397,
         0.0404414308284112, (0.1409020151079702, 0.13127239612897149)),
    ],
)  # fmt: skip
def test_paired_delong_and_average_precision_equal_those_of_mlstatkit(
    seed, sizes, decimals, areas, variance, z, p, precision
):
    """Numbers of MLstatkit 0.1.91 (`Delong_test`, whose z is that of B minus A; `get_metric_fn("average_precision")`)
    with numpy 2.4.6, on the scores made here; the second set is rounded, with ties."""
    rng, y = np.random.default_rng(seed), np.repeat([1, 0], sizes)
    base = rng.normal(size=len(y))
    a, b = base + 0.6 * rng.normal(size=len(y)) + 1.2 * y, base + 0.6 * rng.normal(size=len(y)) + 1.5 * y
    first, second = 1 / (1 + np.exp(-np.stack([a, b])))
    if decimals is not None:
        first, second = np.round([first, second], decimals)
    test = roc.delong_paired(y, first, second, 0.95)
    assert (test.auc_a, test.auc_b) == pytest.approx(areas, rel=1e-12)
    assert test.standard_error**2 == pytest.approx(variance, rel=1e-9)
    assert (test.z, test.p_value) == pytest.approx((z, p), rel=1e-9)
    for scores, known in zip((first, second), precision, strict=True):
        draws = resample_ranking(y, scores, (), 2, rng)
        assert draws.whole[draws.names.index(PRECISION)] == pytest.approx(known, rel=1e-12)
