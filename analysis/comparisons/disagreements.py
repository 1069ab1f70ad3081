"""Figures stated by an imported table that do not follow from its own counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy

from analysis.comparisons.foreign_cells import AXES, COUNTS, INTERVALS, KEY, MEANS, Cells
from analysis.statistics.completeness import ALL
from analysis.statistics.intervals import Interval, clopper_pearson, jeffreys

COLUMNS = (
    "row_index", "cell", "threshold_id", "source_mag_bin", "figure", "stated", "expected", "explanation",
)  # fmt: skip
_FEW = 10
"""Injections from which the reference system calls a magnitude bin sufficient."""
Bounds = Callable[[np.ndarray, np.ndarray, float], Interval]


def disagreements(cells: Cells, totals: pd.DataFrame, meta: Mapping[str, Any]) -> pd.DataFrame:
    """Every disagreement (`COLUMNS`) of a file with its counts, its own partitions and its file of facts.

    `totals` are the marginals summed from its cells (`threshold_id`, `source_mag_bin`, `n`, `detected`, `failed`).
    """
    rows = pd.concat([cells.kept, _with_sums(cells.marginals, totals)])
    parts = [
        *_ratios(rows, cells.decimals),
        *_intervals(rows, cells.decimals),
        *_stated_marginals(cells.marginals, totals),
        _sufficient(cells.kept, meta),
        _between_thresholds(cells.kept),
        *_partitions(cells.kept),
        _facts(cells.kept, meta),
    ]
    held = [part.reindex(columns=COLUMNS) for part in parts if len(part)]
    if not held:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(held, ignore_index=True).sort_values(["row_index", "figure"], kind="stable", ignore_index=True)


def _found(rows: pd.DataFrame, figure: str, stated: Any, expected: Any, explanation: Any) -> pd.DataFrame:
    return rows.assign(figure=figure, stated=stated, expected=expected, explanation=explanation)


def _tolerance(decimals: Mapping[str, int], name: str) -> float:
    """Half a unit of a column's last decimal place, taken as the second or a later one."""
    return max(0.51 * 10.0 ** -max(decimals[name], 2), 1e-9)


def _differ(stated: pd.Series, expected: np.ndarray, tolerance: float) -> np.ndarray:
    """Where a stated number is not the expected one, or one of them is missing."""
    one_missing = stated.isna().to_numpy() != np.isnan(expected)
    with np.errstate(invalid="ignore"):
        return one_missing | (np.abs(stated.to_numpy(float) - expected) > tolerance)


def _ratios(rows: pd.DataFrame, decimals: Mapping[str, int]) -> list[pd.DataFrame]:
    k, n = (rows[name].to_numpy(float) for name in ("n_detected", "n_injections"))
    expected = np.divide(k, n, out=np.full(len(n), np.nan), where=n > 0)
    bad = _differ(rows["completeness"], expected, _tolerance(decimals, "completeness"))
    found = [_found(rows[bad], "completeness", rows["completeness"][bad], expected[bad], "n_detected / n_injections")]
    for name in MEANS:
        odd = (n == 0) & rows[name].notna().to_numpy()
        found.append(_found(rows[odd], name, rows[name][odd], np.nan, "a mean over no injections"))
    return found


def _intervals(rows: pd.DataFrame, decimals: Mapping[str, int]) -> list[pd.DataFrame]:
    """Bounds that are not Jeffreys' with the edge rules; the method that reproduces one is named."""
    k, n = (rows[name].to_numpy(float) for name in ("n_detected", "n_injections"))
    found = []
    for name in INTERVALS:
        level, end = int(name[2:4]) / 100, "low" if name.endswith("lo") else "high"
        stated, tolerance = rows[name], _tolerance(decimals, name)
        if stated.isna().all():
            continue
        expected = getattr(jeffreys(k, n, level), end)
        bad = _differ(stated, expected, tolerance)
        words = np.full(int(bad.sum()), "not Jeffreys' interval, nor another known one", dtype=object)
        words[stated[bad].isna().to_numpy()] = "no bound is stated"
        words[n[bad] == 0] = "an interval of no injections"
        for method, bounds in _OTHERS.items():
            other = getattr(bounds(k[bad], n[bad], level), end)
            words[~_differ(stated[bad], other, tolerance) & (n[bad] > 0)] = f"agrees with {method}"
        found.append(_found(rows[bad], name, stated[bad], expected[bad], words))
    return found


def _normal(level: float) -> float:
    return float(scipy.stats.norm.isf((1.0 - level) / 2.0))


def _no_edges(k: np.ndarray, n: np.ndarray, level: float) -> Interval:
    tail = (1.0 - level) / 2.0
    return Interval(*(scipy.stats.beta.ppf(at, k + 0.5, n - k + 0.5) for at in (tail, 1.0 - tail)))


def _wilson(k: np.ndarray, n: np.ndarray, level: float) -> Interval:
    z, n = _normal(level), np.maximum(n, 1e-9)
    centre = (k + z * z / 2.0) / (n + z * z)
    half = z * np.sqrt(k * (n - k) / n + z * z / 4.0) / (n + z * z)
    return Interval(np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0))


def _wald(k: np.ndarray, n: np.ndarray, level: float) -> Interval:
    n = np.maximum(n, 1e-9)
    half = _normal(level) * np.sqrt(k / n * (1.0 - k / n) / n)
    return Interval(k / n - half, k / n + half)


_OTHERS: dict[str, Bounds] = {
    "the normal approximation": _wald,
    "Clopper and Pearson's interval": clopper_pearson,
    "Wilson's interval": _wilson,
    "Jeffreys' interval without its rules for none and all found": _no_edges,
}


def _with_sums(stated: pd.DataFrame, totals: pd.DataFrame) -> pd.DataFrame:
    """Stated marginals with the counts that their cells give."""
    names = {"n": "n_injections", "detected": "n_detected", "failed": "n_failed"}
    sums = totals[["threshold_id", "source_mag_bin", *names]].rename(columns=names)
    return stated.drop(columns=list(COUNTS)).merge(sums, on=["threshold_id", "source_mag_bin"], how="inner")


def _stated_marginals(stated: pd.DataFrame, totals: pd.DataFrame) -> list[pd.DataFrame]:
    summed = _with_sums(stated, totals).set_index("row_index")[list(COUNTS)].reindex(stated["row_index"])
    found = []
    for name in COUNTS:
        expected = summed[name].to_numpy(float)
        bad = _differ(stated[name], expected, 0.0)
        found.append(_found(stated[bad], name, stated[name][bad], expected[bad], "sum over the cells of the file"))
    return found


def _sufficient(rows: pd.DataFrame, meta: Mapping[str, Any]) -> pd.DataFrame:
    per_cell = meta.get("injections_per_cell")
    told = rows["sufficient"].str.lower().map({"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0})
    if not isinstance(per_cell, int | float):
        return rows.head(0)
    needed = np.where(rows["source_mag_bin"] == ALL, float(per_cell), _FEW)
    expected = (rows["n_injections"].to_numpy() >= needed).astype(float)
    bad = told.notna().to_numpy() & (told.to_numpy() != expected)
    words = f"at least {per_cell:g} injections in a cell, {_FEW} in a magnitude bin"
    return _found(rows[bad], "sufficient", told[bad], expected[bad], words)


def _between_thresholds(rows: pd.DataFrame) -> pd.DataFrame:
    """Cells whose number of injections depends on the threshold, though the same injections are judged at each."""
    most = rows.groupby(["cell", "source_mag_bin"])["n_injections"].transform("max")
    bad = rows["n_injections"] != most
    return _found(
        rows[bad], "n_injections", rows["n_injections"][bad], most[bad], "the same cell and bin at another threshold"
    )


def _partitions(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Families of bins that do not add up to `all`, cell by cell; families are never summed together."""
    keys = ["cell", "threshold_id"]
    whole = rows[rows["source_mag_bin"] == ALL].set_index(keys)
    found = []
    for family, part in rows[rows["source_mag_bin"] != ALL].groupby("family"):
        sums = part.groupby(keys)[["n_injections", "n_detected"]].sum()
        for name in sums.columns:
            wanted = whole[name].reindex(sums.index)
            bad = (sums[name] != wanted).to_numpy()
            compared = f"sum over the bins of family '{family}', against '{ALL}'"
            words = np.where(wanted[bad].isna(), f"no row '{ALL}' of this cell", compared)
            place = sums[bad].reset_index()[keys].assign(row_index=-1)
            found.append(_found(place, name, sums[name][bad].to_numpy(), wanted[bad].to_numpy(), words))
    return found


def _facts(rows: pd.DataFrame, meta: Mapping[str, Any]) -> pd.DataFrame:
    """Totals stated in the JSON file, and axes of its grid, that the table does not match."""
    whole = rows[rows["source_mag_bin"] == ALL]
    cells = whole.drop_duplicates("cell")
    first = whole[whole["threshold_id"] == whole["threshold_id"].iloc[0]] if len(whole) else whole
    expected = {
        "n_cells": len(cells),
        "n_empty_cells": int((cells["n_injections"] == 0).sum()),
        "n_sufficient_cells": int((first["sufficient"].str.lower() == "true").sum()),
        "total_injections_ok": int(cells["n_injections"].sum()),
        "total_injections_failed": int(cells["n_failed"].sum()),
    }
    axes = meta.get("grid")
    grid: Mapping[str, Any] = axes if isinstance(axes, dict) else {}
    stated = {name: meta[name] for name in expected if isinstance(meta.get(name), int | float)}
    for axis in AXES:
        if isinstance(grid.get(axis), list):
            stated[f"grid.{axis}"] = len(grid[axis])
            expected[f"grid.{axis}"] = int(rows[axis].round(6).nunique())
    wrong = [name for name, value in stated.items() if value != expected[name]]
    return pd.DataFrame(
        {
            "row_index": -1,
            "figure": [f"meta:{name}" for name in wrong],
            "stated": [float(stated[name]) for name in wrong],
            "expected": [float(expected[name]) for name in wrong],
            "explanation": f"counted in the rows '{ALL}' of the table",
        }
    ).reindex(columns=["row_index", *KEY, "figure", "stated", "expected", "explanation"])
