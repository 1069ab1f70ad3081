"""A stage killed in the middle and run again gives what an uninterrupted run gave."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lake import yamltext
from pipeline import wiring
from tests.pipeline.checkout import Checkout

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("whole_stage")]


def outs(checkout: Checkout, stage: str, generation: str | None = None) -> dict[str, object]:
    """The paths a stage writes, from dvc.lock."""
    locked = yamltext.values((checkout.folder / "dvc.lock").read_text())["stages"]
    name = f"{stage}@{generation}" if generation else stage
    return {out["path"]: None for out in locked[name]["outs"]}


def grown(folder: Path, pattern: str, known: set[str]) -> Callable[[], bool]:
    """Whether a file that was not there has appeared."""
    return lambda: any(str(path) not in known for path in folder.glob(pattern))


def listing(folder: Path, pattern: str) -> set[str]:
    return {str(path) for path in folder.glob(pattern)}


def clear_work(checkout: Checkout, stage: str) -> None:
    import shutil

    shutil.rmtree(checkout.folder / "data" / "work" / stage, ignore_errors=True)


def test_pool_killed_while_writing(finished: Checkout, twin: Callable[[], Checkout]) -> None:
    copy = twin()
    clear_work(copy, "pool")
    copy.forget(outs(finished, "pool"))
    table = copy.folder / "data" / "lake" / "tractor_pool"
    copy.kill_when(("run", "pool"), grown(table, "*.parquet", listing(table, "*.parquet")))
    assert not (copy.folder / "data" / "cards" / "tractor_pool.json").exists()
    copy.dhs("run", "pool")
    assert copy.cards() == finished.cards()


def test_cutouts_killed_between_bricks_and_in_a_shard(finished: Checkout, twin: Callable[[], Checkout]) -> None:
    copy = twin()
    clear_work(copy, "cutouts")
    copy.forget(outs(finished, "cutouts"))
    work = copy.folder / "data" / "work" / "cutouts"
    copy.kill_when(("run", "cutouts"), lambda: any(work.glob("*/stamps/*.npy")))
    kept = {str(p): p.stat().st_mtime_ns for p in work.glob("*/stamps/*.parquet")}
    copy.kill_when(("run", "cutouts"), lambda: any(work.glob("*/shards/*")))
    copy.dhs("run", "cutouts")
    assert copy.cards() == finished.cards()
    assert copy.digest("cutouts/*.npy") == finished.digest("cutouts/*.npy")
    again = {str(p): p.stat().st_mtime_ns for p in work.glob("*/stamps/*.parquet")}
    assert kept.items() <= again.items() or not again, "bricks that were done are not done again"


def test_train_killed_in_an_epoch(finished: Checkout, twin: Callable[[], Checkout]) -> None:
    copy = twin()
    clear_work(copy, "train")
    copy.forget(outs(finished, "train", "demo1"))
    log = copy.folder / "killed.log"
    copy.kill_when(("run", "train", "--generation", "demo1"), lambda: log.exists() and "epoch 1" in log.read_text())
    copy.dhs("run", "train", "--generation", "demo1")
    assert copy.cards() == finished.cards()
    assert copy.digest("checkpoints/demo1/best.safetensors") == finished.digest("checkpoints/demo1/best.safetensors")


def test_grid_killed_in_a_batch(finished: Checkout, twin: Callable[[], Checkout]) -> None:
    copy = twin()
    clear_work(copy, "grid")
    copy.forget(outs(finished, "grid", "demo1"))
    work = copy.folder / "data" / "work" / "grid"
    copy.kill_when(("run", "grid", "--generation", "demo1"), lambda: any(work.glob("*/batch-*.parquet")))
    copy.dhs("run", "grid", "--generation", "demo1")
    copy.dhs("run", "ingest", "--generation", "demo1")
    assert copy.cards() == finished.cards()


def test_scores_killed_between_commit_and_card(finished: Checkout, twin: Callable[[], Checkout]) -> None:
    copy = twin()
    copy.forget(outs(finished, "ingest", "demo1"))
    log = copy.folder / "data" / "lake" / "injections" / "_delta_log"
    copy.kill_when(("run", "ingest", "--generation", "demo1"), grown(log, "*.json", listing(log, "*.json")))
    assert not (copy.folder / "data" / "cards" / "injections.demo1.json").exists()
    copy.dhs("run", "ingest", "--generation", "demo1")
    assert copy.cards() == finished.cards()


SIMULATED = {"plan": "paired_small", "stamps": "paired_small", "stamp_manifest": "sim_paired"}
COMMITS = {
    "candidates": (None, "lens_candidates"),
    "negatives": (None, "negatives"),
    "manifest": ("audit_70_15_15", "manifest"),
    "completeness": ("demo1", "completeness"),
    "plan": (SIMULATED["plan"], "injection_manifest"),
    "stamps": (SIMULATED["stamps"], "stamps"),
    "stamp_manifest": (SIMULATED["stamp_manifest"], "stamp_manifest"),
}
"""Of each stage: what it runs for, and the table whose commit is the moment of the kill."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_spark_stage_killed_at_its_commit(finished: Checkout, twin: Callable[[], Checkout]) -> None:
    """Every stage on Spark whose kills have no test of their own; `stamps` is killed after its first shard, too."""
    copy = twin()
    place = copy.folder / "params.yaml"
    values = yamltext.values(place.read_text())
    values["plan"]["plans"][SIMULATED["plan"]]["configurations_per_galaxy"] = 2
    place.write_text(yamltext.text(values))
    for stage, name in SIMULATED.items():
        copy.dhs("run", stage, "--generation", name)
    expected, stamps = copy.cards(), copy.digest("stamps/*/*.npy")
    assert finished.cards().items() <= expected.items()
    for stage, (name, table) in COMMITS.items():
        command = ("run", stage, *(("--generation", name) if name else ()))
        copy.forget(dict.fromkeys(wiring.outputs(wiring.body(copy.folder, stage), name)))
        if stage == "stamps":
            work = copy.folder / "data" / "work" / "stamps"
            copy.kill_when(command, lambda work=work: any(work.glob("*/rows/[!.]*.parquet")))
        log = copy.folder / "data" / "lake" / table / "_delta_log"
        copy.kill_when(command, grown(log, "*.json", listing(log, "*.json")))
        assert copy.cards() != expected
        copy.dhs(*command)
        assert copy.cards() == expected, stage
    assert copy.digest("stamps/*/*.npy") == stamps


def test_the_spark_server_killed_under_a_stage(
    finished: Checkout, twin: Callable[[], Checkout], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = twin()
    monkeypatch.delenv("SPARK_REMOTE")
    copy.forget(outs(finished, "negatives"))
    record = copy.folder / "data" / "spark" / "server.json"

    def working() -> bool:
        """Whether the server's Python workers have begun."""
        if not record.exists():
            return False
        server = psutil.Process(json.loads(record.read_text())["pid"])
        return any("pyspark.daemon" in " ".join(child.cmdline()) for child in server.children(recursive=True))

    stage = copy.start("run", "negatives")
    copy.wait_for(stage, working)
    os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    assert stage.wait(timeout=60) == 1
    assert "the Spark server died while the stage was running" in (copy.folder / "killed.log").read_text()
    copy.dhs("run", "negatives")
    assert copy.cards() == finished.cards()
    copy.dhs("server", "stop")


def test_a_stage_names_the_process_that_runs_it(finished: Checkout, twin: Callable[[], Checkout]) -> None:
    import fcntl

    copy = twin()
    (copy.folder / "data" / "work").mkdir(parents=True, exist_ok=True)
    (copy.folder / "data" / "work" / "candidates.pid").write_text("4711")
    with (copy.folder / "data" / "work" / "candidates.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = copy.dhs("run", "candidates", check=False)
    assert done.returncode == 1
    assert "stage 'candidates' is already running in process 4711" in done.stderr
