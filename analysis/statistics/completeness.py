"""Completeness: intervals on the counts that Spark SQL makes, and marginals that cannot be averages.

A row is one cell x threshold x source-magnitude bin of one grid, model and weighting. Failures are counted apart from
the denominator and never in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.statistics.intervals import NARROW_LEVEL, TABLE_LEVEL, ClusterSums, Interval, clustered, jeffreys
from lake import tables
from lake.errors import DataError

IDENTITY = ("grid_id", "grid_name", "checkpoint_id", "generation", "weighting_id", "prior")
"""What a completeness figure must agree on before it is combined with another."""
ALL = "all"
MARGINAL = "marginal"
HOST_SUMS = ("host_detected_sq", "host_detected_n", "host_n_sq")
"""Optional input columns: over the hosts of the row, the sums of detected^2, detected * n and n^2."""
_COUNTS = ("n", "detected", "failed", "hosts")


def with_intervals(counts: pd.DataFrame) -> pd.DataFrame:
    """Add completeness, Jeffreys 68 % and 95 % and host-clustered 95 % intervals to rows of counts.

    The clustered interval needs `HOST_SUMS`; without them it is null, unless every host served once.
    """
    _check_counts(counts)
    k, n = counts["detected"].to_numpy(float), counts["n"].to_numpy(float)
    rows = counts.copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        rows["completeness"] = np.where(n > 0, k / n, np.nan)
    _put(rows, "jeffreys_68", jeffreys(k, n, NARROW_LEVEL))
    _put(rows, "jeffreys_95", jeffreys(k, n, TABLE_LEVEL))
    _put(rows, "host_clustered_95", _clustered(rows, k, n))
    return rows


def marginal(cells: pd.DataFrame, source_mag_bin: str = ALL) -> pd.DataFrame:
    """One `marginal` row per threshold: sum(detected) / sum(n) over the cells of one magnitude bin.

    A host is used at several Einstein radii, so hosts of cells cannot be summed. The number of hosts and the
    clustered interval come from the `marginal` row counted by SQL, if `cells` contains it (each host grouped over all
    cells); otherwise they are null, unless all cells have the same Einstein radius.
    """
    require_one_identity(cells)
    in_bin = cells[cells["source_mag_bin"] == source_mag_bin]
    rows, counted = in_bin[in_bin["cell"] != MARGINAL], in_bin[in_bin["cell"] == MARGINAL]
    if rows.empty:
        raise DataError(
            f"no cells in source-magnitude bin '{source_mag_bin}': a marginal is computed over that bin only"
        )
    sums = [_marginal_row(group, str(name)) for name, group in rows.groupby("threshold_id", sort=True)]
    return with_intervals(_hosts_as_counted(pd.DataFrame(sums), counted))


def over_axes(cells: pd.DataFrame, keep: Sequence[str], threshold_id: str, source_mag_bin: str = ALL) -> pd.DataFrame:
    """Completeness along some axes (`theta_e_arcsec`, ...), the other axes summed; one threshold, one magnitude bin.

    A host is in one bin of seeing and depth, but is used at several Einstein radii: hosts and the clustered interval
    are null if cells of different radii are summed.
    """
    require_one_identity(cells)
    chosen = (cells["threshold_id"] == threshold_id) & (cells["source_mag_bin"] == source_mag_bin)
    rows = cells[chosen & (cells["cell"] != MARGINAL)]
    groups = rows.groupby(list(keep), sort=True, dropna=False)
    if rows.empty:
        raise DataError(f"no cells at threshold '{threshold_id}' in source-magnitude bin '{source_mag_bin}'")
    return with_intervals(pd.DataFrame([dict(zip(keep, at, strict=True)) | _summed(part) for at, part in groups]))


def require_one_identity(rows: pd.DataFrame) -> None:
    """Refuse rows of different grids, models, weightings or priors, and thresholds that changed their value."""
    for name in IDENTITY:
        found = sorted(rows[name].astype(str).unique())
        if len(found) > 1:
            raise DataError(f"completeness rows of different '{name}' cannot be combined: {', '.join(found)}")
    values = rows.groupby("threshold_id")["threshold"].nunique()
    if (values > 1).any():
        raise DataError(f"threshold '{values.idxmax()}' has more than one value: rows of different runs are mixed")


def completeness_table(counts: pd.DataFrame) -> pa.Table:
    """Rows of the `completeness` table without lineage: cells and marginals with their intervals.

    Marginal rows counted by SQL (hosts grouped across cells) are taken where they are given; else they are summed here.
    """
    require_one_identity(counts)
    _check_bins(counts)
    whole = counts
    if not (counts["cell"] == MARGINAL).any():
        bins = sorted(counts["source_mag_bin"].unique())
        whole = pd.concat([counts, *(marginal(counts, name) for name in bins)], ignore_index=True)
    spec = tables.spec("completeness")
    fields = [column.arrow for column in spec.columns if column.role != "lineage"]
    rows = with_intervals(whole).reindex(columns=[field.name for field in fields])
    return pa.Table.from_pandas(rows, schema=pa.schema(fields), preserve_index=False)


def _summed(cells: pd.DataFrame) -> dict[str, object]:
    """Counts over some cells; hosts and their sums only if no host can be in two of the cells."""
    row: dict[str, object] = {name: int(cells[name].sum()) for name in _COUNTS if name != "hosts"}
    radii = cells["theta_e_arcsec"]
    apart = len(cells) == 1 or (radii.nunique() == 1 and bool(radii.notna().all()))
    held = ("hosts", *(name for name in HOST_SUMS if name in cells.columns))
    return row | {name: float(cells[name].sum(skipna=False)) if apart else np.nan for name in held}


def _marginal_row(cells: pd.DataFrame, threshold_id: str) -> dict[str, object]:
    row: dict[str, object] = {name: cells[name].iloc[0] for name in (*IDENTITY, "threshold", "source_mag_bin")}
    row |= {"cell": MARGINAL, "threshold_id": threshold_id} | _summed(cells)
    n, weights = int(cells["n"].sum()), cells["n"].to_numpy(float)
    for name in ("mean_score", "mean_arc_snr"):
        if name in cells.columns:
            filled = cells["n"].to_numpy() > 0
            row[name] = float(np.sum(weights[filled] * cells[name].to_numpy(float)[filled]) / n) if n else np.nan
    return row


def _hosts_as_counted(rows: pd.DataFrame, counted: pd.DataFrame) -> pd.DataFrame:
    """Take hosts and their sums from rows in which each host is grouped over all cells, if there are such rows."""
    if counted.empty:
        return rows
    known = counted.set_index("threshold_id")
    counted_n = rows["threshold_id"].map(known["n"])
    if (counted_n.notna() & (counted_n != rows["n"])).any():
        raise DataError("the marginal rows do not cover the same injections as their cells")
    for column in ("hosts", *(name for name in HOST_SUMS if name in counted.columns)):
        rows[column] = rows["threshold_id"].map(known[column]).astype(float)
    return rows


def _clustered(rows: pd.DataFrame, k: np.ndarray, n: np.ndarray) -> Interval:
    """The host-clustered interval; null if hosts or their sums are not known."""
    m = rows["hosts"].to_numpy(float)
    if all(name in rows.columns for name in HOST_SUMS):
        facts = [m, *(rows[name].to_numpy(float) for name in HOST_SUMS)]
        unknown = np.isnan(facts).any(axis=0)
    else:
        facts = [m, k, k, n]
        unknown = m != n
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


def _put(rows: pd.DataFrame, name: str, interval: Interval) -> None:
    rows[f"{name}_low"], rows[f"{name}_high"] = interval.low, interval.high
