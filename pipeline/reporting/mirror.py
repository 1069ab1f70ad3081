"""Evaluations and grids as MLflow runs next to the training runs: a mirror of the lake, made in one go.

The tables are the record; MLflow is where generations are compared. Loading its client takes seconds on a small
machine, so one stage does it for all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from analysis.figures.completeness import heat_map
from analysis.figures.curves import roc_figure
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.thresholds import rate, shown
from lake.errors import DarkHaloError
from lake.root import DataRoot
from lake.store import status
from modeling.tracking import pastruns, runs
from modeling.tracking.rundatabase import told

_STAGES = {"checkpoint": None, "scores": "evaluate", "grid": "grid"}
"""The MLflow runs of a generation that show what does not count; None for all of them."""

log = logging.getLogger(__name__)


def mirror(root: DataRoot, inputs: ReportInputs) -> None:
    """Log the reference system's runs, trainings missing in MLflow, and the report's results of every generation."""
    with told():
        pastruns.import_history(root)
        off = status.invalid_results(root)
        _leave_out(root, off)
        for name in root.finders():
            if f"checkpoint:{name}" in off:
                continue
            try:
                pastruns.log_training(root, name)
            except DarkHaloError as error:
                log.warning("the training of %s is missing in MLflow: %s", name, error)
        _log_results(root, inputs)


def _leave_out(root: DataRoot, off: Mapping[str, status.Invalid]) -> None:
    """Delete in MLflow the runs that do not count, restorably: its page shows them where deleted runs are asked for."""
    for stem in off:
        kind, _, name = stem.replace("scores.", "scores:", 1).partition(":")
        if kind in _STAGES:
            runs.forget_runs(root, name, _STAGES[kind])


def _log_results(root: DataRoot, inputs: ReportInputs) -> None:
    for item in inputs.generations:
        values = item.diagnostics.dropna(subset=["value"])
        names = values["name"].str.replace("@", ":", regex=False)  # MLflow allows no @ in a metric's name
        runs.log_metrics(root, item.name, dict(zip(names, values["value"], strict=True)))
        if len(item.injections):
            runs.log_grid(root, item.name, str(item.injections["grid_id"].iloc[0]), root.grid(item.name))
        for name, content in _figures(item, inputs):
            runs.log_figure(root, item.name, name, content)


def _figures(item: GenerationInputs, inputs: ReportInputs) -> list[tuple[str, bytes]]:
    threshold = inputs.params.headline_threshold_id
    ranked = {item.name: (item.scores["label"], item.scores["score"])}
    found = [] if item.refusal else [("roc.svg", roc_figure(ranked, None).content)]
    if shown(item, threshold):
        title = f"{item.name}: completeness at {threshold} ({rate(item, threshold)})"
        found.append(("completeness.svg", heat_map(item.completeness, threshold, inputs.imaging, title).content))
    return found
