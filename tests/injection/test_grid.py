"""The grid's plan, and the stream that injects, scores and measures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from injection.experiment import grid as grids
from injection.experiment.schema import batch_schema, measured
from injection.experiment.stream import batches, run_batch
from lake import tables
from lake.errors import DataError, ParameterError
from lake.sky.photometry import flux_from_magnitude
from lake.sky.survey import PIXEL_SCALE_ARCSEC, SURVEY
from tests.injection.scenes import PIXELS, Brightness, hosts_table, params, planned, run


def test_every_host_lies_in_its_cell_and_is_used_in_moderation() -> None:
    plan = planned()
    hosts, cells = plan.setting.hosts, {cell["cell"]: cell for cell in grids.cells(plan.setting.grid)}
    for row in plan.rows.to_pylist():
        host, cell = hosts.rows_of(row["host_ids"]), cells[row["cell"]]
        assert (hosts.fwhm_nea_arcsec[host, 1] >= cell["psf_fwhm_nea_arcsec_low"]).all()
        assert (hosts.fwhm_nea_arcsec[host, 1] < cell["psf_fwhm_nea_arcsec_high"]).all()
        assert (hosts.depth_mag[host] >= cell["depth_mag_low"]).all()
        assert (hosts.depth_mag[host] < cell["depth_mag_high"]).all()
    uses = plan.rows.group_by(["cell"]).aggregate([("injection_id", "count")])
    assert max(uses.column("injection_id_count").to_pylist()) == 6
    first = [(row["cell"], row["host_ids"][0]) for row in plan.rows.to_pylist()]
    assert max(first.count(pair) for pair in set(first)) <= 2


def test_cells_without_hosts_stay_empty_and_say_so() -> None:
    plan = planned()
    empty = {row["cell"]: row for row in plan.empty.to_pylist()}
    assert {"t00p2d0", "t00p2d1", "t01p2d0", "t01p2d1"} <= set(empty)
    assert empty["t00p2d0"]["hosts"] == 0
    assert empty["t00p2d0"]["reason"].startswith("0 hosts")
    assert not set(empty) & set(plan.rows.filter(pa.compute.equal(plan.rows["psf_index"], 2))["cell"].to_pylist())


def test_few_hosts_give_fewer_injections_not_more_of_the_same() -> None:
    plan = planned(hosts_table(2), seed=1, psf_fwhm_nea_edges_arcsec=[0.9, 1.5], depth_edges_mag=[23.0, 25.0])
    assert plan.rows.num_rows == 2 * 2 * 2
    assert plan.empty.column("injections").to_pylist() == [4, 4]


def test_the_plan_is_a_function_of_its_inputs_only() -> None:
    a = planned()
    shuffled = hosts_table().take(np.random.default_rng(5).permutation(60))
    assert planned(shuffled).rows.equals(a.rows)
    assert planned(shuffled, batch_size=3, threads=2).grid_id == a.grid_id
    for other in (
        planned(per_cell=5),
        planned(prior="d06"),
        planned(hosts_table(seed=1)),
        planned(seed=43),
    ):
        assert other.grid_id != a.grid_id


def test_early_types_only_are_taken_where_they_are_asked_for() -> None:
    plan = planned(host_selection="early")
    assert set(plan.setting.hosts.table.column("type_bin").to_pylist()) == {"DEV"}
    with pytest.raises(ParameterError, match="'host_selection' must be 'all' if"):
        planned(hosts_table().drop_columns("type_bin"), host_selection="early")


def test_host_tables_are_checked() -> None:
    with pytest.raises(DataError, match="lacks psfdepth_r"):
        planned(hosts_table().drop_columns("psfdepth_r"))
    with pytest.raises(DataError, match="duplicated galaxy_id"):
        planned(pa.concat_tables([hosts_table(), hosts_table()]))


def test_a_sobol_grid_is_even_in_every_cell_and_its_own() -> None:
    """16 injections a cell: aligned blocks of a Sobol sequence have one value in each 16th of every parameter."""
    chosen = {"per_cell": 16, "max_uses_per_host": 16, "psf_fwhm_nea_edges_arcsec": [0.9, 1.5]}
    even = planned(drawing="sobol", **chosen)
    plain = planned(**chosen)
    assert even.grid_id != plain.grid_id
    out = run(even)
    assert set(out.column("status").to_pylist()) == {"scored"}
    magnitudes = {}
    for cell in sorted(set(out.column("cell").to_pylist())):
        rows = out.filter(pa.compute.equal(out.column("cell"), cell))
        magnitudes[cell] = rows.column("src_mag_r").to_numpy()
        ranks = np.sort((magnitudes[cell] - 23) / 3)
        assert np.abs(ranks - (np.arange(16) + 0.5) / 16).max() < 1 / 16, cell
    assert len(magnitudes) == 4
    assert not np.array_equal(magnitudes["t00p0d0"], magnitudes["t01p0d0"])
    again = planned(drawing="sobol", batch_size=7, threads=2, **chosen)
    assert run(again).equals(out)


@pytest.fixture(scope="module")
def plain() -> pa.Table:
    """The injections of a plain grid."""
    return run(planned())


def test_edges_must_increase() -> None:
    with pytest.raises(ParameterError, match="strictly increasing"):
        params(psf_fwhm_nea_edges_arcsec=[1.2, 0.9])


def test_batches_have_the_schema_and_meet_the_contract(plain: pa.Table) -> None:
    assert plain.schema.equals(batch_schema(SURVEY))
    assert set(plain.column("status").to_pylist()) == {"scored"}
    for column in tables.spec("injections").columns:
        if column.name not in plain.column_names:
            continue
        values = plain.column(column.name)
        assert values.type == column.arrow.type, column.name
        assert column.nullable or not values.null_count, column.name
        if column.low is not None and values.null_count < len(values):
            assert pa.compute.min(values).as_py() >= column.low, column.name
        if column.high is not None and values.null_count < len(values):
            assert pa.compute.max(values).as_py() <= column.high, column.name


@pytest.mark.usefixtures("whole_stage")
def test_rows_do_not_depend_on_the_batch(plain: pa.Table) -> None:
    assert run(planned(batch_size=7, threads=2)).equals(plain)


def test_a_batch_alone_gives_its_rows(plain: pa.Table) -> None:
    plan = planned()
    third = run_batch(plan, batches(plan)[2], Brightness())
    assert third.equals(plain.slice(20, 10).combine_chunks())


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("sky_noise", ["none", "annulus"])
def test_stored_rows_draw_the_pixels_again_that_were_scored(sky_noise: str) -> None:
    noisy = {"poisson_gain_e_per_nmgy": 150.0, "core_suppression_radius_arcsec": 0.5, "sky_noise": sky_noise}
    plan = planned(host_selection="early", lens_shape="conditioned", **noisy)
    out = run(plan).take(pa.array([3, 17, 5])).combine_chunks()
    drawn = plan.setting.again(out)
    np.testing.assert_array_equal(Brightness().score(drawn.images), out["score"].to_numpy())
    np.testing.assert_array_equal(Brightness().score(drawn.bare), out["host_score"].to_numpy())


def test_scores_rise_by_the_arc_flux(plain: pa.Table) -> None:
    gained = plain.column("score").to_numpy() - plain.column("host_score").to_numpy()
    np.testing.assert_allclose(gained, plain.column("arc_flux_r_nmgy").to_numpy(), rtol=2e-3, atol=2e-4)


def test_measurements_are_consistent(plain: pa.Table) -> None:
    out = plain
    value = {name: out.column(name).to_numpy() for name in measured(SURVEY).names if name != "detectable"}
    lensed = value["magnification"] * flux_from_magnitude(out.column("src_mag_r").to_numpy())
    np.testing.assert_allclose(value["arc_flux_r_nmgy"], lensed * (1 - value["arc_off_stamp_fraction"]), rtol=0.02)
    np.testing.assert_allclose(value["sky_sigma_mad_nmgy"], 0.02, rtol=0.15)
    assert (value["arc_images"] >= 1).all()
    flags = (value["arc_sky_ratio"] > 5) & (value["arc_host_ratio"] > 1.5) & (value["magnification"] >= 5)
    np.testing.assert_array_equal(out.column("detectable").to_pylist(), flags)


def test_widths_and_depths_of_hosts_are_the_catalogues_whatever_the_profile(plain: pa.Table) -> None:
    """The noise of a depth and theta_E over the PSF follow from psfsize alone; the arcs' peaks from the profile."""
    moffat, gaussian = plain, run(planned(psf_model="gaussian"))
    host = [int(name[-3:]) for name in moffat.column("galaxy_id").to_pylist()]
    psfsize, psfdepth = (hosts_table()[name].to_numpy()[host] for name in ("psfsize_r", "psfdepth_r"))
    for out in (moffat, gaussian):
        np.testing.assert_allclose(out.column("host_psf_fwhm_nea_r_arcsec").to_numpy(), psfsize)
        ratio = out.column("lens_theta_e_arcsec").to_numpy() / psfsize
        np.testing.assert_allclose(out.column("theta_e_over_fwhm_nea").to_numpy(), ratio)
        expected = sigma_of(psfdepth, psfsize)
        np.testing.assert_allclose(out.column("sky_sigma_psfdepth_nmgy").to_numpy(), expected, rtol=1e-3)
    peaks = [out.column("arc_peak_r_nmgy_arcsec2").to_numpy() for out in (moffat, gaussian)]
    assert 1.05 < np.median(peaks[0] / peaks[1]) < 1.35


def test_the_two_estimates_of_the_sky_are_recorded_with_their_disagreement() -> None:
    """Hosts of twice the depth's noise: the annulus says so, the depth does not."""
    hosts = planned().setting.hosts

    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        host = hosts.rows_of(galaxy_ids)
        sigma = sigma_of(hosts.psfdepth[host, 1], hosts.fwhm_nea_arcsec[host, 1])
        noise = np.array([np.random.default_rng(row).normal(0, 1, (3, PIXELS, PIXELS)) for row in host])
        return (2.0 * sigma[:, None, None, None] * noise).astype(np.float32)

    out = run(planned(load=load))
    ratio = out.column("sky_sigma_mad_nmgy").to_numpy() / out.column("sky_sigma_psfdepth_nmgy").to_numpy()
    np.testing.assert_allclose(ratio, 2.0, rtol=0.15)


def sigma_of(psfdepth: NDArray[np.float64], fwhm: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sqrt(sum(psf^2) / psfdepth)`` of the pixel-summed Gaussian PSFs that psfsize stands for."""
    y, x = np.mgrid[-20:21, -20:21] * PIXEL_SCALE_ARCSEC
    psf = np.exp(-4 * np.log(2) * (x**2 + y**2) / fwhm[:, None, None] ** 2)
    psf /= psf.sum(axis=(1, 2), keepdims=True)
    return np.sqrt((psf**2).sum(axis=(1, 2)) / psfdepth)


class Spread(Brightness):
    """A scorer: the logit is the standard deviation of one band."""

    def __init__(self, band: int) -> None:
        self.band = band

    def score(self, stamps: NDArray[np.float32], conditions: object = None) -> NDArray[np.float32]:
        return stamps[:, self.band].std(axis=(1, 2))


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("band", [0, 1, 2])
def test_sky_noise_of_the_depth_is_given_to_hosts_without_noise(band: int) -> None:
    table = hosts_table()
    for other, factor in (("g", 4.0), ("z", 0.25)):
        table = table.append_column(f"psfdepth_{other}", pa.compute.multiply(table["psfdepth_r"], factor))

    def noiseless(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(galaxy_ids), 3, PIXELS, PIXELS), np.float32)

    plan = planned(table, noiseless, sky_noise="psfdepth")
    out, hosts = run(plan, Spread(band)), plan.setting.hosts
    host = hosts.rows_of(out.column("galaxy_id").to_pylist())
    expected = sigma_of(hosts.psfdepth[host, band], hosts.fwhm_nea_arcsec[host, band])
    np.testing.assert_allclose(out.column("host_score").to_numpy(), expected, rtol=0.06)
    assert out.equals(run(planned(table, noiseless, sky_noise="psfdepth", batch_size=7), Spread(band)))


@pytest.mark.usefixtures("whole_stage")
def test_sky_noise_of_the_annulus_is_as_much_again() -> None:
    quiet = run(planned(), scorer=Spread(2)).column("host_score").to_numpy()
    noisy = run(planned(sky_noise="annulus"), scorer=Spread(2)).column("host_score")
    np.testing.assert_allclose(noisy.to_numpy() / quiet, np.sqrt(2), rtol=0.08)


def test_sky_noise_needs_the_depth_of_every_band() -> None:
    with pytest.raises(ParameterError, match=r"'grid.sky_noise' must be none or annulus if hosts lack psfdepth"):
        planned(sky_noise="psfdepth")
    table = hosts_table().append_column("psfdepth_g", hosts_table()["psfdepth_r"])
    unknown = np.where(np.arange(60) % 2, np.nan, hosts_table()["psfdepth_r"].to_numpy())
    table = table.append_column("psfdepth_z", pa.array(unknown))
    out = run(planned(table, sky_noise="psfdepth", per_cell=2, host_retries=0))
    reasons = out.column("reason").to_pylist()
    odd = [int(galaxy_id[-3:]) % 2 == 1 for galaxy_id in out.column("galaxy_id").to_pylist()]
    assert 0 < sum(odd) < len(odd)
    assert [reason is not None for reason in reasons] == odd
    assert all(reason is None or "sky noise is unknown in at least one band" in reason for reason in reasons)
