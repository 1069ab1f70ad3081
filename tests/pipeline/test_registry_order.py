"""Decisions of the registry in time: after each other, at once, and for every command on a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from lake.errors import LakeError, ParameterError
from lake.store import status
from pipeline.experiment.emulating import completeness_at, emulator_compared
from pipeline.experiment.planning import planned
from pipeline.experiment.populations import expected
from pipeline.experiment.reweighting import Asked, completeness_under
from pipeline.finders.importing import export_cells
from pipeline.project.project import Project
from pipeline.tables import registry
from pipeline.verbs.closing import closure
from tests.pipeline import smallruns
from tests.pipeline.smallruns import COUNTS, generations_in, statuses


@pytest.fixture
def project(small_runs: Path, tmp_path: Path) -> Project:
    return smallruns.copied(small_runs, tmp_path)


@pytest.mark.usefixtures("whole_stage")
def test_a_restored_run_is_invalid_again_if_what_it_was_made_from_is_invalidated_later(project: Project) -> None:
    registry.change(project, "train-demo2", "invalidated", "wrong seed")
    registry.change(project, "grid-demo2", "restored", "the seed does not matter there")
    assert generations_in(project, COUNTS) == ["demo1", "demo2"]
    later = datetime.now(UTC) + timedelta(seconds=5)
    with freeze(later):
        registry.change(project, "train-demo1", "invalidated", "trained on test galaxies")
        assert generations_in(project, COUNTS) == []
        assert statuses(project)["grid-demo2"] == "invalidated"
        registry.change(project, "grid-demo2", "restored", "checked by hand")
        assert generations_in(project, COUNTS) == ["demo2"]


@contextmanager
def freeze(moment: datetime) -> Iterator[None]:
    """Decisions are dated so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(status, "datetime", Mock(wraps=datetime, now=Mock(return_value=moment)))
        yield


def test_decisions_stay_in_order_where_a_clock_was_set_back(project: Project) -> None:
    registry.change(project, "grid-demo1", "invalidated", "x")
    with freeze(datetime(2001, 1, 1, tzinfo=UTC)):
        registry.change(project, "grid-demo1", "restored", "y")
    dates = [one.date for one in status.records(project.data)["grid-demo1"].decisions]
    assert dates[0] == dates[1] > "2002"


def test_of_decisions_made_at_once_one_is_refused(project: Project) -> None:
    wrong: list[str] = []

    def decide(number: int) -> None:
        try:
            registry.change(project, "grid-demo1", "invalidated", f"reason {number}")
        except ParameterError as error:
            wrong.append(str(error))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decide, range(4)))
    assert len(wrong) == 3
    assert len(status.records(project.data)["grid-demo1"].decisions) == 1


def test_every_command_on_a_grid_refuses_one_that_does_not_count(project: Project, tmp_path: Path) -> None:
    registry.change(project, "evaluate-demo1", "invalidated", "wrong split")
    readers: list[Callable[[], Any]] = [
        lambda: completeness_under(project, Asked(generation="demo1")),
        lambda: completeness_at(project, [{"theta_e": 1.0}], "demo1", None),
        lambda: emulator_compared(project, "demo1", None),
        lambda: expected(project, "collett2015", "demo1", None, None, 0.5),
        lambda: closure(project, "demo1"),
        lambda: planned(project, 10.0, None, None, (), "demo1", "p0.5"),
        lambda: export_cells(project, "demo1", tmp_path / "cells.csv"),
    ]
    for reader in readers:
        with pytest.raises(LakeError, match="of demo1 does not count: evaluate-demo1 is invalidated: wrong split"):
            reader()
