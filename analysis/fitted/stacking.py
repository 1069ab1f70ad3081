"""Meta-learners on the logits of several finders: a logistic regression, or a network with one hidden layer.

Stacking (Wolpert 1992). What a fit is worth is measured out of fold, each fold made of whole groups of the sky.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lake.errors import DataError, not_one_of

Floats = NDArray[np.float64]
LOGISTIC, NETWORK = "logistic", "network"
KINDS = (LOGISTIC, NETWORK)
HIDDEN = 300
"""Units of the hidden layer."""
LEAST = 50
"""Lenses, and negatives, that a fit needs."""
_FOLDS = 5
_PENALTY = {LOGISTIC: 1.0, NETWORK: 1.0}
"""scikit-learn's C of the regression, and alpha of the network, on standardised inputs."""


@dataclass(frozen=True)
class Stacked:
    """A fitted meta-learner."""

    mean: Floats
    scale: Floats
    layers: Sequence[tuple[Floats, Floats]]
    """Weights (input, output) and biases (output); all layers but the last are followed by a rectifier."""
    out_of_fold: Floats
    """Logit of each row from a fit without its group."""


def stacked(kind: str, inputs: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> Stacked:
    """Fit a meta-learner of one of `KINDS` to inputs (row, finder), labels and groups (row,)."""
    if kind not in KINDS:
        raise not_one_of("kind", KINDS, kind)
    x, y, g = np.asarray(inputs, np.float64), np.asarray(labels, np.int64), np.asarray(groups)
    _enough(y, g)
    from sklearn.model_selection import StratifiedGroupKFold

    held = np.empty(len(y))
    for fit, rest in StratifiedGroupKFold(_FOLDS).split(x, y, g):
        model = _fitted(kind, x[fit], y[fit])
        held[rest] = _logits(model, x[rest])
    model = _fitted(kind, x, y)
    scaler, last = model.steps[0][1], model.steps[1][1]
    return Stacked(scaler.mean_, scaler.scale_, _layers(last), held)


def _enough(labels: NDArray[np.int64], groups: NDArray[Any]) -> None:
    for label, name in ((1, "lenses"), (0, "negatives")):
        if (count := int((labels == label).sum())) < LEAST:
            raise DataError(f"a meta-learner needs at least {LEAST} {name} that no member trained on, got {count}")
    if (count := len(np.unique(groups))) < _FOLDS:
        raise DataError(f"a meta-learner needs at least {_FOLDS} groups of the sky, got {count}")


def _fitted(kind: str, x: Floats, y: NDArray[np.int64]) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Any
    if kind == LOGISTIC:
        model = LogisticRegression(C=_PENALTY[kind])
    else:
        model = MLPClassifier((HIDDEN,), solver="lbfgs", alpha=_PENALTY[kind], max_iter=500, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the penalty keeps a fit that stops early harmless
        return make_pipeline(StandardScaler(), model).fit(x, y)


def _layers(model: Any) -> list[tuple[Floats, Floats]]:
    if hasattr(model, "coefs_"):
        return list(zip(model.coefs_, model.intercepts_, strict=True))
    return [(model.coef_.T, model.intercept_)]


def _logits(model: Any, x: Floats) -> Floats:
    p = np.clip(model.predict_proba(x)[:, 1], 1e-15, 1 - 1e-15)
    return np.asarray(np.log(p) - np.log1p(-p))
