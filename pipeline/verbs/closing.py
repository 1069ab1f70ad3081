"""Closure of a survey whose lenses are known, with one finder, from its stored results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from analysis.diagnostics.closure import closed, failing
from analysis.diagnostics.discovery import DiagnoseParams
from analysis.statistics.thresholds import from_rows
from lake.errors import DataError, not_one_of
from lake.store.stamps import StampStore
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.closure import audit_manifest, scored_objects, survey_chain
from pipeline.experiment.reweighting import headline
from pipeline.project.context import RunContext
from pipeline.project.project import Project

_COLUMNS = ("name", "value", "low", "high", "n", "unit", "method")


def closure(project: Project, generation: str | None, **changes: Any) -> tuple[pa.Table, list[str]]:
    """Measures and gates of the closure of a finder (None: the report's first), and the names of the links that fail.

    ``changes`` are fields of the parameters of the stage diagnose; None leaves what params.yaml says.
    """
    name = generation or headline(project)
    if name not in project.audited:
        raise not_one_of("generation", project.audited, name)
    given = {key: value for key, value in changes.items() if value is not None}
    params: Any = project.section(DiagnoseParams, "diagnose")
    params = type(params).load({**params.model_dump(mode="json"), **given}, "diagnose")
    context = RunContext("diagnose", name, project)
    points = from_rows(context.read("thresholds", slices=[name]).to_pandas())
    known = [point.threshold_id for point in points if point.measurable]
    if params.closure_threshold not in known:
        raise not_one_of("threshold", known, params.closure_threshold)
    scorer, store = load_scorer(context.root.checkpoints(name)), StampStore(context.root.cutouts)
    chain = survey_chain(context, scored_objects(context, audit_manifest(context)), store, scorer, params)
    if chain is None:
        raise DataError(f"the lenses of the {project.survey.name} are not known: there is no truth to close on")
    outcome = closed(chain, points, params, np.random.default_rng(context.seed))
    at = params.closure_threshold
    shown = [m for m in outcome.measures if m.name.endswith(f"/{at}") or m.name.startswith("closure/light/")]
    rows = [{key: getattr(measure, key) for key in _COLUMNS} | {"status": None} for measure in shown]
    rows += [
        {"name": gate.name, "value": gate.value, "low": gate.low, "high": gate.high, "n": None, "unit": None}
        | {"method": gate.rule, "status": gate.status}
        for gate in outcome.gates
    ]
    return pa.Table.from_pylist(rows), failing(outcome)
