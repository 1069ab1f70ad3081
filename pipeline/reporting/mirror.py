"""Evaluations and grids as MLflow runs next to the training runs: a mirror of the lake, made in one go.

The tables are the record; MLflow is where generations are compared. Loading its client takes seconds on a small
machine, so one stage does it for all.
"""

from __future__ import annotations

import logging

from analysis.figures.completeness import heat_map
from analysis.figures.curves import roc_figure
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.thresholds import rate, shown
from lake.errors import DarkHaloError
from lake.root import DataRoot
from modeling.tracking import pastruns, runs
from modeling.tracking.rundatabase import told

log = logging.getLogger(__name__)


def mirror(root: DataRoot, inputs: ReportInputs) -> None:
    """Log the reference system's runs, trainings missing in MLflow, and the report's results of every generation."""
    with told():
        pastruns.import_history(root)
        for name in root.finders():
            try:
                pastruns.log_training(root, name)
            except DarkHaloError as error:
                log.warning("the training of %s is missing in MLflow: %s", name, error)
        _log_results(root, inputs)


def _log_results(root: DataRoot, inputs: ReportInputs) -> None:
    for item in inputs.generations:
        values = item.diagnostics.dropna(subset=["value"])
        names = values["name"].str.replace("@", ":", regex=False)  # MLflow allows no @ in a metric's name
        runs.log_metrics(root, item.name, dict(zip(names, values["value"], strict=True)))
        runs.log_grid(root, item.name, str(item.completeness["grid_id"].iloc[0]), root.grid(item.name))
        for name, content in _figures(item, inputs):
            runs.log_figure(root, item.name, name, content)


def _figures(item: GenerationInputs, inputs: ReportInputs) -> list[tuple[str, bytes]]:
    threshold = inputs.params.headline_threshold_id
    found = [("roc.svg", roc_figure({item.name: (item.scores["label"], item.scores["score"])}, None).content)]
    if shown(item, threshold):
        title = f"{item.name}: completeness at {threshold} ({rate(item, threshold)})"
        found.append(("completeness.svg", heat_map(item.completeness, threshold, inputs.imaging, title).content))
    return found
