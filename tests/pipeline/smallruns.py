"""A lake of two finders in some rows: demo1, and demo2, which starts from its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from analysis.records import Gate, Measure, Outcome
from lake.store.query import query
from pipeline.project.context import RunContext, stage_run
from pipeline.project.project import Project
from pipeline.tables import registry
from tests.pipeline.checkout import project_in

AUC = {"demo1": 0.98, "demo2": 0.97}
COUNTS = "select generation, sum(detected) as n from completeness group by all order by all"
ROW = {"grid_id": "g", "grid_name": "main", "prior": "anchored"}


def project_with_runs(folder: Path) -> Project:
    """Both finders trained, evaluated, diagnosed, with a grid."""
    project = project_in(folder)
    for name, parent in (("demo1", None), ("demo2", "demo1")):
        train(project, name, parent, f"c-{name}")
        evaluate(project, name)
        grid(project, name)
        trials(project, name)
        diagnose(project, name, f"c-{name}")
    return project


def copied(made: Path, folder: Path) -> Project:
    """A copy of the project in `made`, to change."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return project_in(folder)


def train(project: Project, name: str, parent: str | None, checkpoint: str) -> None:
    with stage_run("train", name, project, RunContext) as context:
        if parent is not None:
            context.note_input(f"checkpoint:{parent}", "c")
        epoch = {"run_id": f"{name}-{checkpoint}", "epoch": 1, "origin": name, "generation": name}
        context.write("training_epochs", [epoch], name, {"origin": name})


def evaluate(project: Project, name: str) -> None:
    of = {"checkpoint_id": f"c-{name}", "generation": name}
    with stage_run("evaluate", name, project, RunContext) as context:
        context.note_input(f"checkpoint:{name}", of["checkpoint_id"])
        area = Measure("auc", AUC[name], AUC[name] - 0.01, AUC[name] + 0.01, 743)
        recall = Measure("recall/tier_A/p0.3", 0.9, 0.8, 0.95, 40)
        context.write_outcome(Outcome("evaluation", (area, recall)), f"evaluate-{name}")
        row = {**of, "threshold_id": "p0.5", "status": "fixed", "negatives": 9, "test_negatives": 9, "threshold": 0.5}
        context.write("thresholds", [row], name, of)


def grid(project: Project, name: str) -> None:
    of = {"grid_id": "g", "checkpoint_id": f"c-{name}", "generation": name}
    place = project.data.grid(name)
    place.mkdir(parents=True, exist_ok=True)
    (place / "lineage.json").write_text(json.dumps({"code": {}, "inputs": {f"checkpoint:{name}": "c"}}))
    with stage_run("ingest", name, project, RunContext) as context:
        context.note_input(f"grid:{name}", "g")
        row = {**ROW, **of, "injection_id": "i", "status": "scored"}
        context.write("injection_scores", [row], name, of)
    with stage_run("completeness", name, project, RunContext) as context:
        context.note_table("injection_scores", [name])
        context.note_table("thresholds", [name])
        counts = {"threshold": 0.5, "n": 100, "detected": 20, "failed": 0, "completeness": 0.2}
        names = {"cell": "marginal", "threshold_id": "p0.5", "source_mag_bin": "all", "weighting_id": "anchored"}
        context.write("completeness", [{**ROW, **of, **names, **counts, "origin": "own"}], name, of)


def trials(project: Project, name: str) -> None:
    of = {"checkpoint_id": f"c-{name}", "generation": name}
    of_trial = {"experiment": "bright_arcs", "variant": "baseline", "trial_id": "t", "bin": "20-21", "galaxy_id": "h"}
    drawn = {"seed": 1, "theta_e_arcsec": 1.5, "beta_frac": 0.3, "src_mag": 20.5, "status": "scored"}
    with stage_run("trials", name, project, RunContext) as context:
        context.note_input(f"checkpoint:{name}", of["checkpoint_id"])
        context.note_input(f"grid:{name}", "g")
        context.write("trials", [{**of, **of_trial, **drawn}], name, of)


def diagnose(project: Project, name: str, checkpoint: str) -> None:
    with stage_run("diagnose", name, project, RunContext) as context:
        context.note_table("thresholds", [name])
        context.note_table("trials", [name])
        gate = Gate("masked_pixels", "PASS", 0.0, 0.0, 0.01, 0.05, "few")
        context.write_outcome(Outcome("masked_pixels", gates=(gate,)), f"diagnose-{name}")
        row = {"run_id": f"{name}-{checkpoint}", "origin": name, "kind": "training", "generation": name}
        more = {"status": "valid", "source": "trained", "checkpoint_id": checkpoint, "key_finding": "fine"}
        context.write("experiments", [row | more], name, {"origin": name})


def statuses(project: Project) -> dict[str, str]:
    return {run.run: run.status for run in registry.own_runs(project)}


def generations_in(project: Project, text: str, **options: Any) -> list[str]:
    return query(project.data, text, **options).to_pandas()["generation"].tolist()
