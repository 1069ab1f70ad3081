"""The whole chain on the test survey, run once per test session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.checkout import Checkout


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, spark_server: str) -> Checkout:
    """A checkout whose pipeline ran to the end with params/test.yaml. Tests that change it work on a twin."""
    checkout = Checkout.make(tmp_path_factory.mktemp("finished") / "project")
    checkout.dhs("params", "use", "test")
    checkout.run("dvc", "repro")
    return checkout


@pytest.fixture
def twin(finished: Checkout, tmp_path: Path) -> Callable[[], Checkout]:
    """Makes a copy of the finished checkout, to be changed."""
    return lambda: finished.twin(tmp_path / "twin")
