"""Impossible parameters, PSFs and stamps: refused by name, alone in their batch."""

from __future__ import annotations

import numpy as np
import pytest

from injection.engine import render
from injection.optics.psf import Psf
from injection.scene.ranges import RANGES, refuse
from lake.errors import ParameterError
from lake.sky.survey import SURVEY
from tests.injection.scenes import rows


def test_impossible_rows_fail_by_name_and_alone() -> None:
    table = rows({"lens_q": 1.3}, {}, {"src_re_arcsec": float("nan")}, {"lens_gamma1": 0.8, "lens_gamma2": 0.8})
    psf = Psf.gaussian(np.array([[1.0] * 3] * 4), includes_pixel=False, imaging=SURVEY)
    result = render.render_arcs(table, psf, 101)
    reasons = result.reasons
    assert reasons[1] is None
    assert reasons[0] == "'lens_q' must be a finite number in (0, 1], got 1.3"
    assert reasons[2] is not None
    assert reasons[2].startswith("'src_re_arcsec'")
    assert reasons[3] is not None
    assert "shear" in reasons[3]
    assert not result.images[[0, 2, 3]].any()
    assert np.isfinite(result.images[1]).all()
    assert result.images[1].max() > 0
    alone = render.render_arcs(table.slice(1, 1), psf.take([1]), 101)
    np.testing.assert_array_equal(alone.images[0], result.images[1])


OUTSIDE = [
    (name, value)
    for name, (low, high) in RANGES.items()
    for value in (float("nan"), float("inf"), -float("inf"), low - 1.0, high + 1.0)
    if name != "src_clumps" or np.isfinite(value)
]


@pytest.mark.parametrize(("name", "value"), OUTSIDE)
def test_every_parameter_is_refused_by_name_and_range(name: str, value: float) -> None:
    table = rows({name: int(value) if name == "src_clumps" else value}, {})
    reasons = render.render_arcs(table, Psf.gaussian(np.ones((2, 3)), includes_pixel=True, imaging=SURVEY), 11).reasons
    allowed = str(refuse(name, value)).partition(", got ")[0]
    assert str(reasons[0]).startswith(f"{allowed}, got ")
    assert allowed.startswith(f"'{name}' must be a finite number in ")
    assert reasons[1] is None


def test_a_bad_psf_fails_its_row_only() -> None:
    psf = Psf.gaussian(np.array([[1.0, np.nan, 1.0], [1.0, 1.0, 1.0]]), includes_pixel=False, imaging=SURVEY)
    arcs = render.render_arcs(rows({}, {}), psf, 101)
    assert arcs.reasons[1] is None
    assert "psf fwhm_arcsec" in str(arcs.reasons[0])


def test_stamps_too_small_are_refused() -> None:
    psf = Psf.gaussian(np.ones((1, 3)), includes_pixel=False, imaging=SURVEY)
    with pytest.raises(ParameterError, match="'stamp_pixels' must be at least 3"):
        render.render_arcs(rows({}), psf, 2)
