"""Inputs of the report on one finder and a set of cut-outs."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from analysis.config import ReportParams
from analysis.records import Outcome
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.results.calibrated import Calibrated
from analysis.results.untouched import negatives_for, untouched
from analysis.statistics.thresholds import Threshold, threshold_rows
from injection.experiment.setting import Setting
from lake import tables
from lake.provenance import git_commit, pipeline_version
from lake.root import DataRoot
from lake.sky.split import THRESHOLD
from lake.store import cards
from pipeline.experiment.cutouthosts import Labelled
from pipeline.project.context import RunContext
from pipeline.reporting.galleries import errors, next_to_hosts, shown_injections
from pipeline.reporting.report_inputs import grid_facts_of, pinned
from pipeline.reporting.results import contamination


@dataclass(frozen=True)
class Measured:
    """Everything that an audit on a set has measured."""

    found: Labelled
    scores: pd.DataFrame
    """Rows of `scores`, in the order of the set's objects."""
    thresholds: list[Threshold]
    calibrators: Calibrated
    injections: pa.Table | None
    """The grid's rows, with `probability` and `host_probability`; None for a set without hosts."""
    completeness: pa.Table
    outcomes: Mapping[str, Outcome]
    """By the run that measured them."""
    facts: Mapping[str, str]
    """The finder and its set in words."""


def page_inputs(
    context: RunContext, measured: Measured, setting: Setting | None, name: str, params: ReportParams
) -> ReportInputs:
    """The page of one audit, whose tables are published: the sections that a set can fill."""
    found, chosen = measured.found, _headline(measured.thresholds, params)
    shown = params.model_copy(update={"headline_threshold_id": chosen.threshold_id, "headline_generation": name})
    generation = _generation(measured, name)
    tested = measured.scores[measured.scores["split"] == "test"].assign(place=found.objects["place"])
    galleries, grids = [], {}
    if setting is not None and measured.injections is not None:
        rows, which = shown_injections(measured.injections, params.contact_sheet_rows, context.seed)
        galleries = [next_to_hosts(rows, which, setting, tested, found, name)]
        grids = {str(measured.injections["grid_id"][0]): grid_facts_of(setting.grid, _psf(found))}
    if (tested["label"] == 1).any():
        galleries += errors(tested, found, name, chosen)
    none, where = pd.DataFrame(), {"stage": f"audit.{name}"}
    lost = pd.DataFrame(found.rejected, columns=["source_file", "row_index", "reason", "record"]).assign(**where)
    counts = [*({"outcome": "quarantined", "reason": r, "rows": 1} for r in lost["reason"])]
    counts.append({"outcome": "kept", "reason": "", "rows": len(found.objects)})
    baseline = measured.outcomes["diagnose"].arrays if "diagnose" in measured.outcomes else {}
    held = {"label": baseline.get("trivial_labels", []), "score": baseline.get("trivial_scores", [])}
    return ReportInputs(
        imaging=found.imaging,
        params=shown,
        survey_name=f"the cut-outs {found.described.name}",
        simulated=False,
        generations=[generation],
        headline=name,
        manifest=none.reindex(columns=["split", "label", "tier", "pool", "healpix_128", "type_bin", "nobs_z_bin"]),
        ingest_counts=pd.DataFrame(counts).assign(**where, source_file=found.described.name),
        quarantine=lost,
        training_epochs=none,
        experiments=none,
        candidates=none,
        grids=grids,
        baseline=pd.DataFrame(held),
        galleries=galleries,
        provenance={
            "commands": f"dhs audit FINDER --name {name} --cutouts FOLDER --describe DESCRIPTION.yaml",
            "code commit": git_commit(),
            "package version": pipeline_version(),
            "configuration": f"description, {found.described.digest()}",
            "seed": str(context.seed),
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
        tables=_tables(context.root, name),
    )


def _tables(root: DataRoot, name: str) -> pd.DataFrame:
    """The slices that the audit has published."""
    held = cards.all_slices(root.of_any_survey)
    return pinned(entry for entry in held if entry.pin.inputs.get(cards.SET) == name)


def _headline(thresholds: list[Threshold], params: ReportParams) -> Threshold:
    """The report's threshold if it is measurable here, else the most selective one that is."""
    held = [point for point in thresholds if point.measurable]
    named = [point for point in held if point.threshold_id == params.headline_threshold_id]
    derived = [point for point in held if point.status == "measured"]
    return (named or sorted(derived, key=lambda point: point.target_fpr) or held or thresholds)[0]


def _generation(measured: Measured, name: str) -> GenerationInputs:
    outcomes = measured.outcomes.items()
    diagnostics = [row for run, outcome in outcomes for row in outcome.diagnostics_rows(f"{run}-{name}")]
    gates = [row for run, outcome in outcomes for row in outcome.gates_rows(f"{run}-{name}")]
    findings = [row for run, outcome in outcomes for row in outcome.findings_rows(f"{run}-{name}")]
    points = [row for run, outcome in outcomes for row in outcome.points_rows(f"{run}-{name}")]
    checkpoint_id, scores = str(measured.scores["checkpoint_id"].iloc[0]), measured.scores
    tested = scores[scores["split"] == "test"]
    held = untouched(tested)
    return GenerationInputs(
        name=name,
        checkpoint_id=checkpoint_id,
        facts={**measured.facts, **contamination(tested)},
        lens_share=None,
        lens_share_origin="",
        scores=held.objects,
        refusal=held.refusal(),
        fixing=negatives_for(scores, THRESHOLD)[["galaxy_id", "probability"]],
        diagnostics=pd.DataFrame(diagnostics, columns=_columns("diagnostics")),
        gates=pd.DataFrame(gates, columns=_columns("gates")),
        findings=pd.DataFrame(findings, columns=_columns("findings")),
        points=pd.DataFrame(points, columns=_columns("figure_points")),
        completeness=measured.completeness.to_pandas(),
        thresholds=pd.DataFrame(threshold_rows(measured.thresholds, checkpoint_id, name)),
        calibrations=pd.DataFrame(measured.calibrators.rows),
        injections=pd.DataFrame(columns=_columns("set_injections"))
        if measured.injections is None
        else measured.injections.to_pandas(),
    )


def _columns(table: str) -> list[str]:
    """Columns of a table without lineage."""
    return [column.name for column in tables.spec(table).columns if column.role != "lineage"]


def _psf(found: Labelled) -> str:
    kinds = {"image": "images of each host", "fwhm": "a named profile", "fwhm_nea": "the grid's profile of their width"}
    return kinds[found.described.psf.kind]
