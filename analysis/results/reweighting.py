"""Completeness under another prior than the one that injections were drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.thresholds import Distribution, Ends, Threshold
from analysis.statistics.weighted import Weighted, clusters, weighted_share

Floats = NDArray[np.float64]


class Columns(Protocol):
    """Columns by name, each of one value per injection: a data frame, or a mapping of arrays."""

    def __getitem__(self, name: str, /) -> ArrayLike: ...


_SIGMAS = 3.0
_FPR = ("fpr_reached", "fpr_low", "fpr_high", "fpr_unlisted_low", "fpr_unlisted_high")
_OF_POINT = ("threshold_id", "threshold", "status", *_FPR)
"""What a row tells of its threshold"""
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
    injections: Columns,
    weights: Weights,
    points: Sequence[Threshold],
    derived: Mapping[str, Distribution],
    of: Denominator,
    ends: Mapping[str, Ends] | None = None,
) -> list[dict[str, Any]]:
    """One row per threshold, or per threshold and combination of values of the axes.

    `injections` has one row per weight, with `galaxy_id` (host), `status`, `probability`, `host_probability`,
    `detectable` and the axes; failed ones are in no denominator. `derived` has the distributions of thresholds that
    negatives fixed: their intervals (`interval` t) include it, those of chosen thresholds are host-clustered (h).
    `ends` has the ends of their ranges over unlisted lenses, where these are declared.
    """
    used = weights.values if of.factor is None else weights.values * of.factor
    counted = np.asarray(injections["status"]) == "scored"
    if of.population == "detectable":
        counted &= np.equal(np.asarray(injections["detectable"]), True).astype(bool)
    hosts = clusters(injections["galaxy_id"])
    above = np.asarray(injections["probability"], dtype=np.float64)
    bare = np.asarray(injections["host_probability"], dtype=np.float64)
    rows = []
    for point in points:
        held = np.flatnonzero(counted & (bare <= point.threshold) if of.net else counted)
        for values, part in _parts(held, {name: np.asarray(injections[name]) for name in of.by}):
            along = None if of.directions is None else of.directions[part]
            share = partial(weighted_share, hosts[part], above[part], used[part], level=TABLE_LEVEL, directions=along)
            drawn = derived.get(point.threshold_id)
            found = share(threshold=point.threshold, drawn=drawn)
            rows.append(
                {
                    "prior": weights.prior,
                    "population": f"{of.population}, net of bare hosts" if of.net else of.population,
                    **values,
                    **{name: getattr(point, name) for name in _OF_POINT},
                    "completeness": found.completeness,
                    "low_95": found.low,
                    "high_95": found.high,
                    "interval": "h" if drawn is None else "t",
                    **_over_lenses(share, (ends or {}).get(point.threshold_id)),
                    "n": len(part),
                    "n_eff": found.n_eff,
                    "support": weights.support,
                    "mean_weight": weights.mean,
                }
            )
    return rows


def _over_lenses(share: Callable[..., Weighted], ends: Ends | None) -> dict[str, float]:
    """Completeness at both ends of a threshold's range over unlisted lenses, and outer bounds of their intervals."""
    if ends is None:
        return dict.fromkeys(_RANGE, np.nan)
    low, high = (share(threshold=value, drawn=drawn) for value, drawn in ends)
    return dict(zip(_RANGE, (low.completeness, high.completeness, low.low, high.high), strict=True))


def _parts(
    held: NDArray[np.intp], axes: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[dict[str, object], NDArray[np.intp]]]:
    """The places of each combination of values, in order, or all of them."""
    if not axes:
        yield {}, held
        return
    values, code = [], np.zeros(len(held), dtype=np.int64)
    for column in axes.values():
        known, places = _ordered(column[held])
        values.append(known)
        code = code * len(known) + places
    order = np.argsort(code, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(code[order])) + 1) if len(order) else ():
        at = np.unravel_index(code[part[0]], [len(known) for known in values])
        yield {name: known[place] for name, known, place in zip(axes, values, at, strict=True)}, held[part]


def _ordered(column: NDArray[Any]) -> tuple[list[Any], NDArray[np.intp]]:
    """The different values of a column, unknown ones last, and the place of each row's among them."""
    if column.dtype != object:
        known, places = np.unique(column, return_inverse=True)
        return known.tolist(), places
    order = sorted(set(column.tolist()), key=lambda value: (value is None, "" if value is None else value))
    place = {value: number for number, value in enumerate(order)}
    return order, np.array([place[value] for value in column.tolist()], dtype=np.intp)
