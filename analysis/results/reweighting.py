"""Completeness under another prior than the one that injections were drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.thresholds import Threshold
from analysis.statistics.uncertain import Distribution
from analysis.statistics.weighted import weighted_share

Floats = NDArray[np.float64]

THETA_E = "lens_theta_e_arcsec"
_SIGMAS = 3.0


@dataclass(frozen=True)
class Weights:
    """Importance weights of all injections of a grid, failed ones included, under one prior."""

    prior: str
    values: Floats
    support: float
    """Share of the prior's mass that the injections can stand for"""

    @property
    def mean(self) -> float:
        """One where the injections cover the prior, up to its own noise."""
        return float(self.values.mean())

    def refusal(self, drawn: str, least: float) -> str | None:
        """Why these injections cannot tell the completeness under the prior, or None where they can."""
        noise = float(self.values.std()) / np.sqrt(len(self.values))
        if self.support < least:
            why = f"cover {self.support:.1%} of '{self.prior}', less than {least:.0%}"
        elif self.mean + _SIGMAS * noise < least:
            why = f"have a mean weight of {self.mean:.3f} +- {noise:.3f} under '{self.prior}', below {least:.0%}"
        else:
            return None
        return f"the injections, drawn from '{drawn}', {why}"


def reweighted(
    injections: pd.DataFrame,
    weights: Weights,
    points: Sequence[Threshold],
    derived: Mapping[str, Distribution],
    by_theta_e: bool = False,
) -> pd.DataFrame:
    """One row per threshold, or per Einstein radius and threshold.

    `injections` has one row per weight, with `galaxy_id` (host), `status`, `probability` and `lens_theta_e_arcsec`;
    failed ones are in no denominator. `derived` has the distributions of thresholds that negatives fixed; their
    intervals (`interval` t) include it, those of chosen thresholds are host-clustered (h).
    """
    scored = (injections["status"] == "scored").to_numpy()
    radii = injections[THETA_E].to_numpy(float)
    groups = [(radius, scored & (radii == radius)) for radius in np.unique(radii)] if by_theta_e else [(None, scored)]
    rows = []
    for radius, held in groups:
        part, w = injections[held], weights.values[held]
        for point in points:
            drawn = derived.get(point.threshold_id)
            found = weighted_share(part["galaxy_id"], part["probability"], w, point.threshold, drawn, TABLE_LEVEL)
            rows.append(
                {
                    "prior": weights.prior,
                    **({} if radius is None else {"theta_e_arcsec": radius}),
                    "threshold_id": point.threshold_id,
                    "threshold": point.threshold,
                    "status": point.status,
                    "fpr_reached": point.fpr_reached,
                    "completeness": found.completeness,
                    "low_95": found.low,
                    "high_95": found.high,
                    "interval": "h" if drawn is None else "t",
                    "n": int(held.sum()),
                    "n_eff": found.n_eff,
                    "support": weights.support,
                    "mean_weight": weights.mean,
                }
            )
    return pd.DataFrame(rows)
