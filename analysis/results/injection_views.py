"""Completeness along any axis, from one row per injection: exact host-clustered intervals, declared denominators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.statistics.completeness import HOST_SUMS, bin_numbers, with_intervals
from lake.errors import DataError, invalid

SCORED = "scored"
_NEEDED = ("grid_id", "injection_id", "galaxy_id", "status", "probability")


def along(
    injections: pd.DataFrame, edges: Mapping[str, Sequence[float]], threshold: float, detectable_only: bool = False
) -> pd.DataFrame:
    """Completeness in bins of one or more columns (`src_beta_frac`, `lens_theta_e_arcsec`, ...).

    `injections`: rows of one grid and finder with `grid_id`, `injection_id`, `galaxy_id` (host), `status`,
    `probability` and the binned columns. The result has `<column>_low`, `<column>_high` per axis (every combination,
    empty ones too), counts, completeness and intervals as the `completeness` table. `detectable_only` restricts the
    denominator to injections flagged detectable: a declared option, never the default.
    """
    rows = scored_rows(injections)
    if detectable_only:
        rows = rows[rows["detectable"].astype("boolean").fillna(False).to_numpy(bool)]
    sizes = tuple(len(cuts) - 1 for cuts in edges.values())
    for name, bounds in edges.items():
        if len(bounds) < 2 or np.any(np.diff(bounds) <= 0):
            raise invalid(f"edges of {name}", "ascending, two or more", list(bounds))
    codes = np.stack([bin_numbers(rows[name].to_numpy(float), bounds) for name, bounds in edges.items()])
    inside = (codes >= 0).all(axis=0)
    cell = np.ravel_multi_index(tuple(codes[:, inside]), sizes)
    held = rows[inside]
    counts = counts_of(cell, held["galaxy_id"], held["probability"] > threshold)
    counts = counts.reindex(range(int(np.prod(sizes))), fill_value=0).astype({"n": int, "detected": int, "hosts": int})
    for name, index in zip(edges, np.unravel_index(counts.index.to_numpy(), sizes), strict=True):
        cuts = np.asarray(edges[name], dtype=float)
        counts[f"{name}_low"], counts[f"{name}_high"] = cuts[index], cuts[index + 1]
    return with_intervals(counts.reset_index(drop=True).assign(failed=0))


def host_false_positives(injections: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Share of bare hosts above the threshold (`host_probability`), one row; each host counts once."""
    hosts = scored_rows(injections).dropna(subset=["host_probability"]).drop_duplicates("galaxy_id")
    hit = int((hosts["host_probability"] > threshold).sum())
    return with_intervals(pd.DataFrame({"n": [len(hosts)], "detected": [hit], "failed": [0], "hosts": [len(hosts)]}))


def midpoints(values: pd.Series) -> list[float]:
    """Edges half-way between the distinct values of a gridded column: each value has its own bin."""
    distinct = np.unique(values.to_numpy(float))
    if len(distinct) == 1:
        return [float(distinct[0]) - 0.5, float(distinct[0]) + 0.5]
    half = np.diff(distinct) / 2.0
    inner = distinct[:-1] + half
    return [float(distinct[0] - half[0]), *inner.tolist(), float(distinct[-1] + half[-1])]


def at_values(view: pd.DataFrame, column: str, values: pd.Series) -> pd.DataFrame:
    """A view in bins of `midpoints(values)`, with the value of each bin instead of its edges."""
    distinct = np.unique(values.to_numpy(float))
    held = distinct[np.searchsorted(distinct, view[f"{column}_low"].to_numpy(float))]
    return view.assign(**{f"{column}_low": held, f"{column}_high": held})


def counts_of(cell: np.ndarray, hosts: pd.Series, hit: pd.Series) -> pd.DataFrame:
    """Per occupied cell the counts and the sums over its hosts."""
    cells, occupied = pd.factorize(cell, sort=True)
    names, known = pd.factorize(hosts)
    kept = (cells >= 0) & (names >= 0)
    pairs, member = np.unique(cells[kept] * len(known) + names[kept], return_inverse=True)
    n = np.bincount(member).astype(float)
    k = np.bincount(member, weights=hit.to_numpy(float)[kept], minlength=len(n))
    of_cell = pairs // max(len(known), 1)
    held = {"n": n, "detected": k, "hosts": None, **dict(zip(HOST_SUMS, (k * k, k * n, n * n), strict=True))}
    summed = {name: np.bincount(of_cell, weights=part, minlength=len(occupied)) for name, part in held.items()}
    return pd.DataFrame(summed, index=pd.Index(occupied, name="cell"))


def quantile_edges(values: pd.Series, bins: int) -> list[float]:
    """Edges of bins of about equal numbers; fewer where values repeat."""
    known = values.dropna().to_numpy(float)
    return [float(edge) for edge in np.unique(np.quantile(known, np.linspace(0.0, 1.0, bins + 1)))]


def scored_rows(injections: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in _NEEDED if name not in injections.columns]
    if missing:
        raise DataError(f"injections lack {', '.join(missing)}")
    if injections["grid_id"].nunique() > 1:
        raise DataError(f"injections of different grids cannot be combined: {sorted(injections['grid_id'].unique())}")
    if injections["injection_id"].duplicated().any():
        raise DataError("an injection appears twice: rows of more than one model are mixed")
    return injections[injections["status"] == SCORED]
