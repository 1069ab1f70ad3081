"""Calibration of probabilities: reliability curve, ECE and MCE, positive region, saturation, Brier, log loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.intervals import jeffreys
from lake.errors import DataError, invalid

Floats = NDArray[np.float64]
_EPS = 1e-12


@dataclass(frozen=True)
class Reliability:
    """The reliability curve; NaN in empty bins."""

    edges: Floats
    count: NDArray[np.int64]
    positives: NDArray[np.int64]
    predicted: Floats
    """Mean probability in the bin."""
    observed: Floats
    """Share of positives in the bin."""
    low: Floats
    high: Floats
    """Jeffreys bounds of the share."""

    @property
    def gap(self) -> Floats:
        """|observed - predicted| per bin; 0 where the bin is empty."""
        return np.nan_to_num(np.abs(self.observed - self.predicted))


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int, level: float) -> Reliability:
    """Reliability in equal-width bins, closed on the right except the first."""
    y, p = _checked(labels, probabilities)
    edges = np.linspace(0.0, 1.0, bins + 1)
    return _curve(y, p, equal_width(p, bins), edges, level)


def equal_width(probabilities: Floats, bins: int) -> NDArray[np.int64]:
    """Bin of each probability, of equal width and closed on the right except the first."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, probabilities, side="left") - 1, 0, bins - 1)


def adaptive_reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int, level: float) -> Reliability:
    """Reliability in bins of equal numbers of objects."""
    y, p = _checked(labels, probabilities)
    order = np.argsort(p, kind="stable")
    which = np.empty(len(p), dtype=np.int64)
    which[order] = np.arange(len(p)) * bins // len(p)
    edges = np.quantile(p, np.linspace(0.0, 1.0, bins + 1))
    return _curve(y, p, which, edges, level)


def calibration_error(curve: Reliability, weights: NDArray[np.int64]) -> float:
    """The gap averaged with weights: `count` gives the ECE (dominated by negatives near 0 where lenses are rare),
    `positives` the error as the lenses see it; NaN if all are 0."""
    return mean_gap(curve.gap, weights)


def mean_gap(gap: Floats, weights: NDArray[np.int64] | Floats) -> float:
    """Gaps of bins averaged with weights; NaN if all are 0."""
    total = float(weights.sum())
    return float((gap * weights).sum() / total) if total else float("nan")


def maximum_error(curve: Reliability, weights: NDArray[np.int64]) -> float:
    """The largest gap of the bins with a positive weight (MCE for `count`); NaN if there is none."""
    return float(curve.gap[weights > 0].max()) if weights.any() else float("nan")


def brier(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, float]:
    """Brier score, and its skill against always predicting the base rate."""
    y, p = _checked(labels, probabilities)
    return _with_skill(float(np.mean((p - y) ** 2)), float(y.mean() * (1.0 - y.mean())))


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, float]:
    """Negative log-likelihood per object (nats), and its skill against the base rate; no skill with one class."""
    y, p = _checked(labels, probabilities)
    one_class = y.min() == y.max()
    return _with_skill(_nll(y, p), 0.0 if one_class else _nll(y, np.full(len(y), y.mean())))


def cox(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, float]:
    """Cox's recalibration slope and intercept: logit P(lens) = intercept + slope * logit p (1 and 0 are ideal).

    A slope below 1 means overconfident scores. NaN if there is no finite maximum-likelihood slope: a class is missing,
    all probabilities are equal, or some probability separates the classes (Albert & Anderson 1984).
    """
    y, p = _checked(labels, probabilities)
    p = np.clip(p, _EPS, 1.0 - _EPS)
    logit = np.log(p) - np.log1p(-p)
    negative, positive = logit[y == 0], logit[y == 1]
    one_class = not len(negative) or not len(positive)
    if one_class or negative.max() <= positive.min() or positive.max() <= negative.min():
        return float("nan"), float("nan")

    def loss(parameters: Floats) -> tuple[float, Floats]:
        t = parameters[0] * logit + parameters[1]
        q = 0.5 * (1.0 + np.tanh(0.5 * t))
        gradient = np.array([np.mean((q - y) * logit), np.mean(q - y)])
        return float(np.mean(np.logaddexp(0.0, t) - y * t)), gradient

    slope, intercept = scipy.optimize.minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return float(slope), float(intercept)


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if y.shape != p.shape or y.ndim != 1:
        raise invalid("probabilities", f"one per label, shape {y.shape}", p.shape)
    if len(p) == 0:
        raise DataError("no objects: calibration needs at least one")
    if not np.all((p >= 0.0) & (p <= 1.0)):
        raise invalid("probabilities", "between 0 and 1 (logits must pass through a sigmoid)", (p.min(), p.max()))
    return y, p


def _curve(y: Floats, p: Floats, which: NDArray[np.int64], edges: Floats, level: float) -> Reliability:
    bins = len(edges) - 1
    count = np.bincount(which, minlength=bins).astype(np.int64)
    positives = np.bincount(which, weights=y, minlength=bins).astype(np.int64)
    summed = np.bincount(which, weights=p, minlength=bins)
    safe = np.maximum(count, 1)
    empty = count == 0
    predicted, observed = np.where(empty, np.nan, summed / safe), np.where(empty, np.nan, positives / safe)
    low, high = jeffreys(positives, count, level)
    return Reliability(edges, count, positives, predicted, observed, low, high)


def _nll(y: Floats, p: Floats) -> float:
    p = np.clip(p, _EPS, 1.0 - _EPS)
    return float(-np.mean(y * np.log(p) + (1.0 - y) * np.log1p(-p)))


def _with_skill(value: float, reference: float) -> tuple[float, float]:
    return value, 1.0 - value / reference if reference > 0 else float("nan")
