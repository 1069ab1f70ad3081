"""Arcs of real lenses and of injections, measured alike and matched in what decides how well they are seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from analysis.config import DiagnosticParams
from lake.sky.imaging import Imaging

if TYPE_CHECKING:
    from injection.engine.tracing import Images
    from injection.experiment.arc_finder import Subtracted

REAL, INJECTED, PAINTED, RENDERED = "real", "injected", "painted", "rendered"
"""Listed lenses and injections; on a simulated survey the lenses of known truth, and the same rendered again."""
SNR, RADIUS, AREA, COLOUR = "arc_snr", "arc_radius_arcsec", "arc_area_arcsec2", "arc_colour_mag"
SEEING, DEPTH = "seeing_arcsec", "depth_mag"
"""Conditions of an arc's stamp: the same SNR in worse seeing or less depth is an arc of another brightness."""
MATCHED = (SNR, RADIUS, AREA, COLOUR, SEEING, DEPTH)
"""What a pair of arcs has alike."""
_NEVER = 1e6


class AlikeArcs(DiagnosticParams):
    """When a real and an injected arc are alike: what decides how well an arc is seen, and the conditions it is seen
    in."""

    arc_pair_snr_factor: float = Field(1.3, gt=1)
    """Largest ratio of the arc SNRs of a pair."""
    arc_pair_radius_arcsec: float = Field(0.3, gt=0)
    """Largest difference of the arc radii of a pair (arcsec)."""
    arc_pair_area_factor: float = Field(1.3, gt=1)
    """Largest ratio of the areas of a pair's arcs."""
    arc_pair_colour_mag: float = Field(0.25, gt=0)
    """Largest difference of the colours of a pair's arcs (mag)."""
    arc_pair_seeing_factor: float = Field(1.15, gt=1)
    """Largest ratio of the seeing of a pair's stamps."""
    arc_pair_depth_mag: float = Field(0.3, gt=0)
    """Largest difference of the depths of a pair's stamps (mag)."""

    def pairs(self, real: pd.DataFrame, injected: pd.DataFrame) -> NDArray[np.int64]:
        """Pairs (pair, 2) of rows that are alike, as :func:`matched` finds them."""
        factors = {SNR: self.arc_pair_snr_factor, AREA: self.arc_pair_area_factor, SEEING: self.arc_pair_seeing_factor}
        differences = {
            RADIUS: self.arc_pair_radius_arcsec,
            COLOUR: self.arc_pair_colour_mag,
            DEPTH: self.arc_pair_depth_mag,
        }
        return matched(real, injected, factors, differences)


@dataclass(frozen=True)
class ArcStamps:
    """Stamps with arcs by the name of their group, each galaxy once in a group."""

    groups: Mapping[str, Images]
    """(object, band, y, x) nMgy"""
    conditions: Mapping[str, pd.DataFrame]
    """Seeing and depth (`SEEING`, `DEPTH`) of the stamps of the groups that are matched"""
    sky_annulus_px: tuple[float, float]
    """Where the noise is measured"""


def measured_arcs(stamps: Images, sky_annulus_px: tuple[float, float], imaging: Imaging) -> pd.DataFrame:
    """Features of each stamp's arc and how well it is seen, all measured on the subtracted pixels."""
    # Compiled code: every command that reads parameters imports this module.
    from analysis.comparisons.arc_features import arc_features
    from injection.experiment.smooth_galaxies import without_galaxies

    found = without_galaxies(stamps, sky_annulus_px, imaging)
    return pd.concat([arc_features(found, imaging), visibility(found, imaging)], axis=1)


def visibility(found: Subtracted, imaging: Imaging) -> pd.DataFrame:
    """SNR, radius, area and colour of the arcs on subtracted stamps."""
    from injection.experiment.arc_finder import arc_radii, measure_arcs

    measured = measure_arcs(found, imaging)
    area = found.arcs.sum(axis=(1, 2)) * imaging.pixel_scale_arcsec**2
    return pd.DataFrame({SNR: measured.snr, RADIUS: arc_radii(found, imaging), AREA: area, COLOUR: measured.colour})


def seen(arcs: pd.DataFrame) -> pd.DataFrame:
    """Rows with an arc that counts as found, and all features."""
    from injection.experiment.arc_finder import FOUND_SNR

    return arcs[(arcs[SNR] >= FOUND_SNR) & arcs.notna().all(axis=1)]


def matched(
    first: pd.DataFrame, second: pd.DataFrame, factors: Mapping[str, float], differences: Mapping[str, float]
) -> NDArray[np.int64]:
    """Pairs (pair, 2): rows of two frames that are nearly alike, each row once.

    The most pairs within the largest ratios ``factors`` and the largest ``differences`` of the named columns, and of
    those the assignment with the least total distance. A row with an unknown value has no pair.
    """
    from scipy.optimize import linear_sum_assignment

    places = [
        np.stack(
            [np.log(one[name].to_numpy(np.float64)) / np.log(factor) for name, factor in factors.items()]
            + [one[name].to_numpy(np.float64) / most for name, most in differences.items()],
            axis=1,
        )
        for one in (first, second)
    ]
    apart = np.abs(places[0][:, None] - places[1][None])
    cost = np.where((apart <= 1.0).all(axis=2), np.sqrt((apart**2).sum(axis=2)), _NEVER)
    rows, columns = linear_sum_assignment(cost)
    kept = cost[rows, columns] < _NEVER
    return np.stack([rows[kept], columns[kept]], axis=1).astype(np.int64)
