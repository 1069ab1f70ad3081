"""The audit of a finder on a folder of labelled cut-outs, without sweeps, coadds or Spark.

Everything is computed first and published at the end; the same command resumes partial work.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import expit

from analysis.config import CompletenessParams, EvaluateParams, ReportParams
from analysis.page.report import rendered
from analysis.results.calibrated import calibrated
from analysis.results.evaluation import evaluate
from analysis.results.gridtable import counted, measurable, nothing, table_of
from analysis.results.untouched import exposure, fixed_thresholds, negatives_for
from analysis.statistics.thresholds import refusal, threshold_rows
from etl.config import CutoutsParams
from injection.config import GridParams
from injection.experiment.grid import cells
from injection.experiment.setting import Setting
from lake import tables
from lake.contract import rules
from lake.errors import DataError, invalid
from lake.files import atomic
from lake.files.publishing import published_folder
from lake.names import checked_name
from lake.progress import track
from lake.scorer import Scorer, check_bands, known
from lake.sky.split import THRESHOLD
from lake.store import cards, quarantine
from modeling.scoring.card import CARD
from modeling.scoring.checkpoint import Checkpoint
from modeling.scoring.finder import ExternalScorer, Output
from modeling.scoring.scorer import load_scorer
from pipeline.experiment import cutouthosts
from pipeline.experiment.cutouthosts import Labelled
from pipeline.experiment.grids import fill_grid
from pipeline.experiment.trainedon import read_listed, seen_in_list
from pipeline.finders import cutoutuses
from pipeline.finders.audit import TRIED, TrainedOn, require_one_score
from pipeline.finders.cutouttables import contract_rows, figures_of, page_of, publish
from pipeline.project.context import RunContext, stage_run
from pipeline.project.outputs import grid_batches, grid_facts, sealed, write_figures
from pipeline.project.project import Project
from pipeline.realism.cutoutdiagnostics import diagnosed
from pipeline.reporting.setpage import Measured, page_inputs

log = logging.getLogger(__name__)

STAGE = "audit"
_CHUNK = 1024
_ROUND = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Request:
    """What is audited: a finder, on a described folder, under a name."""

    finder: str
    folder: Path
    description: Path
    name: str
    output: Output | None = None
    trained_on: TrainedOn | None = None


@dataclass(frozen=True)
class Made:
    """Results of an audit."""

    name: str
    """Name of the slices."""
    page: Path
    rejected: int
    """Files, objects and injections that could not be used."""


def summary(project: Project, made: Made) -> str:
    """Where to find the results, as text."""
    where = f"where generation = '{made.name}' and cell = 'marginal' and source_mag_bin = 'all'"
    query = f'dhs query "select threshold_id, completeness, n, fpr_reached from completeness {where}"'
    lost = f"dhs query \"select source_file, reason from quarantine where stage = '{STAGE}.{made.name}'\""
    return "\n".join([f"report: {made.page}", query, f"{made.rejected} files, objects or injections not used: {lost}"])


def audit_cutouts(project: Project, request: Request) -> Made:
    """Measure a finder on a set and publish the results."""
    described = cutouthosts.described(request.description)
    name = checked_name(f"{checked_name(request.name, 'name')}-{described.name}", "name")
    if name in {entry.card.slice for entry in cards.of_survey(project.data.of_any_survey, "scores")}:
        raise invalid("name", "a name that no finder of the survey has", name)
    scorer = load_scorer(request.finder, output=request.output, declares=described.finder)
    with stage_run(STAGE, name, project, RunContext) as context:
        context.inputs.pop(cards.SURVEY)  # a set belongs to no survey
        context.note_input(cards.SET, name)
        context.note_input(f"description:{request.description.name}", described.digest())
        context.note_input("finder", f"{scorer.name} ({scorer.checkpoint_id})")
        work = context.work(described.digest(), str(request.folder.resolve()), scorer.checkpoint_id)
        found = _read(context, request, scorer, work / "stamps.f32")
        measured, setting = _measured(context, request, scorer, found)
        page, shown = page_of(context.root, name), project.section(ReportParams, "report")
        figures = figures_of(page)
        publish(context, measured)
        made = rendered(page_inputs(context, measured, setting, name, shown), figures.name)
        with published_folder(figures, context.work("figures", name)) as folder:
            write_figures(folder, made.files)
        atomic.write_text(page, sealed(made.html))
    return Made(name, page, len(measured.found.rejected))


def _read(context: RunContext, request: Request, scorer: Scorer, pixels: Path) -> Labelled:
    """The objects that the finder can score, with their uses."""
    project = context.project
    base, cutouts = project.section(GridParams, "grid"), project.section(CutoutsParams, "cutouts")
    found = cutouthosts.read(request.folder, request.description, base, cutouts, scorer.conditions, pixels)
    check_bands(scorer, found.imaging)
    found = cutoutuses.with_known_optics(found)
    if scorer.conditions:
        good = known(scorer, found.conditions(scorer.conditions))
        found = found.where(good, f"it lacks {' or '.join(scorer.conditions)}, which the finder needs")
    return cutoutuses.with_uses(found, context.survey.split)


def _scores(context: RunContext, request: Request, scorer: Scorer, found: Labelled) -> pd.DataFrame:
    """Rows of `scores`, in the order of the objects."""
    conditions = found.conditions(scorer.conditions) if scorer.conditions else None
    objects = found.objects
    some = slice(0, TRIED)
    require_one_score(scorer, found.get(objects[some]), None if conditions is None else conditions[some])
    logits = np.full(len(objects), np.nan)
    for start in track(range(0, len(objects), _CHUNK), "score cut-outs"):
        part = slice(start, start + _CHUNK)
        logits[part] = scorer.score(found.get(objects[part]), None if conditions is None else conditions[part])
    if isinstance(scorer, ExternalScorer):
        scorer.refuse_undeclared_probabilities()
    seen_ = _seen(request, found)
    trained = seen_ if request.trained_on else _seen(request, found, "train")
    return pd.DataFrame(
        {
            "checkpoint_id": scorer.checkpoint_id,
            "generation": context.generation,
            "galaxy_id": objects["galaxy_id"],
            "cutout_version": objects["sha256"].str[:16],
            "manifest_id": found.described.name,
            "split": objects["split"],
            "label": objects["label"].astype(np.int32),
            "score": logits,
            "probability": expit(logits),
            "seen_in_training": seen_,
            "trained_on": trained,
            "negative_use": objects["negative_use"],
        }
    )


def _seen(request: Request, found: Labelled, purpose: str | None = None) -> pd.Series:
    """Which objects the finder was trained on, by its author's list, or as a network that was trained on this set
    remembers (or only for one ``purpose``); null where neither says."""
    if request.trained_on is None:
        return pd.Series(_remembered(request, found, purpose), index=found.objects.index, dtype="boolean")
    place = {name: pa.array(found.conditions([name])[:, 0]) for name in ("ra", "dec")}
    listed, rows = read_listed(request.trained_on.path), pa.table({"galaxy_id": found.facts["galaxy_id"], **place})
    placed = all(np.isfinite(column.to_numpy()).all() for column in place.values())
    if not placed:
        listed = listed.set_column(1, "ra", pa.nulls(listed.num_rows, pa.float64()))
        log.warning("some objects of %s have no ra and dec: leakage is measured by identifiers", found.described.name)
    path, radius = request.trained_on.path, request.trained_on.within_arcsec
    hit = seen_in_list(path, listed, rows, radius, found.described.name)
    return pd.Series(hit.to_pylist(), index=found.objects.index, dtype="boolean")


def _remembered(request: Request, found: Labelled, purpose: str | None) -> NDArray[np.bool_] | None:
    folder = Path(request.finder)
    folder = folder.parent if folder.suffix == ".safetensors" else folder
    if not (folder / CARD).exists():
        return None
    checkpoint = Checkpoint.load(folder)
    known = checkpoint.card.manifest_id == found.described.name and checkpoint.card.seen_known
    return checkpoint.has_seen(pa.array(found.objects["galaxy_id"]), purpose) if known else None


def _measured(
    context: RunContext, request: Request, scorer: Scorer, found: Labelled
) -> tuple[Measured, Setting | None]:
    """Scores, thresholds, evaluation, injections, completeness and diagnostics, in that order."""
    project, name = context.project, context.generation
    scores = _scores(context, request, scorer, found)
    fixing = np.sort(negatives_for(scores, THRESHOLD)["probability"])
    params = _rates(project.section(EvaluateParams, "evaluate"), fixing)
    declared = found.described.unlisted_lenses_per_negative  # the survey's own values say nothing about a set
    params = params.model_copy(update={"unlisted_lenses_per_negative": declared, "sky_lens_share": None})
    points = fixed_thresholds(scores, params)
    maps = calibrated(scores, params)
    stored = pd.DataFrame(threshold_rows(points, scorer.checkpoint_id, name))
    tested, outcomes = scores[scores["split"] == "test"].reset_index(drop=True), {}
    if (tested["label"] == 1).any():
        tiers = found.objects.loc[found.objects["split"] == "test", "tier"].reset_index(drop=True)
        rng = np.random.default_rng(context.seed)
        found_ = evaluate(tested.assign(tier=tiers), points, params, rng)
        measures = (*found_.measures, *maps.measures, *exposure(scores))
        outcomes["evaluate"] = replace(found_, measures=measures, points=(*found_.points, *maps.points))
    trained = scores["trained_on"].fillna(False).to_numpy(bool)
    setting = cutouthosts.setting_of(found, found.grid, context.seed, trained)
    pixels = hashlib.sha256("".join(found.objects["sha256"]).encode()).hexdigest()[:16]
    context.note_input("cut-outs", f"{len(found.objects)} objects of {request.folder.name}, pixels {pixels}")
    if setting is None:
        log.warning("%s has no negatives to host injections: completeness is not measured", found.described.name)
        injections, completeness, injected = None, nothing(), "none: no negatives to host them"
    else:
        fill_grid(context, setting, scorer, found.described.name, name, pixels=pixels)
        injections, lost = _injections(context, scorer, setting)
        found = replace(found, rejected=[*found.rejected, *lost])
        completeness = _completeness(context, found, setting, injections, stored, fixing)
        injected = f"{injections.num_rows:,} into {setting.hosts.table.num_rows:,} hosts"
    both = None if setting is None or injections is None else (setting, injections)
    outcomes["diagnose"] = diagnosed(context, scorer, found, scores, both)
    facts = {
        "kind": "audited on a set of cut-outs",
        "finder": request.finder,
        "returns": scorer.contract.output or "logits" if isinstance(scorer, ExternalScorer) else "logits",
        "objects": f"{(scores['label'] == 1).sum():,} lenses, {(scores['label'] == 0).sum():,} negatives",
        "not used": f"{len(found.rejected):,} files, objects or injections, see quarantine",
        "injections": injected,
        "stamps": f"{found.stamps.shape[-1]} pixels of {found.imaging.pixel_scale_arcsec:g} arcsec",
    }
    return Measured(found, scores, points, maps, injections, completeness, outcomes, facts), setting


def _completeness(
    context: RunContext,
    found: Labelled,
    setting: Setting,
    rows: pa.Table,
    stored: pd.DataFrame,
    fixing: NDArray[np.float64],
) -> pa.Table:
    """Rows of `completeness` at every threshold that has a value."""
    imaging, named = setting.hosts.imaging, measurable(stored)
    if not named:
        return nothing()
    params = context.project.section(CompletenessParams, "completeness")
    edges = found.described.source_mag_edges or params.source_mag_edges
    identity = {"generation": context.generation, "grid_name": found.described.name, "prior": setting.prior.name}
    identity |= {name: rows[name][0].as_py() for name in ("grid_id", "checkpoint_id")}
    identity["weighting_id"] = identity["prior"]
    injections = found.with_fields(rows.to_pandas())
    counts = counted(injections, cells(setting.grid), named, edges, imaging)
    scored = injections[injections["status"] == "scored"]
    return table_of(counts.assign(**identity), stored, fixing, scored, edges, imaging)


def _rates(params: EvaluateParams, fixing: NDArray[np.float64]) -> EvaluateParams:
    """The parameters with the lowest round false-positive rate at which these negatives can fix a threshold."""
    lowest = [rate for rate in _ROUND if refusal(fixing, rate) is None][:1]
    return params.model_copy(update={"fpr_points": tuple(sorted({*params.fpr_points, *lowest}))})


def _injections(context: RunContext, scorer: Scorer, setting: Setting) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The grid's rows that meet the contract of `set_injections`, with probabilities, and the others as rows of
    `quarantine`. DataError if none does."""
    rows = pa.concat_tables([pq.read_table(path) for path in grid_batches(context.root, context.generation)])
    grid_name = grid_facts(context.root, context.generation)["grid_name"]
    rows = rows.append_column("grid_name", pa.repeat(grid_name, rows.num_rows))
    for name in ("", "host_"):
        values = expit(rows[f"{name}score"].to_numpy())
        rows = rows.append_column(f"{name}probability", pa.array(values, from_pandas=True))
    rows = rows.append_column("generation", pa.repeat(context.generation, rows.num_rows))
    rows = rows.append_column("checkpoint_id", pa.repeat(scorer.checkpoint_id, rows.num_rows))
    spec = tables.spec("set_injections")
    kept, broken = rules.audit(spec, contract_rows(rows, setting.hosts.imaging))
    lost = quarantine.rows_of(spec, broken).to_pylist()
    if not kept.num_rows:
        raise DataError(f"none of the {rows.num_rows} injections of {grid_name} can be used: {lost[0]['reason']}")
    return rows.filter(pc.is_in(rows["injection_id"], kept["injection_id"].combine_chunks())), lost
