"""What `dvc metrics` and `dvc plots` show after a run, and between commits."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.pipeline.checkout import Checkout

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("whole_stage")]
PLOTS = {"data/plots/roc.csv": 1, "data/plots/completeness.csv": 1, "data/plots/epochs.csv": 2}


def test_metrics_are_one_line_a_generation(finished: Checkout) -> None:
    shown = json.loads(finished.run("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert list(shown) == ["data/metrics/demo1.json"]
    numbers = shown["data/metrics/demo1.json"]["data"]
    assert {"auc", "auc_low", "completeness", "fpr_reached", "threshold", "gates_failed"} <= set(numbers)
    assert len(numbers) <= 16


def test_plots_draw_every_generation(finished: Checkout) -> None:
    drawn = json.loads(finished.run("dvc", "plots", "show", "--json").stdout)
    assert len(drawn["data"]) == sum(PLOTS.values())
    assert not drawn.get("errors")
    for plots in drawn["data"].values():
        content = json.loads(plots[0]["content"]) if isinstance(plots[0]["content"], str) else plots[0]["content"]
        assert content["encoding"]["color"]["field"] == "generation"


def test_commits_that_hold_the_figures_are_compared(twin: Callable[[], Checkout]) -> None:
    copy = twin()
    commit = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "figures")
    copy.run("git", "add", "data/metrics", "data/plots")
    copy.run(*commit)
    path = copy.folder / "data/metrics/demo1.json"
    numbers = json.loads(path.read_text())
    path.write_text(json.dumps(numbers | {"auc": numbers["auc"] - 0.25}))
    (change,) = json.loads(copy.run("dvc", "metrics", "diff", "--json").stdout).values()
    assert change["auc"]["diff"] == pytest.approx(-0.25)
    both = copy.run("dvc", "plots", "diff", "HEAD", "--json").stdout
    assert {"workspace", "HEAD"} <= {
        rev for plots in json.loads(both)["data"].values() for rev in plots[0]["revisions"]
    }
