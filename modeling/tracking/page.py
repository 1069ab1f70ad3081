"""The MLflow page as it opens: the generations side by side, with charts of the figures that they are compared by."""

from __future__ import annotations

import fnmatch
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

from modeling.tracking.runs import GENERATION
from modeling.tracking.runstore import RunStore

_VIEW = "generations"
_BARS = {
    "Completeness": ("completeness", "fpr_reached"),
    "Test set": ("test_auc", "test_tpr_at_fpr_*", "gates_failed"),
    "Training": ("best_val_auc",),
}
_LINES = {"Completeness": ("completeness_by_theta_e",), "Training": ("val_auc", "val_loss", "train_loss")}
_COLOUR = "mlflow.runColor"
"""Tag with the colour of a run on the page."""
_COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
    *("#393b79", "#e6ab02", "#1b9e77", "#ad494a", "#6b6ecf", "#a6761d", "#ce6dbd", "#b5cf6b", "#d6616b", "#9edae5"),
)


def address(store: RunStore, port: int) -> str:
    """Address of the page on a local port, opened on one run per generation and the charts chosen here."""
    runs = store.find({"level": GENERATION})
    _colour(store, runs)
    names = sorted({name for run in runs for name in run.data.metrics})
    store.client.set_experiment_tag(store.experiment, f"mlflow.sharedViewState.{_VIEW}", json.dumps(_state(names)))
    view = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={_VIEW}"
    return f"http://127.0.0.1:{port}/#/experiments/{store.experiment}/runs?{view}"


def _colour(store: RunStore, runs: Sequence[Any]) -> None:
    """Give each run without a colour one that no other run has, while there are any: MLflow's colours repeat."""
    used = {run.data.tags.get(_COLOUR) for run in runs}
    free = [colour for colour in _COLOURS if colour not in used] or _COLOURS
    newest = sorted(runs, key=lambda run: (-(run.info.start_time or 0), run.info.run_name))
    for run, colour in zip((run for run in newest if _COLOUR not in run.data.tags), cycle(free), strict=False):
        store.tags(run.info.run_id, {_COLOUR: colour})


def _state(names: Sequence[str]) -> dict[str, Any]:
    """The page's own state, as its button "Share" stores it, with charts of the metrics among ``names``."""
    bars = [_chart("BAR", *chosen) for chosen in _chosen(_BARS, names)]
    lines = [_line(*chosen) for chosen in _chosen(_LINES, names)]
    return {
        "searchFilter": f"tags.level = '{GENERATION}'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "hideEmptyCharts": True,
        "isAccordionReordered": True,  # the sections stand as they are listed
        "compareRunCharts": [*bars, *lines],
        "compareRunSections": [_section(name) for name in _BARS],
        "selectedColumns": ["attributes.`Source`"],
    }


def _chosen(charts: Mapping[str, Sequence[str]], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Sections and metrics of charts, whose patterns stand for the metrics that match."""
    for section, patterns in charts.items():
        yield from ((section, name) for pattern in patterns for name in fnmatch.filter(names, pattern))


def _identity(*parts: str) -> str:
    """An identifier that stays the same when the page is opened again."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((_VIEW, *parts))))


def _section(name: str) -> dict[str, Any]:
    return {"uuid": _identity(name), "name": name, "display": True, "isReordered": False, "deleted": False}


def _chart(kind: str, section: str, metric: str) -> dict[str, Any]:
    own = {"type": kind, "uuid": _identity(section, metric), "metricSectionId": _identity(section), "metricKey": metric}
    return {**own, "runsCountToCompare": 20, "deleted": False, "isGenerated": False}


def _line(section: str, metric: str) -> dict[str, Any]:
    axes = {"xAxisKey": "step", "xAxisScaleType": "linear", "scaleType": "linear", "lineSmoothness": 0}
    return {**_chart("LINE", section, metric), "selectedMetricKeys": [metric], "useGlobalXaxisKey": False, **axes}
