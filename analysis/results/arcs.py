"""Arcs of real lenses and of injections, measured alike and matched in what decides how well they are seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lake.sky.imaging import Imaging

if TYPE_CHECKING:
    from injection.engine.tracing import Images

REAL, INJECTED, PAINTED, RENDERED = "real", "injected", "painted", "rendered"
"""Listed lenses and injections; on a simulated survey the lenses of known truth, and the same rendered again."""
SNR, RADIUS = "arc_snr", "arc_radius_arcsec"
_NEVER = 1e6


@dataclass(frozen=True)
class ArcStamps:
    """Stamps with arcs by the name of their group, each galaxy once in a group."""

    groups: Mapping[str, Images]
    """(object, band, y, x) nMgy"""
    sky_annulus_px: tuple[float, float]
    """Where the noise is measured"""


def measured_arcs(stamps: Images, sky_annulus_px: tuple[float, float], imaging: Imaging) -> pd.DataFrame:
    """Features of each stamp's arc with `arc_snr` and `arc_radius_arcsec`, all measured on the subtracted pixels."""
    # Compiled code: every command that reads parameters imports this module.
    from analysis.results.arc_features import arc_features
    from injection.experiment.arc_finder import arc_radii, measure_arcs
    from injection.experiment.smooth_galaxies import without_galaxies

    found = without_galaxies(stamps, sky_annulus_px, imaging)
    snr, radius = measure_arcs(found, imaging).snr, arc_radii(found, imaging)
    return arc_features(found, imaging).assign(**{SNR: snr, RADIUS: radius})


def seen(arcs: pd.DataFrame) -> pd.DataFrame:
    """Rows with an arc that counts as found, and all features."""
    from injection.experiment.arc_finder import FOUND_SNR

    return arcs[(arcs[SNR] >= FOUND_SNR) & arcs.notna().all(axis=1)]


def matched(first: pd.DataFrame, second: pd.DataFrame, snr_factor: float, radius_arcsec: float) -> NDArray[np.int64]:
    """Pairs (pair, 2): rows of two frames with nearly the same arc SNR and radius, each row once.

    The assignment with the least total distance, of pairs within ``snr_factor`` and ``radius_arcsec``.
    """
    from scipy.optimize import linear_sum_assignment

    places = [
        np.stack([np.log(one[SNR]) / np.log(snr_factor), one[RADIUS] / radius_arcsec], axis=1).astype(np.float64)
        for one in (first, second)
    ]
    apart = np.abs(places[0][:, None] - places[1][None])
    cost = np.where((apart <= 1.0).all(axis=2), np.hypot(apart[..., 0], apart[..., 1]), _NEVER)
    rows, columns = linear_sum_assignment(cost)
    kept = cost[rows, columns] < _NEVER
    return np.stack([rows[kept], columns[kept]], axis=1).astype(np.int64)
