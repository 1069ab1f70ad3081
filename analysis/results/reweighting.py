"""Completeness under another prior than the one that injections were drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.thresholds import Distribution, Ends, Threshold
from analysis.statistics.weighted import weighted_share

Floats = NDArray[np.float64]

_SIGMAS = 3.0
_RANGE = ("unlisted_low", "unlisted_high", "unlisted_bound_low", "unlisted_bound_high")


@dataclass(frozen=True)
class Weights:
    """Importance weights of all injections of a grid, failed ones included, under one prior."""

    prior: str
    values: Floats
    support: float
    """Share of the prior's mass that the injections can represent"""

    @property
    def mean(self) -> float:
        """One where the injections cover the prior, up to its own noise."""
        return float(self.values.mean())

    def refusal(self, drawn: str, least: float) -> str | None:
        """Why these injections cannot give the completeness under the prior, or None if they can."""
        if not len(self.values):
            return f"no injection was drawn from '{drawn}'"
        noise = float(self.values.std()) / np.sqrt(len(self.values))
        if self.support < least:
            why = f"cover {self.support:.1%} of '{self.prior}', less than {least:.0%}"
        elif self.mean + _SIGMAS * noise < least:
            why = f"have a mean weight of {self.mean:.3f} +- {noise:.3f} under '{self.prior}', below {least:.0%}"
        else:
            return None
        return f"the injections, drawn from '{drawn}', {why}"


@dataclass(frozen=True)
class Denominator:
    """Which injections count, and with which further weight."""

    population: str = "all"
    """all, or detectable: those declared so"""
    net: bool = False
    """Whether to count only injections whose bare host is not above the threshold already"""
    by: tuple[str, ...] = ()
    """Columns of the injections to group by"""
    factor: Floats | None = None
    """A further weight of each injection"""
    directions: Floats | None = None
    """How it follows the errors of a fit, where it was estimated (:func:`weighted_share`)"""


def reweighted(
    injections: pd.DataFrame,
    weights: Weights,
    points: Sequence[Threshold],
    derived: Mapping[str, Distribution],
    of: Denominator,
    ends: Mapping[str, Ends] | None = None,
) -> pd.DataFrame:
    """One row per threshold, or per threshold and combination of values of the axes.

    `injections` has one row per weight, with `galaxy_id` (host), `status`, `probability`, `host_probability`,
    `detectable` and the axes; failed ones are in no denominator. `derived` has the distributions of thresholds that
    negatives fixed: their intervals (`interval` t) include it, those of chosen thresholds are host-clustered (h).
    `ends` has the ends of their ranges over unlisted lenses, where these are declared.
    """
    used = weights.values if of.factor is None else weights.values * of.factor
    counted = injections["status"] == "scored"
    if of.population == "detectable":
        counted &= injections["detectable"].astype("boolean").fillna(False).to_numpy(bool)
    rows = []
    for point in points:
        drawn = derived.get(point.threshold_id)
        bare = injections["host_probability"] <= point.threshold
        held = injections.assign(_weight=used, _place=np.arange(len(injections)))[counted & bare if of.net else counted]
        for values, part in _parts(held, of.by):
            hosts, values_of, w = part["galaxy_id"], part["probability"], part["_weight"]
            along = None if of.directions is None else of.directions[part["_place"]]
            found = weighted_share(hosts, values_of, w, point.threshold, drawn, TABLE_LEVEL, along)
            rows.append(
                {
                    "prior": weights.prior,
                    "population": f"{of.population}, net of bare hosts" if of.net else of.population,
                    **values,
                    "threshold_id": point.threshold_id,
                    "threshold": point.threshold,
                    "status": point.status,
                    "fpr_reached": point.fpr_reached,
                    "fpr_low": point.fpr_low,
                    "fpr_high": point.fpr_high,
                    "fpr_unlisted_low": point.fpr_unlisted_low,
                    "fpr_unlisted_high": point.fpr_unlisted_high,
                    "completeness": found.completeness,
                    "low_95": found.low,
                    "high_95": found.high,
                    "interval": "h" if drawn is None else "t",
                    **_over_lenses(hosts, values_of, w, (ends or {}).get(point.threshold_id), along),
                    "n": len(part),
                    "n_eff": found.n_eff,
                    "support": weights.support,
                    "mean_weight": weights.mean,
                }
            )
    return pd.DataFrame(rows)


def _over_lenses(
    hosts: pd.Series, values: pd.Series, weights: pd.Series, ends: Ends | None, along: Floats | None
) -> dict[str, float]:
    """Completeness at both ends of a threshold's range over unlisted lenses, and outer bounds of their intervals."""
    if ends is None:
        return dict.fromkeys(_RANGE, np.nan)
    low, high = (weighted_share(hosts, values, weights, value, drawn, TABLE_LEVEL, along) for value, drawn in ends)
    return dict(zip(_RANGE, (low.completeness, high.completeness, low.low, high.high), strict=True))


def _parts(held: pd.DataFrame, by: tuple[str, ...]) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """The rows of each combination of values, or all of them."""
    if not by:
        yield {}, held
        return
    for values, part in held.groupby(list(by), dropna=False, sort=True):
        yield dict(zip(by, values, strict=True)), part
