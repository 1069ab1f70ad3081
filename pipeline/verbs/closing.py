"""Closure of a survey whose lenses are known, with one finder, from its stored results."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.diagnostics.closure import BALANCED, LEFT_OUT, closed, failing, self_closed
from analysis.diagnostics.discovery import DiagnoseParams
from analysis.records import Outcome
from analysis.results.untouched import unjudged, unknown
from analysis.statistics.thresholds import Threshold, from_rows, why_not
from lake.errors import DataError, not_one_of
from lake.store import status
from lake.store.stamps import StampStore
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.grids import scored_setting
from pipeline.experiment.reweighting import headline
from pipeline.project.context import RunContext
from pipeline.project.project import Project
from pipeline.realism.closure import audit_manifest, scored_objects, survey_chain
from pipeline.realism.hostweights import survey_weights
from pipeline.realism.selfclosure import modelled, read_models, self_chain
from pipeline.realism.truelenses import require_truth

_COLUMNS = ("name", "value", "low", "high", "n", "unit", "method")


def closure(
    project: Project, generation: str | None, lenses: Path | None = None, **changes: Any
) -> tuple[pa.Table, list[str]]:
    """Measures and gates of the closure of a finder (None: the report's first), and the names of the links that fail.

    ``lenses`` is a file of models of real lenses, for self-closure. ``changes`` are fields of the parameters of the
    stage diagnose; None leaves what params.yaml says.
    """
    name = generation or headline(project)
    if name not in project.audited:
        raise not_one_of("generation", project.audited, name)
    for table in ("scores", "thresholds", "injection_scores"):
        status.require_counts(project.data, table, name)
    given = {key: value for key, value in changes.items() if value is not None}
    params: Any = project.section(DiagnoseParams, "diagnose")
    params = type(params).load({**params.model_dump(mode="json"), **given}, "diagnose")
    context = RunContext("diagnose", name, project)
    points = from_rows(context.read("thresholds", slices=[name]).to_pandas())
    at, known = params.closure_threshold, [point.threshold_id for point in points]
    if at not in known:
        raise not_one_of("threshold", known, at)
    if not points[known.index(at)].measurable:
        raise DataError(f"the closure of {name} is not measured: {why_not(points, at)}")
    outcome = _measured(context, points, params, lenses)
    return _rows(outcome, at), failing(outcome)


def _measured(context: RunContext, points: Sequence[Threshold], params: Any, models: Path | None) -> Outcome:
    scorer = load_scorer(context.root.checkpoints(context.generation))
    objects, rng = scored_objects(context, audit_manifest(context)), np.random.default_rng(context.seed)
    if models is not None:
        rows = context.read("injections", slices=[context.generation])
        setting = scored_setting(context, context.generation, rows)
        found = modelled(objects, read_models(models, setting))
        chain = self_chain(found, setting, scorer, params, partial(survey_weights, context))
        if chain.unscored:
            raise DataError(f"the closure of {context.generation} is not measured: {chain.unscored}")
        return unjudged(self_closed(chain, points, params, rng), unknown(objects))
    require_truth(context.project)
    linked = survey_chain(context, objects, StampStore(context.root.cutouts), scorer, params)
    if linked is None:
        raise DataError(
            f"the lenses of the {context.survey.name} are not known: give models of real ones with --lenses"
        )
    if isinstance(linked, str):
        raise DataError(f"the closure of {context.generation} is not measured: {linked}")
    return closed(linked, points, params, rng, unknown(objects))


def _rows(outcome: Outcome, threshold: str) -> pa.Table:
    """Measures at one threshold, of lenses left out, of light and of balance, then gates."""
    at_any = (LEFT_OUT, "closure/light/", *(f"closure/{link}/balance/" for link in BALANCED))
    shown = [m for m in outcome.measures if m.name.endswith(f"/{threshold}") or m.name.startswith(at_any)]
    rows = [{key: getattr(measure, key) for key in _COLUMNS} | {"status": None} for measure in shown]
    rows += [
        {"name": gate.name, "value": gate.value, "low": gate.low, "high": gate.high, "n": None, "unit": None}
        | {"method": gate.rule, "status": gate.status}
        for gate in outcome.gates
    ]
    return pa.Table.from_pylist(rows)
