"""The checks of exactness themselves: they pass what is exact and catch what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from analysis.comparisons.validation import FLUX_ERROR_MAX, FLUX_ERROR_P95_MAX
from injection.config import Quadrature, RealSources, StampCleaning
from injection.engine import render, tracing
from injection.engine.accuracy import CONVERGED, flux_errors, lenstronomy_differences
from injection.galaxies.banks import SourceBank, load_bank
from injection.galaxies.realsources import BankSources
from injection.priors.registry import draw, load_prior
from lake.sky.survey import PIXEL_SCALE_ARCSEC as SCALE
from lake.sky.survey import SURVEY
from tests.injection.scenes import COSMOS, converged, drawn, gaussian_bank, ids, rows

COARSE = Quadrature(
    levels=0,
    one_ray_below=100.0,
    four_rays_below=200.0,
    image_one_ray_below_px=20.0,
    image_four_rays_below_px=40.0,
    negligible_flux=0.9,
    tail_fraction=1e-3,
)


def test_the_standard_quadrature_is_exact_and_one_ray_per_pixel_is_not() -> None:
    table = drawn("v1_wide", 12, seed=4)
    assert np.abs(flux_errors(table, 101, render.STANDARD, SCALE, tracing.PARAMETRIC)).max() < 1e-3
    assert np.abs(flux_errors(table, 101, COARSE, SCALE, tracing.PARAMETRIC)).max() > 1e-2


def test_the_error_is_that_of_an_independent_integration() -> None:
    from injection.scene.lens import Lens
    from injection.scene.sources import components

    table = drawn("v1_wide", 3, seed=8)
    truth = [converged(Lens.from_rows(table).row(k), components(table), k).sum() for k in range(3)]
    ours = tracing.trace(table, 101, COARSE, SCALE)[0][:, :-1].sum(axis=1, dtype=float)
    found = flux_errors(table, 101, COARSE, SCALE, tracing.PARAMETRIC)
    np.testing.assert_allclose(found, ours / truth - 1.0, atol=5e-4)


def test_real_galaxies_are_checked_too() -> None:
    table = rows({"src_model": "real", "src_stamp_id": "one", "src_n": None, "src_q": None})
    assert abs(flux_errors(table, 101, render.STANDARD, SCALE, BankSources(gaussian_bank()))[0]) < 1e-3


def unlensed(count: int, bank: SourceBank) -> pa.Table:
    """Rows of real galaxies behind a lens without mass, well inside the stamp."""
    nothing = {"lens_theta_e_arcsec": 0.0, "lens_gamma1": 0.0, "lens_gamma2": 0.0}
    table = BankSources(bank, catalogue_colours=False).draw(
        draw(load_prior("v1"), ids(count), 2, SURVEY), load_prior("v1"), 2
    )
    for name, value in nothing.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(np.full(count, value)))
    return table


def noisy_bank(size: int = 61) -> SourceBank:
    """A galaxy whose every pixel differs from the next, as noise of a real stamp does; its edge is empty."""
    y, x = np.mgrid[:size, :size] - size // 2
    image = np.exp(-np.hypot(x, y) / 6.0) * np.random.default_rng(1).exponential(size=(size, size))
    image[[0, -1]] = image[:, [0, -1]] = 0.0
    middle, unknown = np.full((1, 2), size // 2, float), np.full((1, 2), np.nan)
    return SourceBank(("one",), ((image / image.sum()).astype(np.float32),), middle, np.array([9.0]), unknown)


def test_the_reference_for_real_galaxies_is_the_exact_flux() -> None:
    """Bilinear light integrates to the sum of its pixels, one, without any quadrature."""
    bank = noisy_bank()
    sources, table = BankSources(bank), unlensed(6, bank)
    reference = sources.trace(table, 101, CONVERGED, SCALE)[0].sum(axis=1, dtype=float)
    np.testing.assert_allclose(reference, 1.0, atol=5e-4)
    standard = np.abs(sources.trace(table, 101, render.STANDARD, SCALE)[0].sum(axis=1, dtype=float) - 1.0)
    assert standard.max() < 5e-3
    np.testing.assert_allclose(np.abs(flux_errors(table, 101, render.STANDARD, SCALE, sources)), standard, atol=5e-4)


def test_coarse_rays_of_real_galaxies_are_caught() -> None:
    """A reference that shares the limits of rays sees nothing of this."""
    bank = noisy_bank()
    coarse = render.STANDARD.model_copy(update={"image_one_ray_below_px": 3.0, "image_four_rays_below_px": 6.0})
    assert np.abs(flux_errors(unlensed(6, bank), 101, coarse, SCALE, BankSources(bank))).max() > 1e-2


@pytest.mark.usefixtures("whole_stage")
def test_real_galaxies_pass_the_gate_of_validation(real_data: Path) -> None:
    """Over 120 draws of v1_wide the lensed flux is off by 4.7e-4 at 95 % and 1.9e-3 at most."""
    cleaning = StampCleaning(min_snr=20.0, psf_correction=None)
    bank = load_bank(
        RealSources(path=str(real_data / COSMOS), catalogue_colours=False, max_pixel_arcsec=None, cleaning=cleaning)
    )
    sources = BankSources(bank, catalogue_colours=False)
    exact = sources.trace(unlensed(8, bank), 101, CONVERGED, SCALE)[0].sum(axis=1, dtype=float)
    np.testing.assert_allclose(exact, 1.0, atol=3e-4)
    table = sources.draw(drawn("v1_wide", 12), load_prior("v1_wide"), 7)
    errors = np.abs(flux_errors(table, 101, render.STANDARD, SCALE, sources))
    assert np.percentile(errors, 95) < FLUX_ERROR_P95_MAX
    assert errors.max() < FLUX_ERROR_MAX


def test_lenstronomy_agrees_and_sees_a_coarse_integration() -> None:
    table = rows({"src_re_arcsec": 0.3}, {"src_re_arcsec": 0.25, "src_n": 2.0, "lens_q": 0.6})
    assert np.abs(lenstronomy_differences(table, 61, render.STANDARD, SCALE)).max() < 5e-3
    small = rows({"src_re_arcsec": 0.05, "src_x_arcsec": 0.35})
    assert np.abs(lenstronomy_differences(small, 61, COARSE, SCALE)).max() > 2e-2
