"""Meta-learners: what they gain where finders see different things, and that their layers are scikit-learn's fit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from analysis.fitted import stacking
from analysis.statistics import roc
from lake.errors import DarkHaloError, DataError


def sample(n: int = 600) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Logits of two finders, each of which sees half of what tells lenses from other galaxies; labels; pixels."""
    rng = np.random.default_rng(5)
    labels = (rng.random(n) < 0.3).astype(np.int64)
    return rng.normal(1.5 * labels[:, None], 1.0, (n, 2)), labels, rng.integers(0, 40, n)


@pytest.fixture(params=[30, pytest.param(stacking.HIDDEN, marks=pytest.mark.whole_stage)])
def _units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network as it is, which takes seconds to fit, and one of a tenth of the units for `make quick`."""
    monkeypatch.setattr(stacking, "HIDDEN", request.param)


@pytest.mark.usefixtures("_units")
@pytest.mark.parametrize("kind", stacking.KINDS)
def test_two_finders_that_see_different_things_rank_better_together(kind: str) -> None:
    inputs, labels, groups = sample()
    areas = [roc.auc(labels, inputs[:, k]) for k in (0, 1)]
    found = stacking.stacked(kind, inputs, labels, groups)
    assert roc.auc(labels, found.out_of_fold) > max(areas) + 0.03
    values = (inputs - found.mean) / found.scale
    for weights, biases in found.layers[:-1]:
        values = np.maximum(values @ weights + biases, 0)
    weights, biases = found.layers[-1]
    inside = (values @ weights + biases)[:, 0]
    assert roc.auc(labels, inside) >= roc.auc(labels, found.out_of_fold), "a fit ranks its own rows at least as well"


def test_a_regression_is_that_of_scikit_learn() -> None:
    inputs, labels, groups = sample()
    (weights, biases), *more = stacking.stacked(stacking.LOGISTIC, inputs, labels, groups).layers
    expected = LogisticRegression().fit(StandardScaler().fit_transform(inputs), labels)
    assert not more
    np.testing.assert_allclose(weights[:, 0], expected.coef_[0])
    np.testing.assert_allclose(biases, expected.intercept_)


@pytest.mark.usefixtures("_units")
def test_out_of_fold_scores_of_labels_without_signal_rank_nothing() -> None:
    inputs, labels, groups = sample(500)
    shuffled = np.random.default_rng(1).permutation(labels)
    found = stacking.stacked(stacking.NETWORK, inputs, shuffled, groups)
    assert roc.auc(shuffled, found.out_of_fold) == pytest.approx(0.5, abs=0.05)


def test_too_few_lenses_groups_and_unknown_kinds_are_refused() -> None:
    inputs, labels, groups = sample()
    with pytest.raises(DataError, match="at least 50 lenses that no member trained on, got 0"):
        stacking.stacked(stacking.LOGISTIC, inputs, np.zeros_like(labels), groups)
    with pytest.raises(DataError, match="at least 5 groups of the sky, got 1"):
        stacking.stacked(stacking.LOGISTIC, inputs, labels, np.zeros_like(groups))
    with pytest.raises(DarkHaloError, match="'kind' must be"):
        stacking.stacked("forest", inputs, labels, groups)
