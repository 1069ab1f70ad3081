"""Lenses that follow their hosts, core suppression, hosts of other surveys, Sobol drawing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from injection import conditioning, hosts, render
from injection.priors import draw, load_prior
from injection.psf import Psf
from lake.errors import ParameterError
from lake.survey import PIXEL_SCALE_ARCSEC
from tests.injection.scenes import drawn, ids, rows
from tests.injection.test_grid import hosts_table, params, run


def gaussian_host(q: float, angle: float, sigma_arcsec: float = 0.9) -> np.ndarray:
    y, x = np.mgrid[-50:51, -50:51] * PIXEL_SCALE_ARCSEC
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    image = np.exp(-0.5 * (q * u**2 + v**2 / q) / sigma_arcsec**2)
    return np.repeat(image[None], 3, axis=0).astype(np.float32)


@pytest.mark.parametrize(("q", "angle"), [(0.6, 0.4), (0.8, -1.2), (0.95, 1.5)])
def test_shapes_of_hosts_are_recovered(q: float, angle: float) -> None:
    q_found, angle_found = conditioning.host_shapes(gaussian_host(q, angle)[None])
    np.testing.assert_allclose(q_found, q, atol=0.01)
    np.testing.assert_allclose(np.sin(2 * angle_found), np.sin(2 * angle), atol=0.02)


def test_lenses_of_im2_follow_their_hosts() -> None:
    table, prior = drawn("v1", 300), load_prior("v1")
    stamps = np.repeat(gaussian_host(0.7, 0.5)[None], 300, axis=0)
    followed = conditioning.follow_hosts(table, prior, stamps, 4)
    q = followed.column("lens_q").to_numpy()
    np.testing.assert_allclose((q.mean(), q.std()), (0.7, 0.05), atol=0.01)
    np.testing.assert_allclose(followed.column("lens_pa_rad").to_numpy(), 0.5, atol=0.02)
    shear = np.hypot(followed.column("lens_gamma1").to_numpy(), followed.column("lens_gamma2").to_numpy())
    assert 0.07 < shear.max() <= 0.08
    np.testing.assert_allclose(shear.mean(), 0.04, atol=0.004)
    for name in ("src_mag_r", "src_x_arcsec", "lens_theta_e_arcsec"):
        assert followed.column(name).equals(table.column(name))
    alone = conditioning.follow_hosts(table.slice(7, 1), prior, stamps[:1], 4)
    assert alone.equals(followed.slice(7, 1))


def test_the_grid_runs_with_im2_noise_and_suppression() -> None:
    from injection import grid as grids

    plain = run(grids.plan(params(), hosts_table(), 42))
    noisy = run(grids.plan(params(poisson_gain_e_per_nmgy=150.0), hosts_table(), 42))
    assert noisy.column("host_score").equals(plain.column("host_score"))
    assert not noisy.column("score").equals(plain.column("score"))
    quiet = run(grids.plan(params(poisson_gain_e_per_nmgy=1e12), hosts_table(), 42))
    np.testing.assert_allclose(quiet.column("score").to_numpy(), plain.column("score").to_numpy(), atol=1e-3)
    cored = run(grids.plan(params(core_suppression_radius_arcsec=1.0), hosts_table(), 42))
    assert (cored.column("arc_flux_r_nmgy").to_numpy() < plain.column("arc_flux_r_nmgy").to_numpy()).all()
    following = run(grids.plan(params(host_model="IM2"), hosts_table(), 42))
    assert set(following.column("status").to_pylist()) == {"scored"}
    assert following.column("lens_q").to_numpy().min() >= 0.5


def test_core_suppression_darkens_the_core_only() -> None:
    table = rows({"lens_x_arcsec": 0.5})
    arcs = render.render_arcs(table, Psf.gaussian(np.ones((1, 3)), includes_pixel=True), 101).images
    cored = conditioning.suppress_core(arcs, table, 0.8)
    y, x = np.mgrid[-50:51, -50:51] * PIXEL_SCALE_ARCSEC
    inside = np.hypot(x - 0.5, y) < 0.8
    assert (cored[0][:, inside] == 0).all()
    np.testing.assert_array_equal(cored[0][:, ~inside], arcs[0][:, ~inside])


def test_hosts_of_another_survey_are_converted_by_declaration() -> None:
    stamps = np.full((2, 3, 91, 91), 1000.0, np.float32)
    np.testing.assert_allclose(hosts.to_nanomaggies(stamps, 30.0, 0.263), 1.0, rtol=1e-6)
    with pytest.raises(ParameterError, match="'pixel_scale_arcsec' must be within 1 %"):
        hosts.to_nanomaggies(stamps, 30.0, 0.3)


def test_arcs_go_into_the_real_des_hosts(real_data: Path) -> None:
    from astropy.io import fits

    folder = real_data / "cutouts" / "des_grizY_46_hosts"
    stack = np.stack([fits.getdata(folder / f"{band}.fits").astype(np.float32) for band in "grz"], axis=1)
    stamps = hosts.to_nanomaggies(stack, 30.0, 0.263)
    table = drawn("v1", len(stamps))
    result = render.render(table, stamps, Psf.moffat(np.full((len(stamps), 3), 1.1), 3.5, includes_pixel=True))
    assert result.arcs.reasons == [None] * len(stamps)
    np.testing.assert_allclose(result.images, stamps + result.arcs.images)
    q, _ = conditioning.host_shapes(stamps)
    assert 0.5 < np.median(q) <= 1.0


def test_sobol_draws_are_even_and_the_same_in_any_batch() -> None:
    prior = load_prior("v1")
    even = draw(prior, ids(256), 5, sobol_places=np.arange(256))
    part = draw(prior, ids(256).slice(100, 3), 5, sobol_places=[100, 101, 102])
    assert part.equals(even.slice(100, 3).combine_chunks())
    ranks = np.sort((even.column("src_mag_r").to_numpy() - 23) / 3)
    assert np.abs(ranks - (np.arange(256) + 0.5) / 256).max() < 1 / 256 + 1e-9
