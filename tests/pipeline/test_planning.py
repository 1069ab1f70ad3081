"""`dhs plan-injections` with what is given; what is measured on a grid is in `tests/analysis/test_planning.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.statistics.planning import needed
from lake.errors import ParameterError
from pipeline.experiment.planning import planned
from tests.pipeline.checkout import project_in


def test_rows_are_the_samples_of_each_number_of_uses(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    rows = planned(project, 4.0, 10.0, 0.3, (), None, "p0.5").to_pylist()
    assert [row["uses_per_host"] for row in rows] == [1, 2, 3, 4, 5], "up to the grid's max_uses_per_host"
    for row in rows:
        sample = needed(0.04, 0.1, 0.3, row["uses_per_host"])
        assert (row["injections_per_cell"], row["hosts_per_cell"]) == (sample.injections, sample.hosts)
        assert row["high"] - row["low"] == pytest.approx(4.0, rel=0.01)
        assert row["injections_of_grid"] == 2 * 1 * 2 * sample.injections, "two radii, one bin of seeing, two of depth"
    (one,) = planned(project, 4.0, 10.0, 0.3, (7,), None, "p0.5").to_pylist()
    assert one["uses_per_host"] == 7
    with pytest.raises(ParameterError, match="'width' must be between 0 and 1"):
        planned(project, 0.0, 10.0, 0.3, (), None, "p0.5")
