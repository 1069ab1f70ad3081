"""Calibrators: monotone maps from a finder's logit to the probability of a lens, fitted on a fold of their own.

All but the isotonic one have the form logit P = c + a ln p - b ln(1 - p), with p the logistic of the finder's logit s:
*temperature* a = b, c = 0 (Guo et al. 2017); *platt* a = b (Platt 1999: logit P = c + a s); *beta* a, b >= 0 (Kull,
Silva Filho & Flach 2017). The *isotonic* one is monotone regression with Laplace's rule of succession at its ends.
Probabilities hold where lenses are as frequent as in the fold; :func:`shifted` converts
them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.roc import labelled
from lake.errors import DataError, invalid

Floats = NDArray[np.float64]
METHODS = ("temperature", "platt", "beta", "isotonic")


@dataclass(frozen=True)
class Calibrator:
    """A fitted map."""

    method: str
    lenses: int
    negatives: int
    """Of the fold."""
    a: float = float("nan")
    b: float = float("nan")
    c: float = float("nan")
    """Of the three parametric maps."""
    logits: tuple[float, ...] = field(default=(), repr=False)
    probabilities: tuple[float, ...] = field(default=(), repr=False)
    """Of the isotonic map: linear between these points, constant outside."""

    @property
    def share(self) -> float:
        """The fraction of lenses at which its probabilities hold: the fold's."""
        return self.lenses / (self.lenses + self.negatives)

    def apply(self, logits: ArrayLike) -> Floats:
        """Probabilities of raw logits, in any shape."""
        s = np.asarray(logits, dtype=np.float64)
        if self.method == "isotonic":
            return np.asarray(np.interp(s, self.logits, self.probabilities))
        return np.asarray(scipy.special.expit(_features(s) @ (self.a, self.b) + self.c))


def fitted(method: str, labels: ArrayLike, logits: ArrayLike) -> Calibrator:
    """The calibrator of one of `METHODS` by maximum likelihood.

    DataError where the fold has one class, or where the logits separate the classes, so that no finite map is the most
    likely one (isotonic: never).
    """
    if method not in METHODS:
        raise invalid("method", f"one of {', '.join(METHODS)}", method)
    positive, negative = labelled(labels, logits)
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    counts = (len(positive), len(negative))
    if method == "isotonic":
        at, values = _isotonic(y, s)
        return Calibrator(method, *counts, logits=tuple(at.tolist()), probabilities=tuple(values.tolist()))
    if negative.max() <= positive.min() or positive.max() <= negative.min():
        raise DataError("the logits of lenses and negatives do not overlap: no finite map is the most likely")
    if method == "temperature":
        slope = _temperature(y, s)
        return Calibrator(method, *counts, slope, slope, 0.0)
    a, b, c = _logistic(y, s) if method == "platt" else _beta(y, s)
    return Calibrator(method, *counts, a, b, c)


def shifted(probabilities: ArrayLike, from_share: float, to_share: float) -> Floats:
    """Probabilities that hold at one fraction of lenses, converted to another (Bayes' rule; Saerens et al. 2002).

    It assumes that only the fraction differs: lenses and negatives are each like those of the fold.
    """
    for name, value in (("from_share", from_share), ("to_share", to_share)):
        if not 0.0 < value < 1.0:
            raise invalid(name, "between 0 and 1", value)
    offset = np.log(to_share / (1.0 - to_share)) - np.log(from_share / (1.0 - from_share))
    p = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(scipy.special.expit(scipy.special.logit(p) + offset))


def _features(logits: Floats) -> Floats:
    """(..., 2): ln p and -ln(1 - p) of the logistic p of logits."""
    return np.stack([-np.logaddexp(0.0, -logits), np.logaddexp(0.0, logits)], axis=-1)


def _isotonic(y: Floats, s: Floats) -> tuple[Floats, Floats]:
    """Logits and probabilities between which the isotonic map is linear.

    One lens and one negative are added at the lowest logit and at the highest, as FoCal and BOSARIS do (Brummer & du
    Preez 2006, 2013): a lowest block of n negatives has 1 / (n + 2), Laplace's rule, and not 0. Without them the map
    calls impossible whatever its fold lacks, and one such object makes the log loss infinite.
    """
    from sklearn.isotonic import IsotonicRegression

    ends = np.array([s.min(), s.min(), s.max(), s.max()])
    made = IsotonicRegression(out_of_bounds="clip").fit(np.append(s, ends), np.append(y, [0.0, 1.0, 0.0, 1.0]))
    return made.X_thresholds_, made.y_thresholds_


def _temperature(y: Floats, s: Floats) -> float:
    """The slope of logit P = slope * s with the highest likelihood; not below 0, where all are one half."""

    def loss(slope: float) -> float:
        return float(np.mean(np.logaddexp(0.0, slope * s) - y * slope * s))

    scale = float(np.sqrt(np.mean(s**2)))
    found = scipy.optimize.minimize_scalar(
        loss, bounds=(0.0, 100.0 / max(scale, 1e-9)), method="bounded", options={"xatol": 1e-9}
    )
    return float(found.x)


def _logistic(y: Floats, s: Floats) -> tuple[float, float, float]:
    a, c = _regression(s[:, None], y)
    return float(a[0]), float(a[0]), c


def _beta(y: Floats, s: Floats) -> tuple[float, float, float]:
    """Kull et al. (2017), sect. 4.3: a coefficient that would be negative is 0, and the other is fitted again."""
    x = _features(s)
    (a, b), c = _regression(x, y)
    if a < 0.0:
        (b,), c = _regression(x[:, 1:], y)
        a = 0.0
    elif b < 0.0:
        (a,), c = _regression(x[:, :1], y)
        b = 0.0
    return float(a), float(b), c


def _regression(x: Floats, y: Floats) -> tuple[Floats, float]:
    """Coefficients and intercept of a logistic regression without a penalty, on standardised columns."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-12)
    made = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200).fit((x - mean) / scale, y)
    slopes = made.coef_[0] / scale
    return slopes, float(made.intercept_[0] - slopes @ mean)
