"""Injections and hosts per cell that a wanted interval of completeness needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.statistics.planning import host_correlation, needed
from injection.config import INDICES, GridParams
from lake.errors import DataError, not_one_of
from pipeline.experiment.reweighting import counting, thresholds_of
from pipeline.experiment.storedgrid import StoredGrid
from pipeline.project.project import Project


def planned(
    project: Project,
    width: float,
    completeness: float | None,
    correlation: float | None,
    uses: Sequence[int],
    generation: str | None,
    threshold: str,
) -> pa.Table:
    """A row for each number of uses per host (none: 1 to the grid's ``max_uses_per_host``); widths in per cent.

    Completeness (per cent) and correlation that are not given are measured on the grid of a finder.
    """
    grid = project.section(GridParams, "grid")
    if completeness is None or correlation is None:
        share, found = measured(project, generation, threshold)
        completeness = 100.0 * share if completeness is None else completeness
        correlation = found if correlation is None else correlation
    uses = uses or range(1, grid.max_uses_per_host + 1)
    samples = {each: needed(width / 100.0, completeness / 100.0, correlation, each) for each in uses}
    cells = len(grid.theta_e_arcsec) * (len(grid.psf_fwhm_nea_edges_arcsec) - 1) * (len(grid.depth_edges_mag) - 1)
    rows = [
        {
            "uses_per_host": each,
            "completeness": completeness,
            "correlation": correlation,
            "injections_per_cell": one.injections,
            "hosts_per_cell": one.hosts,
            "low": 100.0 * one.low,
            "high": 100.0 * one.high,
            "injections_of_grid": cells * one.injections,
        }
        for each, one in samples.items()
    ]
    return pa.Table.from_pylist(rows)


def measured(project: Project, generation: str | None, threshold: str) -> tuple[float, float]:
    """Completeness over the grid of a finder, and the correlation within hosts (at least 0). DataError where that
    is not defined."""
    root, name = project.data, counting(project, generation)
    stored = StoredGrid.of(root, name)
    points, _, _ = thresholds_of(stored.root, stored.evaluated, None)
    known = {point.threshold_id: point.threshold for point in points}
    if threshold not in known:
        raise not_one_of("threshold", list(known), threshold)
    injections = stored.injections(["injection_id", "galaxy_id", *INDICES]).to_pandas()
    scores = stored.scores().to_pandas()
    rows = injections.merge(scores[scores["status"] == "scored"], on="injection_id", validate="one_to_one")
    found = (rows["probability"] > known[threshold]).to_numpy()
    cells = pd.MultiIndex.from_frame(rows[list(INDICES)]).factorize()[0]
    correlation = host_correlation(found, rows["galaxy_id"], cells)
    if np.isnan(correlation):
        why = "no host serves twice in a cell, or all injections of a cell have the same outcome"
        raise DataError(
            f"the correlation within hosts is not known from the grid of {name} ({why}): give it with --correlation"
        )
    return float(found.mean()), max(correlation, 0.0)
