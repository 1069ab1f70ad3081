"""Propensity of a galaxy to be a lens's host, from catalogue columns, and the weights that follow from it.

Completeness measured on random hosts holds for random hosts. Weighted by the odds that a galaxy with a host's columns
is a listed lens rather than a negative (Rosenbaum & Rubin 1983; weights of the treated, Hirano, Imbens & Ridder 2003),
hosts follow those of the lenses in these columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.weighted import effective_number
from lake.errors import DataError, invalid, not_one_of

Floats = NDArray[np.float64]

LEAST = 50
"""Lenses, and negatives, that a fit needs; effective hosts that weights must leave."""
AROUND = 5
"""Negatives that must have at least a lens's propensity for its host to count as represented."""
LEAST_SUPPORT = 0.95
"""Share of the lenses' hosts that negatives must represent for weighted hosts to stand for them."""
_KNOTS = 4
_PENALTY = 0.03
"""scikit-learn's C: inverse strength of the ridge penalty on standardised columns."""
_FOLDS = 5


@dataclass(frozen=True)
class Covariate:
    """A property of a host, from the columns of `tractor_pool` and `tractor_near_candidates`."""

    meaning: str
    arc_changes: bool
    """Whether the light of an arc, which the catalogue's fit of a lens contains, changes it"""
    columns: tuple[str, ...]
    """Catalogue columns that it is made from"""
    of: Callable[[pd.DataFrame], pd.DataFrame]
    """Makes its values, in one column or more; NaN where the catalogue has none"""


def _plain(name: str, meaning: str, arc_changes: bool) -> tuple[str, Covariate]:
    return name, Covariate(meaning, arc_changes, (name,), lambda rows: rows[[name]].astype(np.float64))


def _ellipticity(rows: pd.DataFrame) -> pd.DataFrame:
    e1, e2 = (rows[f"shape_e{k}"].to_numpy(np.float64) for k in (1, 2))
    return pd.DataFrame({"ellipticity": np.hypot(e1, e2)}, index=rows.index)


def _types(rows: pd.DataFrame) -> pd.DataFrame:
    """An indicator for each type but SER, with which the others are compared."""
    known = rows["type"].notna()
    made = {f"type={name}": (rows["type"] == name).astype(np.float64).where(known) for name in ("DEV", "REX", "EXP")}
    return pd.DataFrame(made)


COVARIATES: dict[str, Covariate] = dict(
    (
        _plain("mag_r", "r magnitude, as observed", True),
        _plain("mag_z", "z magnitude, as observed", True),
        _plain("g_minus_r", "colour, as observed", True),
        _plain("r_minus_z", "colour, as observed", True),
        _plain("z_minus_w1", "colour, as observed", True),
        _plain("shape_r", "half-light radius (arcsec)", True),
        _plain("sersic", "concentration: Sersic index of the fit", True),
        ("ellipticity", Covariate("|e| of the fit", True, ("shape_e1", "shape_e2"), _ellipticity)),
        ("type", Covariate("Tractor type, as indicators against SER", True, ("type",), _types)),
        _plain("nobs_z", "exposures in z", False),
        _plain("psfsize_r", "seeing in r (arcsec)", False),
        _plain("psfdepth_r", "point-source inverse variance in r (nMgy^-2)", False),
        _plain("ebv", "Galactic reddening", False),
    )
)
"""All covariates by name."""
DEFAULT = ("mag_z", "g_minus_r", "r_minus_z", "z_minus_w1", "shape_r", "sersic", "ellipticity", "type")
"""Those that describe the galaxy; observing conditions are axes of the grid."""
UNCHANGED = tuple(name for name, covariate in COVARIATES.items() if not covariate.arc_changes)
"""Those that the arc's own light cannot change."""


def needed(covariates: Sequence[str]) -> tuple[str, ...]:
    """Columns of the catalogue that covariates are made from. ParameterError for an unknown or repeated one."""
    for name in covariates:
        if name not in COVARIATES:
            raise not_one_of("covariates", COVARIATES, name)
    if not covariates or len(set(covariates)) < len(covariates):
        raise invalid("covariates", "at least one name, none of them twice", list(covariates))
    return tuple(dict.fromkeys(column for name in covariates for column in COVARIATES[name].columns))


def matrix(rows: pd.DataFrame, covariates: Sequence[str]) -> pd.DataFrame:
    """The numbers of covariates (row, column); not finite becomes NaN. DataError if the catalogue lacks a column."""
    if missing := [name for name in needed(covariates) if name not in rows.columns]:
        raise DataError(f"the catalogue rows lack {', '.join(missing)}")
    made = pd.concat([COVARIATES[name].of(rows) for name in covariates], axis=1)
    return made.where(np.isfinite(made))


@dataclass(frozen=True)
class Propensity:
    """A fitted propensity, and how well lenses' hosts are told from negatives, each by a model not fitted on it."""

    covariates: tuple[str, ...]
    constant: tuple[str, ...]
    """Columns that do not vary, left out of the model"""
    lenses: pd.DataFrame
    """Covariate values of the lenses' hosts that were fitted"""
    negatives: int
    """Number of negatives that were fitted"""
    incomplete: int
    """Number of lenses and negatives left out because a column has no value"""
    labels: NDArray[np.int64]
    """1 lens, 0 negative, of each fitted row"""
    values: Floats
    """Columns of the model, of each fitted row"""
    folds: Any
    """How rows are divided to be scored by models that were not fitted on them"""
    model: Any
    error: Floats
    """A square root of the covariance of its slopes: they scatter as this times independent unit errors"""

    @cached_property
    def scores(self) -> Floats:
        """Cross-fitted propensity of each fitted row."""
        from sklearn.model_selection import cross_val_predict

        p = cross_val_predict(self.model, self.values, self.labels, cv=self.folds, method="predict_proba")
        return np.asarray(p[:, 1])

    @property
    def support(self) -> float:
        """Share of the lenses' hosts that negatives represent: `AROUND` of them have at least its propensity."""
        lens, negative = (self.scores[self.labels == label] for label in (1, 0))
        return float((lens <= np.sort(negative)[-AROUND]).mean())

    def probabilities(self, hosts: pd.DataFrame) -> Floats:
        """Probability that each host is a listed lens, at the fitted ratio of lenses and negatives; NaN if unknown."""
        values = matrix(hosts, self.covariates)
        known = values.notna().all(axis=1).to_numpy()
        found = np.full(len(values), np.nan)
        if known.any():
            found[known] = self.model.predict_proba(values[known][self._used].to_numpy())[:, 1]
        return found

    def weights(self, hosts: pd.DataFrame) -> Floats:
        """Odds of each host, scaled to a mean of 1 over hosts; 0 where a column has no value.

        DataError if no host has all of them.
        """
        p = self.probabilities(hosts)
        odds = np.nan_to_num(p / (1.0 - p))
        if not odds.any():
            raise DataError(f"no host has a value of each of {', '.join(self.covariates)}")
        return odds / odds.mean()

    def directions(self, hosts: pd.DataFrame) -> Floats:
        """Derivatives of each host's log weight along independent errors of the fit (host, error), of unit variance.

        0 where a column has no value. The covariance of the slopes is the sandwich of the penalised likelihood (White
        1982), for rows that are a random sample of theirs.
        """
        values = matrix(hosts, self.covariates)
        known = values.notna().all(axis=1).to_numpy()
        found = np.zeros((len(values), self.error.shape[1]))
        if known.any():
            found[known] = self.model[:-1].transform(values[known][self._used].to_numpy()) @ self.error
        return found

    def balance(self, hosts: pd.DataFrame, weights: ArrayLike) -> pd.DataFrame:
        """How far hosts are from the lenses' hosts, with equal weights (`before`) and with those given (`after`).

        One row for each `column`: mean of hosts minus mean of lenses' hosts, over the root of the mean variance
        (Austin 2009). Hosts without a value are left out; a column that varies in neither has 0.
        """
        w, values = np.asarray(weights, dtype=np.float64), matrix(hosts, self.covariates)
        known = values.notna().all(axis=1).to_numpy()
        values, w = values[known], w[known]
        spread = np.sqrt((values.var(ddof=0) + self.lenses.var(ddof=0)) / 2.0)
        spread = spread.where(spread > 0.0, 1.0)
        gaps = [
            (pd.Series(np.average(values, axis=0, weights=used), index=values.columns) - self.lenses.mean()) / spread
            for used in (np.ones(len(w)), w)
        ]
        return pd.DataFrame({"column": values.columns, "before": gaps[0].to_numpy(), "after": gaps[1].to_numpy()})

    def refusal(self, weights: Floats, least: float) -> str | None:
        """Why weighted hosts cannot stand for the lenses' hosts, or None if they can."""
        if self.support < least:
            return f"negatives represent {self.support:.1%} of the lenses' hosts, less than {least:.0%}"
        if (count := effective_number(weights)) < LEAST:
            return f"the weighted hosts are effectively {count:.0f}, fewer than {LEAST}"
        return None

    @property
    def _used(self) -> list[str]:
        return [name for name in self.lenses.columns if name not in self.constant]


def fit(lenses: pd.DataFrame, negatives: pd.DataFrame, covariates: Sequence[str], seed: int) -> Propensity:
    """Fit a propensity on catalogue rows of lenses' hosts and of negatives, of the training split both.

    A logistic regression with a ridge penalty on cubic splines of each covariate, constant beyond the outer knots, so
    that no host's weight is extrapolated. Rows without a value are left out and counted. Classes that can be separated
    have finite weights and a support of 0, and are refused. DataError with fewer than `LEAST` of either, or if nothing
    varies.
    """
    from sklearn.model_selection import StratifiedKFold

    parts = [matrix(rows, covariates) for rows in (lenses, negatives)]
    known = [part[part.notna().all(axis=1)] for part in parts]
    for name, part in zip(("lenses", "negatives"), known, strict=True):
        if len(part) < LEAST:
            raise DataError(f"a host propensity needs {LEAST} {name} with all covariates, and there are {len(part)}")
    values = pd.concat(known, ignore_index=True)
    constant = tuple(name for name in values.columns if values[name].nunique() < 2)
    used = values.drop(columns=list(constant)).to_numpy()
    if not used.shape[1]:
        raise DataError(f"no covariate varies: {', '.join(constant)}")
    labels = np.repeat([1, 0], [len(part) for part in known])
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    model = _model(used).fit(used, labels)
    dropped = sum(map(len, parts)) - len(values)
    columns = model[:-1].transform(used)
    error = _error(columns, labels, model[-1].predict_proba(columns)[:, 1])
    return Propensity(tuple(covariates), constant, known[0], len(known[1]), dropped, labels, used, folds, model, error)


def _error(columns: Floats, labels: NDArray[np.int64], p: Floats) -> Floats:
    """A square root of the sandwich covariance of the slopes, the intercept's part left out (it scales all weights)."""
    x = np.column_stack([columns, np.ones(len(columns))])
    penalty = np.diag(np.r_[np.full(columns.shape[1], 1.0 / _PENALTY), 0.0])
    bread = np.linalg.inv((x * (p * (1.0 - p))[:, None]).T @ x + penalty)
    values, vectors = np.linalg.eigh((x * ((labels - p) ** 2)[:, None]).T @ x)
    return np.asarray((bread @ vectors * np.sqrt(np.maximum(values, 0.0)))[:-1])


def _model(values: Floats) -> Any:
    """An unfitted model, with knots at quantiles of the values; columns of a few values enter as they are."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer, StandardScaler

    steps: list[tuple[str, Any, list[int]]] = []
    for place, column in enumerate(values.T):
        knots = np.unique(np.quantile(column, np.linspace(0.0, 1.0, _KNOTS)))
        curved = len(knots) > 2
        step = SplineTransformer(knots=knots[:, None], extrapolation="constant")
        steps.append((str(place), step if curved else "passthrough", [place]))
    regression = LogisticRegression(C=_PENALTY, max_iter=5000)
    return make_pipeline(ColumnTransformer(steps), StandardScaler(), regression)
