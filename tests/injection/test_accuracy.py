"""The checks of exactness themselves: they pass what is exact and catch what is not."""

from __future__ import annotations

import numpy as np

from injection import render
from injection.accuracy import flux_errors, lenstronomy_differences
from injection.config import Quadrature
from injection.realsources import BankSources
from tests.injection.scenes import converged, drawn, gaussian_bank, rows

COARSE = Quadrature(levels=0, one_ray_below=100.0, four_rays_below=200.0, negligible_flux=0.9, tail_fraction=1e-3)


def test_the_standard_quadrature_is_exact_and_one_ray_per_pixel_is_not() -> None:
    table = drawn("v1_wide", 12, seed=4)
    assert np.abs(flux_errors(table, 101, render.STANDARD, render.PARAMETRIC)).max() < 1e-3
    assert np.abs(flux_errors(table, 101, COARSE, render.PARAMETRIC)).max() > 1e-2


def test_the_error_is_that_of_an_independent_integration() -> None:
    from injection.lens import Lens
    from injection.sources import components

    table = drawn("v1_wide", 3, seed=8)
    truth = [converged(Lens.from_rows(table).row(k), components(table), k).sum() for k in range(3)]
    ours = render.trace(table, 101, COARSE)[0][:, :-1].sum(axis=1, dtype=float)
    found = flux_errors(table, 101, COARSE, render.PARAMETRIC)
    np.testing.assert_allclose(found, ours / truth - 1.0, atol=5e-4)


def test_real_galaxies_are_checked_too() -> None:
    table = rows({"src_model": "real", "src_stamp_id": "one", "src_n": None, "src_q": None})
    assert abs(flux_errors(table, 101, render.STANDARD, BankSources(gaussian_bank()))[0]) < 1e-3


def test_lenstronomy_agrees_and_sees_a_coarse_integration() -> None:
    table = rows({"src_re_arcsec": 0.3}, {"src_re_arcsec": 0.25, "src_n": 2.0, "lens_q": 0.6})
    assert np.abs(lenstronomy_differences(table, 61, render.STANDARD)).max() < 5e-3
    small = rows({"src_re_arcsec": 0.05, "src_x_arcsec": 0.35})
    assert np.abs(lenstronomy_differences(small, 61, COARSE)).max() > 2e-2
