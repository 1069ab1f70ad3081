"""Rendered light against the reference images, a converged integrator, lenstronomy, limits and symmetries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from numpy.typing import NDArray

from injection import conventions, render
from injection.config import Quadrature
from injection.lens import Lens
from injection.psf import Psf
from injection.ranges import RANGES, allowed
from injection.sources import b_n, components, radius_of_fraction, total_flux
from lake.errors import ParameterError
from lake.survey import PIXEL_SCALE_ARCSEC
from tests.injection.scenes import IMAGES, REFERENCE, converged, drawn, reference_rows, rows

EXTENDED = REFERENCE["extended"]
FINE = Quadrature(levels=10, one_ray_below=0.1, four_rays_below=0.3, negligible_flux=1e-7, tail_fraction=1e-6)


def light(table: pa.Table, quadrature: Quadrature = render.STANDARD, pixels: int = 101) -> NDArray[np.float32]:
    images, _ = render.trace(table, pixels, quadrature)
    return images[:, :-1].reshape(-1, pixels, pixels)


def reference_psf(count: int) -> Psf:
    kernel = np.broadcast_to(IMAGES["psf_fwhm1p2"], (count, 3, 51, 51))
    return Psf.from_image(kernel, PIXEL_SCALE_ARCSEC, includes_pixel=False)


@pytest.mark.parametrize("name", EXTENDED)
def test_lensed_flux_and_image_agree_with_the_reference(name: str) -> None:
    table = reference_rows(EXTENDED[name])
    flat, _ = render.trace(table, 101, render.STANDARD)
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


def test_flux_and_peak_over_the_widest_prior_agree_with_a_converged_integration() -> None:
    table = drawn("v1_wide", 12, seed=11)
    parts, lens, ours = components(table), Lens.from_rows(table), light(table)
    for row in range(12):
        truth = converged(lens.row(row), parts, row)
        np.testing.assert_allclose(ours[row].sum(dtype=float), truth.sum(), rtol=2e-3)
        psf = reference_psf(1)
        ours_seen, truth_seen = (
            render.convolve(image[None].astype(np.float32), psf, np.ones((1, 3))).max() for image in (ours[row], truth)
        )
        np.testing.assert_allclose(ours_seen, truth_seen, rtol=3e-3)


def test_error_over_the_widest_prior_is_within_the_stated_bounds() -> None:
    table = drawn("v1_wide", 100, seed=3)
    truth = light(table, FINE).sum(axis=(1, 2), dtype=float)
    error = np.abs(light(table).sum(axis=(1, 2), dtype=float) / truth - 1.0)
    assert np.percentile(error, 95) <= 1e-3
    assert error.max() <= 1e-2


def test_images_agree_with_lenstronomy_live_on_fifty_draws() -> None:
    """At lenstronomy's own 8 x 8 supersampling, whose error is a few per cent of the peak for the smallest sources."""
    table = drawn("v1_wide", 50, seed=5)
    parts, lens, ours = components(table), Lens.from_rows(table), light(table)
    grid = _lenstronomy_grid()
    errors = []
    for row in range(50):
        kwargs = conventions.lenstronomy_source(parts, row)
        model = ImageModel(
            grid, _no_psf(), LensModel(["SIE", "SHEAR"]), LightModel(["SERSIC_ELLIPSE"] * len(kwargs)),
            kwargs_numerics={"supersampling_factor": 8, "supersampling_convolution": False},
        )  # fmt: skip
        theirs = model.image(conventions.lenstronomy_lens(lens.row(row)), kwargs)
        errors.append(ours[row].sum(dtype=float) / theirs.sum() - 1.0)
    assert np.median(np.abs(errors)) < 5e-3
    assert np.percentile(np.abs(errors), 80) < 3e-2


def _lenstronomy_grid() -> Any:
    from lenstronomy.Data.pixel_grid import PixelGrid

    corner = -50 * PIXEL_SCALE_ARCSEC
    return PixelGrid(101, 101, np.eye(2) * PIXEL_SCALE_ARCSEC, corner, corner)


def _no_psf() -> Any:
    from lenstronomy.Data.psf import PSF

    return PSF(psf_type="NONE")


def test_without_a_lens_the_flux_is_the_unlensed_one() -> None:
    table = rows(
        {"lens_theta_e_arcsec": 0.0}, {"lens_theta_e_arcsec": 1e-6}, {"lens_theta_e_arcsec": 0.0, "src_n": 0.5}
    )
    flux = render.trace(table, 101, render.STANDARD)[0].sum(axis=1, dtype=float)
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
    flux = render.trace(table, 101, render.STANDARD)[0].sum(dtype=float)
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


CORNERS = [
    {"src_x_arcsec": 0.0, "src_y_arcsec": 0.0},
    {"src_x_arcsec": 0.0, "src_y_arcsec": 0.0, "lens_q": 1.0, "src_re_arcsec": 0.02},
    {"src_n": 6.0, "src_re_arcsec": 0.1},
    {"src_n": 0.5, "src_re_arcsec": 0.02},
    {"src_n": 6.0, "src_re_arcsec": 0.02},
    {"src_x_arcsec": 12.9, "src_y_arcsec": 0.4, "src_re_arcsec": 0.3},
    {"lens_theta_e_arcsec": 0.01},
    {"lens_x_arcsec": 0.131, "lens_y_arcsec": 0.131, "src_x_arcsec": 0.131, "src_y_arcsec": 1.3},
    {"lens_q": 0.3, "lens_gamma1": 0.1, "src_q": 0.3, "src_pa_rad": 1.0},
]


@pytest.mark.parametrize("corner", CORNERS, ids=[str(index) for index in range(len(CORNERS))])
def test_corners_agree_with_a_converged_integration(corner: dict[str, float]) -> None:
    table = rows(corner)
    truth = converged(Lens.from_rows(table).row(0), components(table), 0)
    np.testing.assert_allclose(light(table)[0].sum(dtype=float), truth.sum(), rtol=2e-3, atol=2e-4)


def test_source_on_a_caustic_agrees_with_a_converged_integration() -> None:
    from injection.images import caustic

    table = rows({})
    x, y = caustic(Lens.from_rows(table).row(0), 400)
    table = rows(*({"src_x_arcsec": x[k], "src_y_arcsec": y[k], "src_re_arcsec": 0.05} for k in (0, 50)))
    for row in range(2):
        truth = converged(Lens.from_rows(table).row(row), components(table), row)
        np.testing.assert_allclose(light(table)[row].sum(dtype=float), truth.sum(), rtol=2e-3)


@settings(max_examples=10)
@given(dx=st.integers(-8, 8), dy=st.integers(-8, 8))
def test_a_shift_by_whole_pixels_shifts_the_image(dx: int, dy: int) -> None:
    sx, sy = dx * PIXEL_SCALE_ARCSEC, dy * PIXEL_SCALE_ARCSEC
    moved = {"lens_x_arcsec": sx, "lens_y_arcsec": sy, "src_x_arcsec": 0.2 + sx, "src_y_arcsec": 0.1 + sy}
    there, here = light(rows(moved, {}), FINE)
    np.testing.assert_allclose(np.roll(here, (dy, dx), axis=(0, 1)), there, atol=3e-5 * here.max())


def test_turning_everything_by_a_right_angle_turns_the_image() -> None:
    start = {"lens_gamma1": 0.05, "lens_gamma2": 0.02, "src_q": 0.5, "src_pa_rad": 0.4}
    turned = {
        "lens_pa_rad": 0.3 + np.pi / 2, "lens_gamma1": -0.05, "lens_gamma2": -0.02, "src_q": 0.5,
        "src_pa_rad": 0.4 + np.pi / 2, "src_x_arcsec": -0.1, "src_y_arcsec": 0.2,
    }  # fmt: skip
    before, after = light(rows(start, turned), FINE)
    np.testing.assert_allclose(after, before.T[:, ::-1], atol=3e-5 * before.max())


def test_mirroring_everything_mirrors_the_image() -> None:
    start = {"lens_gamma1": 0.05, "lens_gamma2": 0.02, "src_q": 0.5, "src_pa_rad": 0.4}
    mirrored = {
        "lens_pa_rad": -0.3, "lens_gamma1": 0.05, "lens_gamma2": -0.02, "src_q": 0.5, "src_pa_rad": -0.4,
        "src_y_arcsec": -0.1,
    }  # fmt: skip
    before, after = light(rows(start, mirrored), FINE)
    np.testing.assert_allclose(after, before[::-1], atol=3e-5 * before.max())


@settings(max_examples=15)
@given(mag=st.floats(18, 26))
def test_arcs_are_linear_in_flux(mag: float) -> None:
    psf = Psf.moffat(np.full((2, 3), 1.2), 3.5, includes_pixel=True)
    arcs = render.render_arcs(rows({"src_mag_r": mag}, {"src_mag_r": 22.5}), psf, 101)
    factor = 10 ** (-0.4 * (mag - 22.5))
    np.testing.assert_allclose(arcs.images[0], factor * arcs.images[1], rtol=1e-4, atol=1e-7 * factor)


def test_a_row_does_not_depend_on_its_batch() -> None:
    table = drawn("v1_wide", 70)
    fwhm = np.random.default_rng(0).uniform(0.8, 3.0, (70, 3))
    whole = render.render_arcs(table, Psf.moffat(fwhm, 3.5, includes_pixel=True), 101, threads=2)
    for row in (0, 31, 32, 69):
        alone = render.render_arcs(table.slice(row, 1), Psf.moffat(fwhm[row : row + 1], 3.5, includes_pixel=True), 101)
        np.testing.assert_array_equal(alone.images[0], whole.images[row])
        np.testing.assert_array_equal(alone.magnification[0], whole.magnification[row])


def test_clumps_conserve_the_source_flux() -> None:
    table = drawn("v1", 40)
    np.testing.assert_allclose(components(table).fraction.sum(axis=1), 1.0, rtol=1e-12)
    unlensed = table.set_column(1, "lens_theta_e_arcsec", pa.array(np.zeros(40)))
    for name in ("lens_gamma1", "lens_gamma2"):
        unlensed = unlensed.set_column(unlensed.column_names.index(name), name, pa.array(np.zeros(40)))
    flux = render.trace(unlensed, 101, render.STANDARD)[0].sum(axis=1, dtype=float)
    np.testing.assert_allclose(flux, 1.0, rtol=3e-3)


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


def test_impossible_rows_fail_by_name_and_alone() -> None:
    table = rows({"lens_q": 1.3}, {}, {"src_re_arcsec": float("nan")}, {"lens_gamma1": 0.8, "lens_gamma2": 0.8})
    psf = Psf.gaussian(np.array([[1.0] * 3] * 4), includes_pixel=False)
    hosts = np.zeros((4, 3, 101, 101), np.float32)
    result = render.render(table, hosts, psf)
    reasons = result.arcs.reasons
    assert reasons[1] is None
    assert reasons[0] == "'lens_q' must be a finite number in [0.05, 1], got 1.3"
    assert reasons[2] is not None
    assert reasons[2].startswith("'src_re_arcsec'")
    assert reasons[3] is not None
    assert "shear" in reasons[3]
    assert np.isnan(result.images[[0, 2, 3]]).all()
    assert np.isfinite(result.images[1]).all()
    alone = render.render(table.slice(1, 1), hosts[:1], psf.take([1]))
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
    reasons = render.render_arcs(table, Psf.gaussian(np.ones((2, 3)), includes_pixel=True), 11).reasons
    assert str(reasons[0]).startswith(f"'{name}' must be {allowed(name)}, got ")
    assert reasons[1] is None


def test_hosts_without_a_band_fail_and_masked_pixels_stay_masked() -> None:
    hosts = np.zeros((2, 3, 101, 101), np.float32)
    hosts[0, 2] = np.nan
    hosts[1, 0, 5, 7] = np.nan
    result = render.render(rows({}, {}), hosts, Psf.gaussian(np.ones((2, 3)), includes_pixel=True))
    assert result.arcs.reasons == ["the host has no z band", None]
    assert np.isnan(result.images[0]).all()
    assert np.argwhere(np.isnan(result.images[1])).tolist() == [[0, 5, 7]]


def test_a_bad_psf_fails_its_row_only() -> None:
    psf = Psf.gaussian(np.array([[1.0, np.nan, 1.0], [1.0, 1.0, 1.0]]), includes_pixel=False)
    arcs = render.render_arcs(rows({}, {}), psf, 101)
    assert arcs.reasons[1] is None
    assert "psf fwhm_arcsec" in str(arcs.reasons[0])


def test_wrong_shapes_and_scales_are_refused() -> None:
    psf = Psf.gaussian(np.ones((1, 3)), includes_pixel=False)
    with pytest.raises(ParameterError, match="'hosts' must be"):
        render.render(rows({}), np.zeros((1, 2, 101, 101), np.float32), psf)
    with pytest.raises(ParameterError, match="'stamp_pixels' must be odd"):
        render.render_arcs(rows({}), psf, 100)
    with pytest.raises(ParameterError, match="'pixel_scale_arcsec' must be within 1 %"):
        render.check_pixel_scale(0.27)
    render.check_pixel_scale(0.263)


@pytest.mark.slow
def test_a_thousand_draws_are_within_the_accuracy_target() -> None:
    """Flux: p95 <= 0.1 %, max <= 1 %; convolved peak: p95 <= 0.1 %; against the engine run to convergence."""
    errors: list[tuple[float, float]] = []
    for start in range(0, 1000, 25):
        table = drawn("v1_wide", 1000, seed=17).slice(start, 25)
        psf = Psf.moffat(np.full((25, 3), 1.2), 3.5, includes_pixel=False)
        ours, truth = light(table), light(table, FINE)
        flux = np.abs(ours.sum(axis=(1, 2), dtype=float) / truth.sum(axis=(1, 2), dtype=float) - 1.0)
        seen = [render.convolve(images, psf, np.ones((25, 3)))[:, 1].max(axis=(1, 2)) for images in (ours, truth)]
        errors.extend(zip(flux, np.abs(seen[0] / seen[1] - 1.0), strict=True))
    flux, peak = np.array(errors).T
    assert np.percentile(flux, 95) <= 1e-3
    assert flux.max() <= 1e-2
    assert np.percentile(peak, 95) <= 1e-3


@pytest.mark.slow
def test_two_hundred_draws_agree_with_an_independent_integrator() -> None:
    table = drawn("v1_wide", 200, seed=23)
    parts, lens, ours = components(table), Lens.from_rows(table), light(table)
    truth = np.array([converged(lens.row(row), parts, row).sum() for row in range(200)])
    error = np.abs(ours.sum(axis=(1, 2), dtype=float) / truth - 1.0)
    assert np.percentile(error, 95) <= 1e-3
    assert error.max() <= 1e-2
