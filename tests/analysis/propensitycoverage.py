"""Coverage of completeness in hosts weighted by a fitted propensity: the table of docs/statistics.md."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from analysis.fitted.propensity import fit
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.weighted import weighted_share
from tests.analysis.hostgalaxies import SHAPE, galaxies

SETTINGS = ((100, 500, 600), (250, 1200, 600), (570, 2800, 600), (570, 2800, 1500), (2000, 10000, 600))
"""Lenses and negatives that are fitted, and hosts of injections."""
USES, SHIFT = 3, 0.6
"""Injections in each host, and by how many standard deviations lenses' hosts are brighter."""


def rate(hosts: pd.DataFrame) -> np.ndarray:
    """Chance of a detection in each host, which all three covariates of `SHAPE` change strongly."""
    merit = 1.5 * (18.7 - hosts["mag_z"]) + 0.4 * (hosts["sersic"] - 2.5) + 0.8 * (hosts["type"] == "DEV")
    return expit(merit.to_numpy(float))


def truth() -> float:
    """Completeness in the lenses' hosts, with an error of a twentieth of a point."""
    return float(rate(galaxies(400_000, 0, SHIFT)).mean())


def once(rng: np.random.Generator, setting: tuple[int, int, int], true: float) -> np.ndarray:
    """Whether intervals without and with the fit's own uncertainty hold the truth, and the error of the estimate."""
    lenses, negatives, count = setting
    seeds = rng.integers(0, 2**31, 3)
    made = fit(galaxies(lenses, seeds[0], SHIFT), galaxies(negatives, seeds[1]), SHAPE, 0)
    hosts = galaxies(count, seeds[2])
    names = np.repeat(np.arange(count), USES)
    hit = (rng.random(len(names)) < rate(hosts)[names]).astype(float)
    weights, along = made.weights(hosts)[names], made.directions(hosts)[names]
    found = [weighted_share(names, hit, weights, 0.5, None, TABLE_LEVEL, each) for each in (None, along)]
    return np.array([*(each.low <= true <= each.high for each in found), found[0].completeness - true])


def table(samples: int, seed: int) -> list[tuple[int, int, int, float, float, float]]:
    """Rows: a setting; coverage without and with the fit's uncertainty, and the bias of the estimate."""
    true, rows = truth(), []
    for setting in SETTINGS:
        rng = np.random.default_rng(seed)
        without, covered, bias = np.mean([once(rng, setting, true) for _ in range(samples)], axis=0)
        rows.append((*setting, float(without), float(covered), float(bias)))
    return rows
