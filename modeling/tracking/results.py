"""Results of finders as MLflow runs below that of their generation, which carries the few figures that are compared.

The tables are the record. A result is one run per generation and stage: it is replaced when it changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from lake.errors import DataError
from lake.provenance import git_commit
from lake.root import DataRoot
from lake.store import cards
from modeling.tracking import models
from modeling.tracking.runs import OF_TRAINING, TRAINED, generation_entry
from modeling.tracking.runstore import Entry, Point, RunStore

GRID, PICTURES = "grid", "figures"


@dataclass(frozen=True)
class Result:
    """What one stage found on one finder."""

    stage: str
    figures: Mapping[str, float]
    """Metrics by name; those not finite are left out."""
    params: Mapping[str, object] = field(default_factory=dict)
    slices: Sequence[tuple[str, str]] = ()
    """(table, slice) of the rows it shows, whose inputs become the datasets of the run."""
    points: Sequence[Point] = ()
    """Metrics that have a curve."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Artifacts by path: pictures (``figures/roc.svg``) and tables (``tables/completeness.csv``)."""


def log_result(root: DataRoot, generation: str, result: Result) -> str:
    """Keep a result as the run of its stage below that of the generation; returns its identifier."""
    pins = [cards.read_slice(root, table, name).pin for table, name in result.slices]
    inputs = {key: value for pin in pins for key, value in pin.inputs.items()}
    code = pins[0].code if pins else {}
    return _log(root, generation, result, inputs, code.get("git_commit"))


def log_grid(root: DataRoot, generation: str, grid_id: str, folder: Path) -> str:
    """Keep parameters, counts and mean scores of a selection-function grid in the generation's run ``grid``."""
    facts = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
    params = {key: value for key, value in facts.items() if not isinstance(value, list)}
    figures = _grid_figures(folder)
    figures |= {name: len(facts[key]) for key, name in (("cells", "cells"), ("short", "cells_short")) if key in facts}
    lineage = _read_json(folder / "lineage.json")
    commit = lineage.get("code", {}).get("git_commit")
    result = Result(GRID, figures, {**params, "grid_id": grid_id})
    return _log(root, generation, result, lineage.get("inputs", {}), commit)


def log_headline(root: DataRoot, generation: str, found: Result) -> str:
    """Keep the figures that generations are compared by, and pictures, in the generation's own run.

    Figures and pictures of an earlier report that are not among them are deleted.
    """
    store = RunStore(root)
    run = store.open(generation_entry(generation, _model_facts(root, generation), found.params))
    store.close(run)
    curves = {name for *_, values in found.points for name in values}
    store.drop(run, set(store.client.get_run(run).data.metrics) - {*found.figures, *curves, *OF_TRAINING})
    store.summarise(run, found.figures, {})
    store.curves(run, found.points)
    store.files(run, found.files)
    store.drop_files(run, PICTURES, {*found.files})
    return run


def forget_runs(root: DataRoot, generation: str, stage: str | None = None) -> int:
    """Delete (restorably, as MLflow does) the runs of a generation trained or scored here; return their number.

    Of one ``stage`` only, where it is named; otherwise its registered model versions go as well.
    """
    if not root.mlflow_database.exists():
        return 0
    store = RunStore(root)
    named = {} if stage is None else {"stage": stage}
    runs = store.find({"generation": generation, "source": TRAINED, **named})
    for run in runs:
        store.delete(run.info.run_id)
    if stage is None:
        models.forget(store, generation)
    return len(runs)


def _log(root: DataRoot, generation: str, result: Result, inputs: Mapping[str, str], commit: str | None) -> str:
    store = RunStore(root)
    tags = {**_model_facts(root, generation), "generation": generation, "source": TRAINED, "stage": result.stage}
    tags["commit"] = commit or git_commit()
    parent = store.open(generation_entry(generation))
    store.close(parent)
    name = f"{result.stage}/{generation}"
    figures = {metric: float(value) for metric, value in result.figures.items()}
    entry = Entry(name, f"{generation} {result.stage}", tags, result.params, inputs, figures, result.points, parent)
    run = store.keep(entry)
    store.files(run, result.files)
    return run


def _grid_figures(folder: Path) -> dict[str, float]:
    batches = sorted(str(path) for path in folder.glob("batch-*.parquet"))
    if not batches:
        raise DataError(f"{folder} contains no grid batches; run `dvc repro`")
    rows = ds.dataset(batches).to_table(columns=["status", "score", "host_score"]).to_pandas()
    scored = rows[rows["status"] == "scored"].dropna()
    counts = {"injections": len(rows), "scored": len(scored), "failed": len(rows) - len(scored)}
    if scored.empty:
        return dict(counts)
    mean, host = float(scored["score"].mean()), float(scored["host_score"].mean())
    return counts | {"mean_score": mean, "mean_host_score": host, "mean_score_gain": mean - host}


def _model_facts(root: DataRoot, generation: str) -> dict[str, str]:
    """Which model a result belongs to, where the generation is a checkpoint of this project."""
    card = _read_json(root.checkpoints(generation) / "checkpoint.json")
    if not card:
        return {}
    facts = {name: str(card[name]) for name in ("checkpoint_id", "run_id")}
    return facts | {"data_fingerprint": card["manifest_fingerprint"], "lineage": card["config"]["init"] or "none"}


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
