"""A smooth model of the probability that an injection is detected, monotone where physics says so.

A logistic regression (L2-penalised, of standardised columns) with a natural cubic spline s in the Einstein radius t,
whose other coefficients change linearly with it: logit p = s(t) + sum_j x_j (a_j (1 - u) + b_j u), u from 0 at the
smallest radius to 1 at the largest. A free parameter is one column x_j; one in which p is monotone is two, the parts
below and above its median, so that its slope may change. p is monotone if its a_j and b_j have the declared sign:
coefficients of the wrong sign are left out, and the rest are fitted again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from lake.errors import DataError

Floats = NDArray[np.float64]

_LEAST = 20
"""Detected injections, and missed ones, that a fit needs."""
_LEAST_HOSTS = 10
"""Hosts with detected injections, and hosts with missed ones, that a fit needs: resamples and folds then have both."""
_KNOTS = 8
"""Most knots of the spline."""
_FOLDS = 5
_PENALTY = 10.0
"""Inverse strength of the L2 penalty."""
_EDGE = 1e-9


@dataclass(frozen=True)
class Basis:
    """How radii (n) and parameters (n, k) become the columns of the regression."""

    signs: NDArray[np.int64]
    """Of each column: 1 rising, -1 falling, 0 free"""
    monotone: NDArray[np.bool_]
    """Whether p is monotone in each parameter (k)"""
    middle: Floats
    """Medians of the monotone parameters, where their slopes may change"""
    mean: Floats
    scale: Floats
    ends: tuple[float, float]
    """The smallest and the largest radius"""
    spline: CubicSpline | None
    """None if there is one radius only"""

    @classmethod
    def of(cls, radii: Floats, values: Floats, signs: Sequence[int]) -> Basis:
        """The basis of some injections; ``signs`` (k) are those of the parameters."""
        declared = np.asarray(signs)
        monotone = declared != 0
        middle, low, high = np.median(values[:, monotone], axis=0), float(radii.min()), float(radii.max())
        parts, own = _parts(values, monotone, middle), np.r_[declared[~monotone], np.tile(declared[monotone], 2)]
        spline = None
        if low < high:
            knots = _knots(radii)
            spline = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")
            own = np.r_[np.zeros(len(knots), dtype=np.int64), own, own]
        scale = parts.std(axis=0)
        mean = parts.mean(axis=0)
        return cls(own, monotone, middle, mean, np.where(scale > 0, scale, 1.0), (low, high), spline)

    def columns(self, radii: Floats, values: Floats) -> Floats:
        """Columns (n, m) of the regression."""
        x = (_parts(values, self.monotone, self.middle) - self.mean) / self.scale
        if self.spline is None:
            return x
        t = np.clip(radii, *self.ends)
        u = ((t - self.ends[0]) / (self.ends[1] - self.ends[0]))[:, None]
        return np.hstack([self.spline(t), x * (1.0 - u), x * u])


def _knots(radii: Floats) -> Floats:
    """Radii at which the spline is free: those of a grid, so that it interpolates between them without oscillating."""
    distinct = np.unique(radii)
    return distinct if len(distinct) <= _KNOTS else np.quantile(distinct, np.linspace(0.0, 1.0, _KNOTS))


def _parts(values: Floats, monotone: NDArray[np.bool_], middle: Floats) -> Floats:
    split = values[:, monotone]
    return np.hstack([values[:, ~monotone], np.minimum(split, middle), np.maximum(split, middle)])


@dataclass(frozen=True)
class Emulator:
    """A fitted emulator."""

    basis: Basis
    intercept: float
    slopes: Floats

    def __call__(self, radii: Floats, values: Floats) -> Floats:
        """Probability of detection (n)."""
        return self.of_columns(self.basis.columns(radii, values))

    def of_columns(self, columns: Floats) -> Floats:
        """The same from the columns of the basis."""
        return np.asarray(expit(self.intercept + columns @ self.slopes))


def fit(basis: Basis, columns: Floats, detected: ArrayLike, weights: ArrayLike | None = None) -> Emulator:
    """The model of injections with ``columns`` of ``basis``, of which some are ``detected``."""
    y, slopes = np.asarray(detected, dtype=np.int64), np.zeros(len(basis.signs))
    held = np.ones(len(slopes), dtype=bool)
    while True:
        model = LogisticRegression(C=_PENALTY, solver="newton-cholesky").fit(columns[:, held], y, sample_weight=weights)
        slopes[:] = 0.0
        slopes[held] = model.coef_[0]
        wrong = slopes * basis.signs < 0
        if not wrong.any():
            return Emulator(basis, float(model.intercept_[0]), slopes)
        held &= ~wrong


def refusal(hosts: ArrayLike, detected: ArrayLike) -> str | None:
    """Why these injections are too few for an emulator, or None."""
    names, y = np.asarray(hosts, dtype=str), np.asarray(detected, dtype=bool)
    counts = [(int(found.sum()), len(np.unique(names[found]))) for found in (y, ~y)]
    if all(n >= _LEAST and hosts >= _LEAST_HOSTS for n, hosts in counts):
        return None
    got = ", ".join(f"{n} {what} in {h}" for what, (n, h) in zip(("detected", "missed"), counts, strict=True))
    return f"an emulator needs at least {_LEAST} detected and {_LEAST} missed in {_LEAST_HOSTS} hosts each, got {got}"


def checked(hosts: ArrayLike, detected: ArrayLike) -> None:
    """DataError with the :func:`refusal`, if there is one."""
    if (reason := refusal(hosts, detected)) is not None:
        raise DataError(reason)


def host_weights(hosts: ArrayLike, replicates: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Weights (n) of injections in resamples of whole hosts."""
    codes = np.unique(np.asarray(hosts, dtype=str), return_inverse=True)[1]
    count = int(codes.max()) + 1
    for _ in range(replicates):
        yield rng.multinomial(count, np.full(count, 1.0 / count))[codes].astype(np.float64)


def logit_interval(value: float, replicates: ArrayLike, clusters: int, level: float) -> tuple[float, float]:
    """Bounds of a probability from bootstrap replicates: normal on the logit scale, with Student's t for few clusters.

    The scatter of a bootstrap over m clusters is too small by sqrt((m - 1) / m), for which it is corrected.
    """
    centre = logit(np.clip(value, _EDGE, 1.0 - _EDGE))
    scatter = np.std(logit(np.clip(replicates, _EDGE, 1.0 - _EDGE)), ddof=1) * np.sqrt(clusters / (clusters - 1))
    half = scipy.stats.t.isf((1.0 - level) / 2.0, clusters - 1) * scatter
    return float(expit(centre - half)), float(expit(centre + half))


def out_of_fold(radii: Floats, values: Floats, signs: Sequence[int], hosts: ArrayLike, detected: ArrayLike) -> Floats:
    """Probability (n) of each injection from a model that saw no injection into its host."""
    y, names = np.asarray(detected, dtype=np.int64), np.asarray(hosts, dtype=str)
    checked(names, y)
    basis, found = Basis.of(radii, values, signs), np.empty(len(y))
    columns = basis.columns(radii, values)
    for fitted, held in GroupKFold(_FOLDS, shuffle=True, random_state=0).split(columns, y, names):
        found[held] = fit(basis, columns[fitted], y[fitted])(radii[held], values[held])
    return found
