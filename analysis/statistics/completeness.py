"""Completeness: intervals on the counts that Spark SQL makes.

A row is one cell x threshold x source-magnitude bin of one grid, model and weighting. Failures are counted apart from
the denominator and never in it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike

from analysis.statistics.intervals import NARROW_LEVEL, TABLE_LEVEL, ClusterSums, Interval, clustered, jeffreys
from lake import tables
from lake.errors import DataError

IDENTITY = ("grid_id", "grid_name", "checkpoint_id", "generation", "weighting_id", "prior")
"""Columns that must be equal in rows that are combined."""
ALL = "all"
MARGINAL = "marginal"
UNLENSED = "unlensed"
"""Family of the magnitude bins of our own grids: the source's magnitude before lensing."""
HOST_SUMS = ("host_detected_sq", "host_detected_n", "host_n_sq")
"""Optional input columns: over the hosts of the row, the sums of detected^2, detected * n and n^2."""
_CENTRES = {"psf_centre_arcsec": "psf_fwhm_nea_arcsec", "depth_centre_mag": "depth_mag"}
_COUNTS = ("n", "detected", "failed", "hosts")
_KINDS = (("joint_95", "t"), ("host_clustered_95", "h"), ("jeffreys_95", "j"))
"""Intervals of a row, the most complete first, and their marks."""


def with_intervals(counts: pd.DataFrame) -> pd.DataFrame:
    """Add completeness, Jeffreys 68 % and 95 % and host-clustered 95 % intervals to rows of counts.

    The clustered interval needs `HOST_SUMS` of injections grouped by host; without them it is null. Sums of
    several rows do not hold them, as their hosts may be the same: as many hosts as injections do not show that each
    served once. DataError for sums that no hosts have.
    """
    _check_counts(counts)
    _check_host_sums(counts)
    k, n = counts["detected"].to_numpy(float), counts["n"].to_numpy(float)
    rows = counts.copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        rows["completeness"] = np.where(n > 0, k / n, np.nan)
    _put(rows, "jeffreys_68", jeffreys(k, n, NARROW_LEVEL))
    _put(rows, "jeffreys_95", jeffreys(k, n, TABLE_LEVEL))
    _put(rows, "host_clustered_95", _clustered(rows, k, n))
    return rows


def interval_of(row: pd.Series) -> tuple[float, float, str]:
    """The most complete 95 % interval of a completeness and its mark: with the threshold's uncertainty (t),
    host-clustered (h), or Jeffreys (j) if hosts are not known; NaN where there is none."""
    for kind, mark in _KINDS:
        low, high = row.get(f"{kind}_low"), row.get(f"{kind}_high")
        if not (pd.isna(low) or pd.isna(high)):
            return float(low), float(high), mark
    return math.nan, math.nan, ""


def bin_numbers(values: np.ndarray, cuts: ArrayLike) -> np.ndarray:
    """Bin of each value, closed on the left; the last bin holds its upper edge too; -1 outside or not finite."""
    edges = np.asarray(cuts, dtype=float)
    index = np.searchsorted(edges, values, side="right") - 1
    index = np.where(values == edges[-1], len(edges) - 2, index)
    return np.where((index >= 0) & (index < len(edges) - 1) & np.isfinite(values), index, -1)


def equally_weighted(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `completeness` in which all injections count the same, so that their counts may be summed."""
    return rows if rows.empty else rows[rows["weighting_id"] == rows["prior"]]


class Marginal(NamedTuple):
    """A completeness over all cells and magnitudes, with its most complete 95 % interval (NaN where there is none)."""

    value: float
    low: float
    high: float
    n: int


def marginal_of(rows: pd.DataFrame, threshold_id: str) -> Marginal | None:
    """The marginal at one threshold in rows of one weighting; None where it is not in them."""
    if rows.empty:
        return None
    chosen = (rows["threshold_id"] == threshold_id) & (rows["source_mag_bin"] == ALL) & (rows["cell"] == MARGINAL)
    found = rows[chosen]
    if found.empty:
        return None
    low, high, _ = interval_of(found.iloc[0])
    return Marginal(float(found["completeness"].iloc[0]), low, high, int(found["n"].iloc[0]))


def cells_at(rows: pd.DataFrame, threshold_id: str) -> pd.DataFrame:
    """The cells at one threshold, summed over source magnitudes; none of an empty table."""
    if rows.empty:
        return rows
    chosen = (rows["threshold_id"] == threshold_id) & (rows["source_mag_bin"] == ALL)
    return rows[chosen & (rows["cell"] != MARGINAL)]


def require_one_identity(rows: pd.DataFrame) -> None:
    """Raise a DataError for rows of different grids, models, weightings or priors, or a threshold with two values."""
    for name in IDENTITY:
        found = sorted(rows[name].astype(str).unique())
        if len(found) > 1:
            raise DataError(f"completeness rows of different '{name}' cannot be combined: {', '.join(found)}")
    values = rows.groupby("threshold_id")["threshold"].nunique()
    if (values > 1).any():
        raise DataError(f"threshold '{values.idxmax()}' has more than one value: rows of different runs are mixed")


def completeness_table(counts: pd.DataFrame) -> pa.Table:
    """Rows of the `completeness` table without lineage: cells and marginals as SQL counted them, with their intervals.

    A host is used at several Einstein radii, so hosts of cells cannot be summed: marginals group each host over all.
    """
    require_one_identity(counts)
    _check_bins(counts)
    _check_marginals(counts)
    family = counts["source_mag_bin"].map(lambda name: None if name == ALL else UNLENSED)
    rows = counts.assign(origin="own", source_mag_family=family)
    for centre, edges in _CENTRES.items():
        rows[centre] = (counts[f"{edges}_low"] + counts[f"{edges}_high"]) / 2.0
    return table_rows(rows)


def table_rows(counts: pd.DataFrame) -> pa.Table:
    """Counts with their intervals, in the columns of the `completeness` table but lineage; others are null."""
    spec = tables.spec("completeness")
    fields = [column.arrow for column in spec.columns if column.role != "lineage"]
    rows = with_intervals(counts).reindex(columns=[field.name for field in fields])
    return pa.Table.from_pandas(rows, schema=pa.schema(fields), preserve_index=False)


def _of_hosts(rows: pd.DataFrame) -> list[np.ndarray]:
    """Hosts and `HOST_SUMS` of each row; NaN where not known."""
    names = ("hosts", *HOST_SUMS)
    return [rows[name].to_numpy(float) if name in rows.columns else np.full(len(rows), np.nan) for name in names]


def _clustered(rows: pd.DataFrame, k: np.ndarray, n: np.ndarray) -> Interval:
    """The host-clustered interval; null if hosts or their sums are not known."""
    facts = _of_hosts(rows)
    unknown = np.isnan(facts).any(axis=0)
    known = [np.where(unknown, 0.0, values) for values in (k, n, *facts)]
    found = clustered(known[0], known[1], ClusterSums(*known[2:]), TABLE_LEVEL)
    return Interval(np.where(unknown, np.nan, found.low), np.where(unknown, np.nan, found.high))


def _check_counts(rows: pd.DataFrame) -> None:
    missing = [name for name in _COUNTS if name not in rows.columns]
    if missing:
        raise DataError(f"completeness counts lack {', '.join(missing)}")
    bad = (rows["detected"] > rows["n"]) | (rows[list(_COUNTS)] < 0).any(axis=1) | (rows["hosts"] > rows["n"])
    if bad.any():
        raise DataError(f"{int(bad.sum())} rows break detected <= n, hosts <= n or a count is negative")


def _check_host_sums(rows: pd.DataFrame) -> None:
    """Refuse sums that no hosts have, such as those of cells added up beside the number of hosts of them all.

    Over m hosts a sum of squares is at least the square of the sum over m, for the detected, the missed and all.
    """
    k, n = rows["detected"].to_numpy(float), rows["n"].to_numpy(float)
    hosts, detected_sq, detected_n, n_sq = _of_hosts(rows)
    m, slack = np.maximum(hosts, 1.0), 1e-9 * n * n
    missed_sq = n_sq - 2.0 * detected_n + detected_sq
    low = (n_sq * m < n * n - slack) | (detected_sq * m < k * k - slack) | (missed_sq * m < (n - k) ** 2 - slack)
    high = (n_sq > n * n) | (detected_sq > detected_n) | (detected_n > n_sq)
    bad = (low | high) & ~np.isnan(hosts + detected_sq + detected_n + n_sq)
    if bad.any():
        raise DataError(f"{int(bad.sum())} rows have sums over hosts that are not those of their injections by host")


def _check_bins(counts: pd.DataFrame) -> None:
    cells = counts[counts["cell"] != MARGINAL]
    keys = ["cell", "threshold_id"]
    if cells.duplicated([*keys, "source_mag_bin"]).any():
        raise DataError("a cell appears twice for one threshold and source-magnitude bin")
    whole = cells[cells["source_mag_bin"] == ALL].set_index(keys)["n"]
    parts = cells[cells["source_mag_bin"] != ALL].groupby(keys)["n"].sum()
    excess = parts.sub(whole.reindex(parts.index)).gt(0)
    if excess.any():
        raise DataError(f"source-magnitude bins of {int(excess.sum())} cells hold more injections than bin '{ALL}'")


def _check_marginals(counts: pd.DataFrame) -> None:
    """Every marginal counts the injections of its cells, all of one magnitude bin: a ratio of sums, not an average."""
    is_marginal, keys = counts["cell"] == MARGINAL, ["threshold_id", "source_mag_bin"]
    whole = counts[is_marginal].set_index(keys)[["n", "detected"]]
    parts = counts[~is_marginal].groupby(keys)[["n", "detected"]].sum()
    if not whole.sort_index().equals(parts.astype(whole.dtypes).sort_index()):
        raise DataError("the marginal rows do not count the same injections as their cells")


def _put(rows: pd.DataFrame, name: str, interval: Interval) -> None:
    rows[f"{name}_low"], rows[f"{name}_high"] = interval.low, interval.high
