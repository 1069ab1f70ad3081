"""Completeness at a point of the parameters of injections, from a model fitted to a finder's stored injections."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.fitted.emulator import refusal
from analysis.results.emulation import Comparison, Sample, at_points, compared
from analysis.statistics.completeness import ALL, equally_weighted
from analysis.statistics.thresholds import Threshold
from lake.errors import DataError, invalid, not_one_of
from lake.root import DataRoot
from lake.store import delta
from pipeline.experiment.reweighting import counting, thresholds_of
from pipeline.experiment.storedgrid import StoredGrid
from pipeline.project.project import Project

_LOG = logging.getLogger(__name__)
_CELL = ["theta_e_index", "psf_index", "depth_index"]
_INTERVAL = ["host_clustered_95_low", "host_clustered_95_high"]
_STORED = [
    "cell",
    "threshold_id",
    "source_mag_bin",
    "n",
    "detected",
    "completeness",
    "weighting_id",
    "prior",
    *_INTERVAL,
]


def parsed(text: str) -> dict[str, float]:
    """The numbers in ``name=number,name=number``; ParameterError where it has another form."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        if not name or name in found or not np.isfinite(value):
            raise invalid("at", "NAME=NUMBER,NAME=NUMBER with each name once, such as theta_e=1.4,src_mag_r=24", text)
        found[name] = value
    return found


def completeness_at(
    project: Project, points: Sequence[Mapping[str, float]], generation: str | None, threshold: str | None
) -> pa.Table:
    """Completeness of a finder at each point, by thresholds. ParameterError for a parameter that is not known."""
    root, name = project.data, counting(project, generation)
    stored = StoredGrid.of(root, name)
    sample, (levels, drawn, ends) = _sample(stored), thresholds_of(stored.root, stored.evaluated, threshold)
    known = _names(sample, stored)
    at = {_label(point): columns_of(point, known) for point in points}
    parts = []
    for level in fit_for(sample, levels):
        rng, known_as = np.random.default_rng(project.survey.seed), level.threshold_id
        parts.append(at_points(sample, at, level, drawn.get(known_as), rng, ends.get(known_as)))
    return pa.Table.from_pandas(pd.concat(parts, ignore_index=True), preserve_index=False)


def emulator_compared(project: Project, generation: str | None, threshold: str | None) -> pa.Table:
    """The emulator beside every cell of the table, by thresholds; what they amount to is logged."""
    root, name, parts = project.data, counting(project, generation), []
    stored = StoredGrid.of(root, name)
    sample, (levels, _, _) = _sample(stored), thresholds_of(stored.root, stored.evaluated, threshold)
    for level, found in _comparisons(stored, sample, fit_for(sample, levels)):
        _LOG.info("%s: %s", level.threshold_id, found.summary)
        cells = found.cells
        cells.insert(1, "threshold_id", level.threshold_id)
        cells.insert(2, "fpr_reached", level.fpr_reached)
        parts.append(cells)
    return pa.Table.from_pandas(pd.concat(parts, ignore_index=True), preserve_index=False)


def emulator_tests(root: DataRoot, name: str) -> pd.DataFrame:
    """What the comparisons amount to, one row per threshold, for the report; none where nothing can be fitted."""
    try:
        stored = StoredGrid.of(root, name)
        sample, (levels, _, _) = _sample(stored), thresholds_of(stored.root, stored.evaluated, None)
        found = list(_comparisons(stored, sample, fit_for(sample, levels)))
    except DataError:
        return pd.DataFrame()
    return pd.DataFrame([{"threshold_id": level.threshold_id, **one.figures} for level, one in found])


def fit_for(sample: Sample, levels: Sequence[Threshold]) -> list[Threshold]:
    """The thresholds with enough detected and missed injections; DataError if there is none."""
    reasons = {level.threshold_id: refusal(sample.hosts, sample.above(level.threshold)) for level in levels}
    for threshold_id, reason in reasons.items():
        if reason is not None:
            _LOG.warning("%s: %s", threshold_id, reason)
    kept = [level for level in levels if reasons[level.threshold_id] is None]
    if not kept:
        raise DataError(
            "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            or 'no threshold is measured: `dhs query "select * from thresholds"` says why'
        )
    return kept


def _comparisons(
    stored: StoredGrid, sample: Sample, levels: Sequence[Threshold]
) -> Iterator[tuple[Threshold, Comparison]]:
    table = delta.read(stored.root, "completeness", _STORED, slices=[stored.name])
    rows = equally_weighted(table.to_pandas())
    whole = rows[rows["source_mag_bin"] == ALL]
    for level in levels:
        yield level, compared(sample, whole[whole["threshold_id"] == level.threshold_id], level.threshold)


def _sample(stored: StoredGrid) -> Sample:
    """The injections of a finder's grid with its scores and their cells."""
    injections = stored.injections().to_pandas().drop(columns="status")
    cells = pd.DataFrame(stored.facts["cells"])[["cell", *_CELL]]
    scores = stored.scores().drop_columns("host_probability").to_pandas()
    rows = injections.merge(scores, on="injection_id", validate="one_to_one").merge(cells, on=_CELL, how="left")
    return Sample.of(rows, stored.imaging)


def _names(sample: Sample, stored: StoredGrid) -> dict[str, str]:
    """Names that a point may use, axes of views and columns of injections, and the column of each."""
    known = {name: column for name, column in stored.axes.items() if column in sample.signs}
    return known | {name: name for name in sample.signs}


def _label(point: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={number:.15g}" for name, number in point.items())


def columns_of(point: Mapping[str, float], known: Mapping[str, str]) -> dict[str, float]:
    """The same numbers by columns of injections. ParameterError for a name not among `known`, or a second one."""
    found: dict[str, float] = {}
    for name, value in point.items():
        if name not in known:
            raise not_one_of("at", known, name)
        if known[name] in found:
            raise invalid("at", f"one value of {known[name]}", dict(point))
        found[known[name]] = value
    return found
