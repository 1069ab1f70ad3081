"""A slice of `completeness` in the layout of the reference system's per-cell tables."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from analysis.comparisons.foreign_cells import COLUMNS, RANGE, RATES
from analysis.statistics.completeness import ALL, MARGINAL
from lake.errors import DataError

_NAMES = {
    "theta_e_arcsec": "theta_e",
    "psf_centre_arcsec": "psf_fwhm",
    "depth_centre_mag": "depth_5sig",
    "n": "n_injections",
    "detected": "n_detected",
    "failed": "n_failed",
    "jeffreys_68_low": "ci68_lo",
    "jeffreys_68_high": "ci68_hi",
    "jeffreys_95_low": "ci95_lo",
    "jeffreys_95_high": "ci95_hi",
}
_FEW = 10
"""Least number of injections in a sufficient magnitude bin."""


def exported(rows: pd.DataFrame, per_cell: float | None) -> pd.DataFrame:
    """The cells (`COLUMNS` of the layout, then the rate of each threshold) without marginals, which follow from them.

    Without ``per_cell``, `sufficient` is null. DataError where the slice has no cells of seeing and depth.
    """
    cells = rows[(rows["cell"] != MARGINAL) & rows["psf_centre_arcsec"].notna() & rows["depth_centre_mag"].notna()]
    if cells.empty:
        raise DataError("the slice has no cells of Einstein radius, PSF and depth, so this layout cannot hold it")
    order = ["threshold_id", "theta_e_arcsec", "psf_centre_arcsec", "depth_centre_mag", "source_mag_bin"]
    made = cells.sort_values(order, ignore_index=True).rename(columns=_NAMES | RATES | RANGE)
    made["fpr_target"] = [_rate(name) for name in made["threshold_id"]]
    made["threshold_type"] = [
        "fixed" if np.isnan(rate) else f"FPR={rate:.1e}" for rate in made["fpr_target"].to_numpy(float)
    ]
    needed = np.where(made["source_mag_bin"] == ALL, np.nan if per_cell is None else per_cell, _FEW)
    made["sufficient"] = (made["n_injections"] >= needed).astype(object).mask(np.isnan(needed))
    return made[[*COLUMNS, *RATES.values(), *RANGE.values()]]


def _rate(threshold_id: str) -> float:
    """The false-positive rate that a threshold's name gives, NaN where it was chosen beforehand."""
    found = re.match(r"fpr([0-9.e+-]+)@", threshold_id)
    return float(found[1]) if found else np.nan
