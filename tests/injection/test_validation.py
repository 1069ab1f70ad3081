"""The summary that says whether injections can be believed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from injection.experiment import validation
from lake.errors import DataError
from lake.sky.survey import SURVEY
from tests.injection.scenes import planned, run


def test_summary_of_a_grid() -> None:
    out = run(planned())
    status = ["failed"] * 3 + out.column("status").to_pylist()[3:]
    out = out.set_column(out.column_names.index("status"), "status", pa.array(status))
    found = validation.validate(out, (0.3, 0.999))
    assert found.failed == 3
    assert found.injections == out.num_rows - 3
    probability = 1 / (1 + np.exp(-out.column("score").to_numpy()[3:]))
    assert found.detected[0.3] == pytest.approx((probability > 0.3).mean())
    assert found.score_percentiles[50] == pytest.approx(np.percentile(probability, 50))
    assert 0.5 < found.noise_ratio_percentiles[50] < 10.0
    assert set(found.host_false_positives) == {0.3, 0.999}


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    """As everywhere: a finder that gives one value to everything finds nothing at that value."""
    out = run(planned())
    for name in ("score", "host_score"):
        out = out.set_column(out.column_names.index(name), name, pa.array(np.zeros(out.num_rows)))
    found = validation.validate(out, (0.5, 0.4999))
    assert found.detected == found.host_false_positives == {0.5: 0.0, 0.4999: 1.0}


def test_colours_and_differences() -> None:
    out = run(planned())
    colour = validation.arc_colour(out, SURVEY)
    np.testing.assert_allclose(colour, out.column("src_g_minus_r").to_numpy(), atol=0.02)
    assert validation.difference(colour, colour)[1] == pytest.approx(1.0)
    assert validation.difference(colour, colour + 5.0)[0] == 1.0
    with pytest.raises(DataError, match="no finite values"):
        validation.difference(colour, np.array([np.nan]))


def test_nothing_scored_is_an_error() -> None:
    out = run(planned())
    none = out.set_column(out.column_names.index("status"), "status", pa.array(["failed"] * out.num_rows))
    with pytest.raises(DataError, match="no scored injections"):
        validation.validate(none, (0.3,))
