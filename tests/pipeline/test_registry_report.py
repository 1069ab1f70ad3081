"""After an invalidation the next run remakes the report alone, without the results: page, metrics, MLflow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from lake.root import DataRoot
from modeling.tracking.runstore import RunStore
from tests.pipeline.checkout import Checkout

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("whole_stage")]


GRID_FIGURES = {"completeness", "completeness_by_theta_e", "fpr_reached"}


def parent(store: RunStore) -> Any:
    """The run of the generation itself."""
    (run,) = store.find({"level": "generation", "generation": "demo1", "source": "trained"})
    return run


def figures(store: RunStore) -> set[str]:
    return set(parent(store).data.metrics)


def test_report_metrics_and_mlflow_leave_an_invalid_grid_out(twin: Callable[[], Checkout]) -> None:
    copy = twin()
    metrics = copy.folder / "data/metrics/demo1.json"
    before = json.loads(metrics.read_text())
    assert "completeness" in before
    copy.dhs("registry", "invalidate", "grid-demo1", "--reason", "hosts of another survey")
    again = re.findall(r"Running stage '([^']+)'", copy.run("dvc", "repro").stdout)
    assert again == ["listing", "pairs@demo1", "report"]
    held = json.loads(metrics.read_text())
    assert "completeness" not in held
    assert held["auc"] > 0
    page = (copy.folder / "data/report/index.html").read_text()
    assert "grid-demo1: hosts of another survey" in page
    assert "No injection grid has been scored yet." in page
    store = RunStore(DataRoot.of(copy.folder / "data"))
    for stage in ("grid", "completeness"):
        assert not store.find({"stage": stage, "generation": "demo1"})
    assert figures(store).isdisjoint(GRID_FIGURES)
    assert store.find({"stage": "evaluate", "generation": "demo1"})
    compared = copy.dhs("compare").stdout
    assert "no grid" in compared
    assert "no grid" not in copy.dhs("compare", "--invalid").stdout
    copy.dhs("registry", "invalidate", "demo1", "--reason", "trained on test galaxies")
    for words in (("compare",), ("run", "report")):
        done = copy.dhs(*words, check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("dhs: ")
    for run in ("demo1", "grid-demo1"):
        copy.dhs("registry", "restore", run, "--reason", "it was not so")
    copy.dhs("run", "report")
    assert json.loads(metrics.read_text()) == before
    for stage in ("train", "evaluate", "grid", "completeness", "diagnose"):
        (run,) = store.find({"stage": stage, "generation": "demo1"})
        assert run.data.tags["mlflow.parentRunId"] == parent(store).info.run_id, stage
    assert figures(store) >= GRID_FIGURES
