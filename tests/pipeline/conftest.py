"""The whole chain on the test survey, run once per test session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.pipeline import smallruns
from tests.pipeline.checkout import Checkout


@pytest.fixture(scope="session")
def finished(run_folder: Path, spark_server: str) -> Checkout:
    """A checkout whose pipeline ran to the end with params/test.yaml. Tests that change it work on a twin."""
    folder, done = run_folder / "finished" / "project", run_folder / "finished.done"
    with FileLock(run_folder / "finished.lock"):  # one process makes it for all
        if not done.exists():
            checkout = Checkout.make(folder)
            checkout.dhs("params", "use", "test")
            checkout.run("dvc", "repro")
            done.touch()
    return Checkout(folder)


@pytest.fixture
def twin(finished: Checkout, tmp_path: Path) -> Callable[[], Checkout]:
    """Makes a copy of the finished checkout, to be changed."""
    return lambda: finished.twin(tmp_path / "twin")


@pytest.fixture(scope="session")
def small_runs(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The folder of a project with the runs of two finders; tests copy it."""
    return once("smallruns", smallruns.project_with_runs)
