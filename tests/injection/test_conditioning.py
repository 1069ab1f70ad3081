"""Lenses that follow their hosts, core suppression, hosts of other surveys, Sobol drawing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest

from injection.config import IM1, IM2
from injection.engine import render
from injection.experiment import arc_finder, conditioning
from injection.experiment.hostset import HostSet, in_memory
from injection.experiment.setting import Setting
from injection.optics.psf import Psf
from injection.priors.registry import draw, load_prior, log_density
from injection.priors.reweighting import THETA_E, not_of_prior
from lake.errors import ParameterError
from lake.sky.survey import PIXEL_SCALE_ARCSEC, SURVEY
from tests.injection.scenes import drawn, host_set, hosts_table, ids, params, planned, rows, run

FOLLOWING = {"host_selection": "early", "lens_shape": "conditioned"}


def gaussian_host(q: float, angle: float, sigma_arcsec: float = 0.9) -> np.ndarray:
    y, x = np.mgrid[-50:51, -50:51] * PIXEL_SCALE_ARCSEC
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    image = np.exp(-0.5 * (q * u**2 + v**2 / q) / sigma_arcsec**2)
    return np.repeat(image[None], 3, axis=0).astype(np.float32)


@pytest.mark.parametrize(("q", "angle"), [(0.6, 0.4), (0.8, -1.2), (0.95, 1.5)])
def test_shapes_of_observed_light_are_recovered(q: float, angle: float) -> None:
    q_found, angle_found = arc_finder.observed_shapes(gaussian_host(q, angle)[None], SURVEY)
    np.testing.assert_allclose(q_found, q, atol=0.01)
    np.testing.assert_allclose(np.sin(2 * angle_found), np.sin(2 * angle), atol=0.02)


@pytest.mark.parametrize(("q", "north_to_east_deg"), [(0.5, 0.0), (0.7, 40.0), (0.9, 90.0), (0.3, 135.0)])
def test_catalogue_shapes_turn_into_the_frame_of_the_stamp(q: float, north_to_east_deg: float) -> None:
    """The major axis laid out on the sky and put into pixels by the WCS of a coadd, whose columns run along -RA."""
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [51.0, 51.0]
    wcs.wcs.cd = np.diag([-PIXEL_SCALE_ARCSEC, PIXEL_SCALE_ARCSEC]) / 3600
    centre = SkyCoord(150.0, 2.0, unit="deg")
    end = centre.directional_offset_by(north_to_east_deg * units.deg, 5 * units.arcsec)
    (x0, x1), (y0, y1) = wcs.world_to_pixel(SkyCoord([centre, end]))
    size, twice = (1 - q) / (1 + q), np.deg2rad(2 * north_to_east_deg)
    found_q, found_angle = conditioning.catalogue_shapes([size * np.cos(twice)], [size * np.sin(twice)])
    np.testing.assert_allclose(found_q, q, rtol=1e-12)
    np.testing.assert_allclose(np.exp(2j * found_angle[0]), np.exp(2j * np.arctan2(y1 - y0, x1 - x0)), atol=1e-4)


def test_round_and_unknown_shapes() -> None:
    q, angle = conditioning.catalogue_shapes([0.0, np.nan, 1.0], [0.0, 0.1, 0.0])
    assert q[0] == 1.0
    assert np.isfinite(angle[0])
    assert np.isnan([*q[1:], *angle[1:]]).all()


def test_hosts_have_a_shape_or_are_left_out_where_lenses_follow_them() -> None:
    table = hosts_table()
    with pytest.raises(ParameterError, match=r"'lens_shape' must be 'independent' if no host has a shape"):
        host_set(table.drop_columns(["shape_e1"]), host_model=IM2)
    e1 = np.where(np.arange(60) % 2, np.nan, 0.2)
    chosen = host_set(table.set_column(table.column_names.index("shape_e1"), "shape_e1", pa.array(e1)), host_model=IM2)
    assert (
        0
        < len(chosen.ids)
        == sum(int(name[-3:]) % 2 == 0 and int(name[-3:]) % 3 > 0 for name in table["galaxy_id"].to_pylist())
    )
    assert len(host_set(table.drop_columns(["shape_e1"])).ids) == 60


def test_lenses_follow_their_hosts() -> None:
    table, prior = drawn("v1", 300), load_prior("v1")
    shapes = np.full(300, 0.7), np.full(300, 0.5)
    followed = conditioning.follow_hosts(table, prior, shapes, 4)
    q = followed.column("lens_q").to_numpy()
    np.testing.assert_allclose((q.mean(), q.std()), (0.7, 0.05), atol=0.01)
    np.testing.assert_allclose(followed.column("lens_pa_rad").to_numpy(), 0.5, atol=0.02)
    shear = np.hypot(followed.column("lens_gamma1").to_numpy(), followed.column("lens_gamma2").to_numpy())
    assert 0.07 < shear.max() <= 0.08
    np.testing.assert_allclose(shear.mean(), 0.04, atol=0.004)
    for name in ("src_mag_r", "src_x_arcsec", "lens_theta_e_arcsec"):
        assert followed.column(name).equals(table.column(name))
    alone = conditioning.follow_hosts(table.slice(7, 1), prior, (np.full(1, 0.7), np.full(1, 0.5)), 4)
    assert alone.equals(followed.slice(7, 1))


def test_a_round_host_leaves_its_lens_the_angle_that_was_drawn() -> None:
    table, prior = drawn("v1", 50), load_prior("v1")
    followed = conditioning.follow_hosts(table, prior, conditioning.catalogue_shapes(np.zeros(50), np.zeros(50)), 4)
    assert followed["lens_pa_rad"].equals(table["lens_pa_rad"])
    assert (followed["lens_q"].to_numpy() > 0.8).all()


@pytest.mark.parametrize("selection", ["all", "early"])
@pytest.mark.parametrize("lens_shape", ["independent", "conditioned"])
def test_hosts_and_shapes_are_separate_choices(selection: str, lens_shape: str) -> None:
    plan = planned(host_selection=selection, lens_shape=lens_shape)
    found, hosts = run(plan), plan.setting.hosts
    assert set(hosts.table["type_bin"].to_pylist()) == ({"DEV"} if selection == "early" else {"DEV", "REX"})
    q, angle = hosts.shapes(hosts.rows_of(found["galaxy_id"].to_pylist()))
    follows = bool((found["lens_pa_rad"].to_numpy() == angle).all())
    assert follows == (lens_shape == "conditioned")
    assert (np.corrcoef(found["lens_q"].to_numpy(), q)[0, 1] > 0.7) == follows
    assert set(found["host_selection"].to_pylist()) == {selection}
    assert set(found["lens_shape"].to_pylist()) == {lens_shape}
    assert ("lens_q" in not_of_prior(plan.setting.grid, SURVEY)) == follows


def test_injections_hold_what_the_catalogue_says_of_their_hosts() -> None:
    facts = {"type": ["DEV"] * 60, "mag_r": np.arange(60.0), "sersic": np.linspace(1, 6, 60), "brickname": ["b"] * 60}
    table = hosts_table()
    for name, values in facts.items():
        table = table.append_column(name, pa.array(values))
    found = run(planned(table)).to_pandas()
    place = found["galaxy_id"].str[-3:].astype(int)
    np.testing.assert_allclose(found["host_mag_r"], place)
    np.testing.assert_allclose(found["host_sersic"], np.linspace(1, 6, 60)[place], rtol=1e-6)
    assert set(found["host_type"]) == {"DEV"}
    assert set(found["host_brickname"]) == {"b"}
    assert found[["host_mag_z", "host_shape_r", "host_nobs_z_bin"]].isna().all(axis=None)


@pytest.mark.usefixtures("whole_stage")
def test_the_grid_runs_with_shapes_of_hosts_noise_and_suppression() -> None:
    plain = run(planned())
    noisy = run(planned(poisson_gain_e_per_nmgy=150.0))
    assert noisy.column("host_score").equals(plain.column("host_score"))
    assert not noisy.column("score").equals(plain.column("score"))
    quiet = run(planned(poisson_gain_e_per_nmgy=1e12))
    np.testing.assert_allclose(quiet.column("score").to_numpy(), plain.column("score").to_numpy(), atol=1e-3)
    cored = run(planned(core_suppression_radius_arcsec=1.0))
    assert (cored.column("arc_flux_r_nmgy").to_numpy() < plain.column("arc_flux_r_nmgy").to_numpy()).all()
    plan = planned(**FOLLOWING)
    following = run(plan)
    assert set(following.column("status").to_pylist()) == {"scored"}
    q, angle = plan.setting.hosts.shapes(plan.setting.hosts.rows_of(following.column("galaxy_id").to_pylist()))
    np.testing.assert_allclose(following.column("lens_q").to_numpy(), np.clip(q, 0.5, 1.0), atol=0.2)
    assert np.corrcoef(following.column("lens_q").to_numpy(), q)[0, 1] > 0.7
    np.testing.assert_array_equal(following.column("lens_pa_rad").to_numpy(), angle)
    turned = hosts_table().set_column(4, "shape_e1", pa.compute.negate(hosts_table()["shape_e1"]))
    assert planned(turned, **FOLLOWING).grid_id != plan.grid_id


def test_core_suppression_darkens_the_core_only() -> None:
    table = rows({"lens_x_arcsec": 0.5})
    arcs = render.render_arcs(table, Psf.gaussian(np.ones((1, 3)), includes_pixel=True, imaging=SURVEY), 101).images
    cored = conditioning.suppress_core(arcs, table, 0.8, PIXEL_SCALE_ARCSEC)
    y, x = np.mgrid[-50:51, -50:51] * PIXEL_SCALE_ARCSEC
    inside = np.hypot(x - 0.5, y) < 0.8
    assert (cored[0][:, inside] == 0).all()
    np.testing.assert_array_equal(cored[0][:, ~inside], arcs[0][:, ~inside])


def test_arcs_go_into_the_real_des_hosts(real_data: Path) -> None:
    from astropy.io import fits

    folder = real_data / "cutouts" / "des_grizY_46_hosts"
    stack = np.stack([fits.getdata(folder / f"{band}.fits").astype(np.float32) for band in "grz"], axis=1)
    stamps = stack / 1000  # zero point 30
    table = hosts_table(len(stamps))
    load = in_memory(stamps, table["galaxy_id"].to_pylist())
    hosts = HostSet("DES", table, load, stamps.shape[-1], IM1, SURVEY)
    rows = drawn("v1", len(stamps)).append_column("galaxy_id", table["galaxy_id"])
    result = Setting.of(params(), hosts, 1).draw(rows)
    assert result.reasons == [None] * len(stamps)
    np.testing.assert_array_equal(result.images, stamps + result.arcs.images)
    q, _ = arc_finder.observed_shapes(stamps, SURVEY)
    assert 0.5 < np.median(q) <= 1.0


def test_sobol_draws_are_even_and_the_same_in_any_batch() -> None:
    prior = load_prior("v1")
    even = draw(prior, ids(256), 5, SURVEY, sobol_places=np.arange(256))
    part = draw(prior, ids(256).slice(100, 3), 5, SURVEY, sobol_places=[100, 101, 102])
    assert part.equals(even.slice(100, 3).combine_chunks())
    ranks = np.sort((even.column("src_mag_r").to_numpy() - 23) / 3)
    assert np.abs(ranks - (np.arange(256) + 0.5) / 256).max() < 1 / 256 + 1e-9


@pytest.mark.parametrize(
    ("lens_shape", "drawing"),
    [("independent", "independent"), ("conditioned", "independent"), ("independent", "sobol")],
)
def test_a_grid_of_a_mixture_keeps_the_density_of_what_it_drew(lens_shape: str, drawing: str) -> None:
    """Whichever of its priors a row comes from; the weights of a later reweighting rest on it."""
    plan = planned(lens_shape=lens_shape, drawing=drawing, prior="covering")
    setting, hosts = plan.setting, pa.compute.list_element(plan.rows["host_ids"], 0)
    rows = plan.rows.append_column("galaxy_id", hosts)
    drawn = setting.parameters(rows)
    assert drawn["injection_id"].equals(rows["injection_id"])
    assert setting.parameters(rows.slice(3, 2)).equals(drawn.slice(3, 2).combine_chunks())
    excluded = (THETA_E, *not_of_prior(setting.grid, SURVEY))
    assert ("lens_q" in excluded) == (lens_shape == "conditioned")
    apart = drawn["log_prior"].to_numpy() - log_density(setting.prior, drawn, SURVEY, excluded)
    np.testing.assert_allclose(apart, apart[0], atol=1e-9)
