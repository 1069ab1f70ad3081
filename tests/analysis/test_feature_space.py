"""The feature space of groups whose places are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.comparisons import populations as held
from analysis.comparisons.populations import EMBEDDING, Populations
from analysis.diagnostics import feature_space
from analysis.diagnostics.feature_space import GROUPS, Params, examined
from tests.analysis.outcomes import measure, status
from tests.analysis.populations import groups, unembedded


@pytest.fixture(scope="module")
def params(diagnose):
    small = {"feature_permutations": 60, "feature_components": 8, "feature_pictured": 20, "feature_neighbours": 5}
    return Params.model_construct(**{**diagnose.model_dump(), **small})


@pytest.fixture
def unpictured(monkeypatch):
    """Without the seconds of UMAP."""
    monkeypatch.setattr(feature_space, "placed", lambda values, *_: np.asarray(values)[:, :2])


def made(shift, params, **sizes):
    return examined(groups(np.random.default_rng(3), injected=shift, **sizes), params, np.random.default_rng(1), 1)


def test_injections_like_lenses_are_on_their_manifold(params, unpictured):
    outcome = made(0.0, params)
    assert status(outcome, "feature_space/manifold") == "PASS"
    assert measure(outcome, "realism/frechet_ratio").high < 0.5
    for space in ("block_1", "embedding"):
        assert measure(outcome, f"feature_space/{space}/frechet_p").value > 0.01
        assert measure(outcome, f"feature_space/{space}/kid_p").value > 0.01


def test_injections_beyond_negatives_are_on_another(params, unpictured):
    outcome = made(-5.0, params, n=150)
    assert status(outcome, "feature_space/manifold") == "FAIL"
    assert measure(outcome, "realism/frechet_ratio").low > 2.0
    assert measure(outcome, "feature_space/embedding/frechet_p").value < 0.05
    assert "times as far from listed lenses as negatives do" in outcome.findings[0].text


def test_medians_and_points_are_of_each_group(params, unpictured):
    outcome = made(0.0, params)
    medians = [measure(outcome, f"feature_space/median_probability/{name}") for name in GROUPS]
    assert all(one.low <= one.value <= one.high for one in medians)
    series = {point.series: 0 for point in outcome.points if point.figure == "feature_space/umap"}
    assert set(series) == {held.LISTED, held.INJECTIONS, held.NEGATIVES, held.LOW_OFFSET, held.HIGH_OFFSET}
    assert len([point for point in outcome.points if point.series == held.LISTED]) == 20
    assert {point.label for point in outcome.points if point.figure.endswith("distance")} == {"block 1", "embedding"}
    assert "outside every prior" in measure(outcome, "feature_space/low_offset/probe_auc").method


def test_features_that_are_not_finite_are_not_measured(params, unpictured):
    whole = groups(np.random.default_rng(3))
    whole.groups[held.NEGATIVES].spaces[EMBEDDING][:2] = np.nan
    outcome = examined(whole, params, np.random.default_rng(1), 1)
    why = "not measurable: the embedding of 2 of 60 negatives is not finite"
    assert measure(outcome, "realism/frechet_ratio").method == why
    assert held.NEGATIVES not in {point.series for point in outcome.points}
    assert np.isfinite(measure(outcome, "feature_space/embedding/frechet_excess").value)


def test_a_finder_without_embedding_has_scores_alone(params):
    whole = unembedded(groups(np.random.default_rng(3)))
    outcome = examined(whole, params, np.random.default_rng(1), 1)
    assert status(outcome, "feature_space/manifold") == "NOT MEASURED"
    assert not outcome.points
    told = {m.name: m for m in outcome.measures}
    assert told["realism/frechet_ratio"].method == "not measurable: the finder has no embedding"
    assert told["feature_space/median_probability/negatives"].value == pytest.approx(0.5, abs=0.1)
    assert np.isnan(told["feature_space/low_offset/probe_auc"].value)


def test_a_finder_without_finite_scores_is_not_measured(params):
    whole = unembedded(groups(np.random.default_rng(3)))
    mute = {name: replace(one, scores=np.full(len(one), np.nan)) for name, one in whole.groups.items()}
    outcome = examined(replace(whole, groups=mute), params, np.random.default_rng(1), 1)
    median = measure(outcome, "feature_space/median_probability/negatives")
    assert (np.isnan(median.value), median.method) == (True, "not measurable: the finder gave no finite score")


def test_missing_groups_are_named(params, unpictured):
    whole = groups(np.random.default_rng(3))
    kept = {name: one for name, one in whole.groups.items() if name not in (held.NEGATIVES, held.TIER_A)}
    outcome = examined(Populations(kept, {}, whole.blocks), params, np.random.default_rng(1), 1)
    assert measure(outcome, "realism/frechet_ratio").method == "not measurable: there are no negatives"
    assert measure(outcome, "feature_space/median_probability/tier_a").method == "not measurable: there are no Tier A"
