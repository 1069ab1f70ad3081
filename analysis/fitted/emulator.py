"""A smooth model of the probability that an injection is detected, monotone where physics says so.

A logistic regression with a ridge penalty on the columns of :mod:`analysis.fitted.emulatorbasis`, in which p is
monotone in a parameter if the coefficients of certain columns are not negative. Newton's method; each step is a
quadratic problem with such bounds, solved as one of nonnegative least squares by scipy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from analysis.fitted.emulatorbasis import Basis
from lake.errors import DataError

Floats = NDArray[np.float64]

_LEAST = 20
"""Detected injections, and missed ones, that a fit needs."""
_LEAST_HOSTS = 10
"""Hosts with detected injections, and hosts with missed ones, that a fit needs: resamples and folds then have both."""
_FOLDS = 5
_PENALTY = 5.0
"""Strength of the ridge penalty on coefficients of standardised columns."""
_EDGE = 1e-9
_STEPS = 25
_CLOSE = 1e-4


@dataclass(frozen=True)
class Emulator:
    """A fitted emulator."""

    basis: Basis
    slopes: Floats
    """Of the standardised columns, the last one that of the constant"""

    def __call__(self, radii: Floats, values: Floats) -> Floats:
        """Probability of detection (n)."""
        return self.of_columns(self.basis.columns(radii, values))

    def of_columns(self, columns: Floats) -> Floats:
        """The same from the columns of the basis."""
        return np.asarray(expit(columns @ self.slopes))


def fit(
    basis: Basis,
    columns: Floats,
    detected: ArrayLike,
    weights: ArrayLike | None = None,
    start: Emulator | None = None,
) -> Emulator:
    """The model of injections with ``columns`` of ``basis``, of which some are ``detected``; ``start`` saves steps."""
    y = np.asarray(detected, dtype=np.float64)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    share = float(np.clip((w * y).sum() / w.sum(), _EDGE, 1.0 - _EDGE))
    slopes = np.r_[np.zeros(columns.shape[1] - 1), logit(share)] if start is None else start.slopes
    penalty = np.r_[np.full(len(slopes) - 1, _PENALTY), 0.0]
    worth = _worth(columns, y, w, penalty, slopes)
    for _ in range(_STEPS):
        p = expit(columns @ slopes)
        spread = columns * np.sqrt(np.maximum(w * p * (1.0 - p), _EDGE))[:, None]
        curvature = spread.T @ spread  # of one array with itself: half the work
        curvature[np.diag_indices_from(curvature)] += penalty
        aim = curvature @ slopes + columns.T @ (w * (y - p)) - penalty * slopes
        step, size = _bounded(curvature, aim, basis.bounded) - slopes, 1.0
        while (better := _worth(columns, y, w, penalty, slopes + size * step)) < worth and size > _CLOSE:
            size /= 2.0
        slopes, worth = slopes + size * step, max(better, worth)
        if np.abs(size * step).max() < _CLOSE:
            break
    return Emulator(basis, slopes)


def _worth(columns: Floats, y: Floats, w: Floats, penalty: Floats, slopes: Floats) -> float:
    """Log likelihood less the penalty."""
    eta = columns @ slopes
    return float((w * (y * eta - np.logaddexp(0.0, eta))).sum() - (penalty * slopes**2).sum() / 2.0)


def _bounded(curvature: Floats, aim: Floats, bounded: NDArray[np.bool_]) -> Floats:
    """x with least x'Cx / 2 - aim'x of which the ``bounded`` are not negative.

    The others are eliminated; what is left is a problem of nonnegative least squares in a Cholesky factor.
    """
    rest, x = ~bounded, np.empty(len(aim))
    mixed = curvature[np.ix_(rest, bounded)]
    factor = scipy.linalg.cho_factor(curvature[np.ix_(rest, rest)], check_finite=False)
    solved = scipy.linalg.cho_solve(factor, np.column_stack([aim[rest], mixed]), check_finite=False)
    if bounded.any():
        root = np.linalg.cholesky(curvature[np.ix_(bounded, bounded)] - mixed.T @ solved[:, 1:])
        target = scipy.linalg.solve_triangular(root, aim[bounded] - mixed.T @ solved[:, 0], lower=True)
        x[bounded] = scipy.optimize.nnls(root.T, target)[0]
    x[rest] = solved[:, 0] - solved[:, 1:] @ x[bounded]
    return x


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
    half = -scipy.special.stdtrit(clusters - 1, (1.0 - level) / 2.0) * scatter
    return float(expit(centre - half)), float(expit(centre + half))


def out_of_fold(radii: Floats, values: Floats, signs: Sequence[int], hosts: ArrayLike, detected: ArrayLike) -> Floats:
    """Probability (n) of each injection from a model that saw no injection into its host."""
    from sklearn.model_selection import GroupKFold  # late: a second of imports, which no point of the emulator needs

    y, names = np.asarray(detected, dtype=np.int64), np.asarray(hosts, dtype=str)
    checked(names, y)
    basis, found = Basis.of(radii, values, signs), np.empty(len(y))
    columns = basis.columns(radii, values)
    for fitted, held in GroupKFold(_FOLDS, shuffle=True, random_state=0).split(columns, y, names):
        found[held] = fit(basis, columns[fitted], y[fitted]).of_columns(columns[held])
    return found
