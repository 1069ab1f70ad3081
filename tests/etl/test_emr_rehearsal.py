"""Stages as EMR would run them: what is shipped, unpacked and run as a cluster does, gives what a local run gives."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from lake.files.strictyaml import read_mapping
from lake.root import DataRoot
from lake.store import cards
from pipeline import wiring
from pipeline.verbs.submitting import runs_on_cluster
from tests.etl.rehearsal import project as remote
from tests.etl.rehearsal.cloud import cloud
from tests.etl.rehearsal.nodes import Nodes, serving
from tests.etl.rehearsal.tools import SPARK_3, SPARK_4, Release
from tests.pipeline.checkout import PROJECT, Checkout

SIMULATED = {"plan": "paired_small", "stamps": "paired_small", "stamp_manifest": "sim_paired"}
NAMES = {"manifest": "audit_70_15_15", "ingest": "demo1", "completeness": "demo1", **SIMULATED}
"""For which manifest, finder, plan or set a stage is rehearsed that runs once for each."""


def pooled(folder: Path) -> Checkout:
    """A project with the test survey, whose pool was made here."""
    project = Checkout.make(folder)
    for command in (("params", "use", "test"), ("run", "demo"), ("run", "pool")):
        project.dhs(*command)
    return project


@pytest.mark.usefixtures("spark_server")
def test_a_stage_runs_from_the_shipped_archive_and_gives_the_local_fingerprints(tmp_path: Path) -> None:
    project = pooled(tmp_path / "project")
    local = project.cards()
    with cloud() as aws:
        remote.move(project, aws)
        nodes = Nodes(tmp_path / "cluster", aws, SPARK_4, tables=False)
        with serving(nodes), remote.submitting(project, aws):
            made = remote.submit("pool", None, remote.describe(project, aws, SPARK_4))
        assert {name: local[name] for name in remote.cards(project, "pool", None)} == project.cards()
        assert "data/lake/tractor_pool/_witness/whole.json" in made


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("spark_server")
def test_a_killed_executor_changes_nothing(tmp_path: Path) -> None:
    project = pooled(tmp_path / "project")
    local = project.cards()
    with cloud() as aws:
        remote.move(project, aws)
        nodes = Nodes(tmp_path / "cluster", aws, SPARK_4, tables=False)
        with serving(nodes), remote.submitting(project, aws), losing_an_executor(nodes) as killed:
            remote.submit("pool", None, remote.describe(project, aws, SPARK_4))
        assert len(killed) == 1
        assert {name: local[name] for name in remote.cards(project, "pool", None)} == project.cards()


@contextmanager
def losing_an_executor(nodes: Nodes) -> Iterator[list[int]]:
    """Kill the first executor that is seen at work; answers its process."""
    killed: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not killed and not ended.wait(0.05):
            with contextlib.suppress(psutil.NoSuchProcess):
                for executor in nodes.executors()[:1]:
                    executor.kill()
                    killed.append(executor.pid)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="session")
def measured(run_folder: Path, spark_server: str) -> Checkout:
    """A project whose stages ran here: up to the completeness of one finder, and one manifest of simulated stamps."""
    made = Checkout.make(run_folder / "measured")
    made.dhs("params", "use", "test")
    made.run("dvc", "repro", f"completeness@{NAMES['completeness']}", "manifest")
    place = made.folder / "params.yaml"
    values = yaml.safe_load(place.read_text())
    values["plan"]["plans"][SIMULATED["plan"]]["configurations_per_galaxy"] = 2
    place.write_text(yaml.safe_dump(values, sort_keys=False))
    for stage, name in SIMULATED.items():
        made.dhs("run", stage, "--generation", name)
    return made


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("release", [SPARK_3, SPARK_4], ids=lambda release: f"spark-{release.spark}")
def test_every_spark_stage_gives_the_local_fingerprints(
    measured: Checkout, tmp_path: Path, release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    local = measured.cards()
    stages = [stage for stage in in_order() if runs_on_cluster(stage)]
    with cloud() as aws:
        project = measured.twin(tmp_path / "project")
        remote.move(project, aws, made_elsewhere(measured, stages))
        with serving(Nodes(tmp_path / "cluster", aws, release, tables=True)), remote.submitting(project, aws):
            cluster = remote.describe(project, aws, release)
            for stage in stages:
                rehearse(stage, project, cluster, local, capsys)


def in_order() -> list[str]:
    """The stages, each after those it reads from."""
    files = ("dvc.yaml", "params/simulated/dvc.yaml")
    return [stage for file in files for stage in read_mapping(PROJECT / file)["stages"]]


def made_elsewhere(measured: Checkout, stages: list[str]) -> list[str]:
    """Tables that stages without Spark make."""
    root = DataRoot.of(measured.folder / "data")
    made = {card.split(".")[0] for stage in stages for card in wiring.cards(PROJECT, stage, NAMES.get(stage))}
    return sorted(set(cards.tables(root)) - made)


def rehearse(
    stage: str, project: Checkout, cluster: Path, local: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Submit a stage, and compare what it made with what the local run had made."""
    started = time.perf_counter()
    made = remote.submit(stage, NAMES.get(stage), cluster)
    wanted = {name: local[name] for name in remote.cards(project, stage, NAMES.get(stage))}
    assert {name: project.cards()[name] for name in wanted} == wanted
    with capsys.disabled():
        seconds = time.perf_counter() - started
        print(f"\n{stage}: {len(wanted)} cards as here, {len(made)} files brought back, {seconds:.0f} s", end="")
