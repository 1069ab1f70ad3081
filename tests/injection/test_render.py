"""Rendered light against the reference images and in its analytic limits."""

from __future__ import annotations

import numpy as np
import pytest

from injection.engine import render, tracing
from injection.scene.sources import b_n, components, radius_of_fraction, total_flux
from lake.sky.survey import PIXEL_SCALE_ARCSEC
from tests.injection.scenes import FINE, IMAGES, REFERENCE, drawn, light, reference_psf, reference_rows, rows

EXTENDED = REFERENCE["extended"]


@pytest.mark.parametrize("name", EXTENDED)
def test_lensed_flux_and_image_agree_with_the_reference(name: str) -> None:
    table = reference_rows(EXTENDED[name])
    flat, _ = tracing.trace(table, 101, render.STANDARD, PIXEL_SCALE_ARCSEC)
    image = flat[0, :-1].reshape(101, 101)
    np.testing.assert_allclose(image.sum(dtype=float), EXTENDED[name]["truth_flux_in_frame"], rtol=1e-3)
    np.testing.assert_allclose(flat.sum(dtype=float), EXTENDED[name]["truth_total_magnification_wide_401px"], rtol=1e-3)
    np.testing.assert_allclose(image, IMAGES[name], atol=3e-3 * IMAGES[name].max())


@pytest.mark.parametrize("name", EXTENDED)
def test_convolved_image_agrees_with_the_reference(name: str) -> None:
    arcs = render.render_arcs(reference_rows(EXTENDED[name]), reference_psf(1), 101)
    truth = IMAGES[f"{name}_psf"]
    np.testing.assert_allclose(arcs.images[0, 1].max(), truth.max(), rtol=1e-3)
    np.testing.assert_allclose(arcs.images[0, 1], truth, atol=1e-3 * truth.max())


def test_without_a_lens_the_flux_is_the_unlensed_one() -> None:
    table = rows(
        {"lens_theta_e_arcsec": 0.0}, {"lens_theta_e_arcsec": 1e-6}, {"lens_theta_e_arcsec": 0.0, "src_n": 0.5}
    )
    flux = tracing.trace(table, 101, render.STANDARD, PIXEL_SCALE_ARCSEC)[0].sum(axis=1, dtype=float)
    np.testing.assert_allclose(flux, 1.0, rtol=1e-3)


def test_index_one_half_is_a_gaussian() -> None:
    from scipy.special import erf

    table = rows(
        {"lens_theta_e_arcsec": 0.0, "src_n": 0.5, "src_re_arcsec": 0.3, "src_x_arcsec": 0.0, "src_y_arcsec": 0}
    )
    edges = (np.arange(102) - 50.5) * PIXEL_SCALE_ARCSEC
    sigma = 0.3 / np.sqrt(2 * np.log(2))
    profile = np.diff(0.5 * erf(edges / (np.sqrt(2) * sigma)))
    truth = profile[:, None] * profile[None, :]
    np.testing.assert_allclose(light(table)[0], truth, atol=2e-3 * truth.max())


def test_pure_shear_magnifies_flux() -> None:
    table = rows({"lens_theta_e_arcsec": 0.0, "lens_gamma1": 0.05})
    flux = tracing.trace(table, 101, render.STANDARD, PIXEL_SCALE_ARCSEC)[0].sum(dtype=float)
    np.testing.assert_allclose(flux, REFERENCE["analytic"]["pure_shear_g005"]["mu"], rtol=1e-3)


@pytest.mark.parametrize("q", [0.99, 0.9999, 0.999999])
def test_image_is_continuous_towards_a_round_lens(q: float) -> None:
    near, exact = light(rows({"lens_q": q}, {"lens_q": 1.0}), FINE)
    np.testing.assert_allclose(near, exact, atol=3.0 * (1 - q) * exact.max() + 2e-5)


def test_no_unconvolved_pixel_exceeds_the_source_peak() -> None:
    table = drawn("v1_wide", 100, seed=9)
    parts = components(table)
    peak = parts.central_brightness().sum(axis=1) * PIXEL_SCALE_ARCSEC**2
    assert (light(table).max(axis=(1, 2)) <= peak * (1 + 1e-4)).all()


def test_b_n_is_exact_and_the_total_flux_analytic() -> None:
    for n, expected in REFERENCE["analytic"]["b_n"].items():
        np.testing.assert_allclose(b_n(float(n)), expected, rtol=1e-12)
    radius = np.linspace(0, 400, 4_000_001)
    b = b_n(2.0)
    numeric = np.trapezoid(2 * np.pi * radius * np.exp(-b * ((radius / 1.5) ** 0.5 - 1)), radius)
    np.testing.assert_allclose(total_flux(2.0, 1.0, 1.5), numeric, rtol=1e-6)
    np.testing.assert_allclose(
        radius_of_fraction(1.0, REFERENCE["analytic"]["light_fraction_within"]["n=1 R<3Re"]), 3.0
    )
