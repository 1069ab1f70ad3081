"""Summaries of scored injections, from which analysis judges whether to believe them; functions of batch tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import ks_2samp

from lake.errors import DataError
from lake.sky.imaging import Imaging

Array = NDArray[np.float64]

PERCENTILES = (5, 25, 50, 75, 95)
SATURATED_ABOVE, SATURATED_BELOW, SATURATED_SHARE = 0.9, 0.1, 0.9
"""Injections are saturated where over 90 % of them score above 0.9, or below 0.1."""


@dataclass(frozen=True)
class Validation:
    """Summary of a set of injections."""

    injections: int
    """Scored injections"""
    failed: int
    """Injections that could not be made or scored"""
    score_percentiles: dict[int, float]
    """Percentiles of the probability"""
    detected: dict[float, float]
    """Share of injections above each threshold"""
    host_false_positives: dict[float, float]
    """Share of the bare hosts, each counted once, above each threshold"""
    hosts: int
    """Different hosts"""
    noise_ratio_percentiles: dict[int, float]
    """Percentiles of the host's own noise over that of psfdepth"""


def validate(rows: pa.Table, thresholds: tuple[float, ...]) -> Validation:
    """Summarise batch tables (see ``schema.batch_schema``); failed rows are counted and enter nothing else."""
    scored = rows.filter(pc.equal(rows.column("status"), "scored"))
    if not scored.num_rows:
        raise DataError("no scored injections to validate")
    probability = expit(scored.column("score").to_numpy())
    _, once = np.unique(np.asarray(scored.column("galaxy_id")), return_index=True)
    host = expit(scored.column("host_score").to_numpy()[once])
    return Validation(
        injections=scored.num_rows,
        failed=rows.num_rows - scored.num_rows,
        score_percentiles=_percentiles(probability),
        detected={threshold: float((probability > threshold).mean()) for threshold in thresholds},
        host_false_positives={threshold: float((host > threshold).mean()) for threshold in thresholds},
        hosts=len(once),
        noise_ratio_percentiles=_percentiles(noise_ratio(scored)),
    )


def arc_colour(rows: pa.Table, imaging: Imaging) -> Array:
    """Colour (``imaging.arc_colour``) of the arcs from their lensed fluxes; NaN where there is none."""
    blue, red = (_numbers(rows, f"arc_flux_{imaging.bands[band]}_nmgy") for band in imaging.arc_colour)
    with np.errstate(divide="ignore", invalid="ignore"):
        return -2.5 * np.log10(np.where((blue > 0) & (red > 0), blue / red, np.nan))


def difference(injected: Array, real: Array) -> tuple[float, float]:
    """Kolmogorov-Smirnov statistic and p-value between injections and real arcs (of SNR, of colour)."""
    kept = [values[np.isfinite(values)] for values in (injected, real)]
    if not all(len(values) for values in kept):
        raise DataError("no finite values to compare")
    result = ks_2samp(*kept)
    return float(result.statistic), float(result.pvalue)


def noise_ratio(rows: pa.Table) -> Array:
    """The hosts' own noise over that of psfdepth, per row; NaN where one is unknown."""
    depth, own = (_numbers(rows, f"sky_sigma_{origin}_nmgy") for origin in ("psfdepth", "mad"))
    return own / depth


def _numbers(rows: pa.Table, name: str) -> Array:
    return np.asarray(pc.fill_null(rows.column(name), float("nan")).to_numpy(), dtype=np.float64)


def _percentiles(values: Array) -> dict[int, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {}
    return {percent: float(np.percentile(finite, percent)) for percent in PERCENTILES}
