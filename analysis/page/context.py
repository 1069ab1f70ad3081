"""Sections on what surrounds the result: the pipeline, trainings and their history, the literature."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

from analysis.figures.curves import history_figure
from analysis.figures.flow import flow_diagram
from analysis.figures.strata import ranges_figure
from analysis.page.answer import first
from analysis.reporting.facts import published
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.sources import of_models
from analysis.reporting.thresholds import marginal_row, points, refused
from analysis.reporting.views import Shown, TableView
from analysis.statistics.completeness import interval_of
from lake import yamltext

_GROUPS = {"same_survey": "Legacy Surveys, DECam", "other_surveys": "other surveys"}


def pipeline_figure(inputs: ReportInputs) -> Shown | None:
    """The stages and what each read; None where the page is not about a survey."""
    if not inputs.stages:
        return None
    caption = (
        "The stages that made the tables behind this page, from the pins of these tables: an arrow leads to a stage "
        "that read what the one before made. Arrows that follow from others are left out."
    )
    return Shown(
        flow_diagram(inputs.stages), caption, "pipeline", pd.DataFrame(inputs.stages, columns=["made", "read"])
    )


def past_training(inputs: ReportInputs) -> Shown | None:
    """Trainings of this project and those that the reference system recorded, with peak, steps and regimes."""
    if inputs.past_epochs.empty:
        return None
    columns = ["generation", "epoch", "phase", "train_loss", "val_loss", "val_auc", "learning_rate"]
    rows = [row for frame in (inputs.training_epochs, inputs.past_epochs) for row in frame.to_dict("records")]
    epochs = pd.DataFrame(rows).reindex(columns=columns)
    source = of_models("training_epochs", ", ".join(columns), epochs["generation"].unique())
    caption = (
        "Trainings of this project, and those that the reference system recorded on its own data: validation AUC by "
        "regime, the best epoch (star), and epochs from which a constant learning rate is lower (dotted). Runs whose "
        "log is lost have the epochs that are known."
    )
    return Shown(history_figure(epochs), caption, "training-history", epochs, replace(source, slices=()))


def literature_figure(inputs: ReportInputs) -> Shown:
    """Published completeness and recall with this page's answer; they are not measured on the same lenses."""
    held = published()
    rows = [
        {"label": f"{row['work']}: {row['denominator']}", "low": low, "high": high, "group": group}
        for key, group in _GROUPS.items()
        for row in held[key]
        if (ends := row.get("percent")) is not None
        for low, high in [(ends[0], ends[-1])]
    ]
    rows += _own(inputs)
    frame = pd.DataFrame(rows)
    caption = (
        "Published completeness and recall, each with its own denominator, and the answer of this page. They show what "
        "was measured elsewhere; only figures with the same denominator may be compared."
    )
    return Shown(ranges_figure(frame, "completeness or recall (%)"), caption, "literature", frame)


def _own(inputs: ReportInputs) -> list[dict[str, Any]]:
    item, threshold_id = first(inputs), inputs.params.headline_threshold_id
    row, point = marginal_row(item.completeness, threshold_id), points(item.thresholds).get(threshold_id)
    if row is None or refused(point):
        return []
    low, high, _ = interval_of(row)
    label = f"{item.name}: injections, prior {row['prior']}, {threshold_id}"
    return [{"label": label, "low": 100 * low, "high": 100 * high, "group": "this page, 95 % interval"}]


def references_view() -> TableView:
    """What this page cites, with identifiers where they are known."""
    rows = [
        [one["key"], f"{one['authors']} ({one['year']})", one.get("title", "—"), one.get("where", "—")]
        for one in references()
    ]
    return TableView("Works that this page cites", ("cited as", "authors", "title or subject", "identifier"), rows)


@cache
def references() -> list[dict[str, Any]]:
    """Entries of `references.yaml`."""
    text = resources.files("analysis.page").joinpath("references.yaml").read_text(encoding="utf-8")
    return list(yamltext.values(text))
