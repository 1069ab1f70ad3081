"""The completeness of one grid and finder: counts, every interval, and the rate of each threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.results.injection_views import SCORED, counts_of, scored_rows
from analysis.statistics.completeness import ALL, MARGINAL, bin_numbers, completeness_table
from analysis.statistics.thresholds import Distribution, Threshold, bootstrap_thresholds, from_rows, unlisted_ends
from analysis.statistics.uncertain import field_intervals, joint_intervals, unlisted_ranges
from lake import tables
from lake.sky.imaging import Imaging

_FPR = ["fpr_reached", "fpr_low", "fpr_high", "fpr_unlisted_low", "fpr_unlisted_high"]


def measurable(stored: pd.DataFrame) -> dict[str, float]:
    """The thresholds that could be fixed, from rows of `thresholds`."""
    return {point.threshold_id: point.threshold for point in from_rows(stored) if point.measurable}


def nothing() -> pa.Table:
    """No rows of `completeness`: every threshold is refused or not measurable."""
    return pa.schema(
        [each.arrow for each in tables.spec("completeness").columns if each.role != "lineage"]
    ).empty_table()


def drawn(stored: pd.DataFrame, fixing: np.ndarray) -> tuple[list[Threshold], dict[str, Distribution]]:
    """The measurable thresholds from rows of `thresholds`, and the distributions of those that negatives fixed."""
    points = [point for point in from_rows(stored) if point.measurable]
    derived = [point for point in points if point.status == "measured"]
    return points, {point.threshold_id: bootstrap_thresholds(fixing, point.target_fpr) for point in derived}


def table_of(
    counts: pd.DataFrame,
    stored: pd.DataFrame,
    fixing: np.ndarray,
    scored: pd.DataFrame,
    edges: Sequence[float],
    imaging: Imaging,
) -> pa.Table:
    """Rows of `completeness` from counts: with every interval, the rate that each threshold reaches, and ranges over
    the declared numbers of unlisted lenses.

    ``stored``: rows of `thresholds`; ``fixing``: probabilities of the negatives that fixed them; ``scored``: injections
    as :func:`joint_intervals` takes them, with their `field` (a brick) where it is known.
    """
    points, derived = drawn(stored, fixing)
    chosen = {point.threshold_id: (np.array([point.threshold]), np.ones(1)) for point in points}
    ends = {point.threshold_id: both for point in points if (both := unlisted_ends(fixing, point))}
    found = [joint_intervals(scored, derived, edges, imaging), unlisted_ranges(scored, ends, edges, imaging)]
    if "field" in scored.columns:
        found.append(field_intervals(scored, chosen | derived, edges, imaging))
    whole = counts
    for intervals in found:
        whole = whole.merge(intervals.drop(columns="n"), on=["cell", "source_mag_bin", "threshold_id"], how="left")
    return completeness_table(whole.merge(stored[["threshold_id", *_FPR]], on="threshold_id", how="left"))


def counted(
    injections: pd.DataFrame,
    cells: Sequence[Mapping[str, object]],
    thresholds: Mapping[str, float],
    edges: Sequence[float],
    imaging: Imaging,
) -> pd.DataFrame:
    """Counts of every planned cell and ``marginal``, threshold and magnitude bin; the Spark SQL gives the same.

    ``injections``: rows of one grid and finder with ``cell``, ``galaxy_id``, ``status``, ``score``, ``probability``,
    ``arc_snr`` and the source's magnitude; ``cells``: `injection.experiment.grid.cells`.
    """
    scored_rows(injections)
    bins = bin_numbers(injections[imaging.source_columns[0]].to_numpy(float), edges)
    parts = {ALL: injections} | {f"{a:g}-{b:g}": injections[bins == i] for i, (a, b) in enumerate(pairwise(edges))}
    frame = pd.DataFrame(list(cells)).drop(columns=["theta_e_index", "psf_index", "depth_index"])
    whole = pd.concat([frame, pd.DataFrame({"cell": [MARGINAL]})], ignore_index=True)
    place = {cell: row for row, cell in enumerate(frame["cell"])}
    found = []
    for name, part in parts.items():
        twice = pd.concat([part.assign(row=part["cell"].map(place)), part.assign(row=len(frame))], ignore_index=True)
        for threshold_id, threshold in thresholds.items():
            facts = {"source_mag_bin": name, "threshold_id": threshold_id, "threshold": threshold}
            found.append(whole.join(_row_counts(twice, threshold, len(whole))).assign(**facts))
    return pd.concat(found, ignore_index=True)


def _row_counts(injections: pd.DataFrame, threshold: float, rows: int) -> pd.DataFrame:
    """Counts and means of injections by their ``row``; a row without any has zeros."""
    good = injections[injections["status"] == SCORED]
    counts = counts_of(good["row"].to_numpy(), good["galaxy_id"], good["probability"] > threshold)
    counts = counts.reindex(range(rows), fill_value=0).astype(np.int64)
    failed = injections[injections["status"] != SCORED].groupby("row").size()
    means = good.groupby("row")[["score", "arc_snr"]].mean().reindex(range(rows))
    return counts.assign(
        failed=failed.reindex(range(rows), fill_value=0), mean_score=means["score"], mean_arc_snr=means["arc_snr"]
    )
