"""The grid's plan, and the stream that injects, scores and measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from injection.config import GridParams
from injection.engine.render import STANDARD
from injection.experiment import grid as grids
from injection.experiment import stream
from injection.experiment.observation import see
from injection.experiment.schema import BATCH_SCHEMA, MEASURED
from lake import tables
from lake.errors import DataError, ParameterError
from lake.sky.photometry import flux_from_magnitude
from lake.sky.survey import PIXEL_SCALE_ARCSEC

PIXELS = 61


def params(**changes: Any) -> GridParams:
    values: dict[str, Any] = {
        "theta_e_arcsec": [1.0, 2.0],
        "psf_fwhm_nea_edges_arcsec": [0.9, 1.2, 1.5, 1.8],
        "depth_edges_mag": [23.0, 24.0, 25.0],
        "per_cell": 6,
        "prior": "v1",
        "drawing": "independent",
        "real_sources": None,
        "host_model": "IM1",
        "max_uses_per_host": 2,
        "host_retries": 5,
        "max_host_bad_fraction": 0.05,
        "psf_model": "moffat",
        "psf_moffat_beta": [2.96, 2.84, 2.69],
        "psf_includes_pixel": True,
        "poisson_gain_e_per_nmgy": None,
        "sky_noise": "none",
        "core_suppression_radius_arcsec": None,
        "sky_annulus_px": [20.0, 29.0],
        "batch_size": 10,
        "threads": 1,
        "device": "cpu",
        "quadrature": STANDARD.model_dump(),
        "detectability": {"sky_sigmas": 5.0, "host_ratio": 1.5, "magnification": 5.0},
    }
    return GridParams.load({**values, **changes}, "grid")


def hosts_table(count: int = 60, seed: int = 0) -> pa.Table:
    """Hosts of good seeing or of medium seeing; none of bad seeing."""
    rng = np.random.default_rng(seed)
    depth_mag = rng.uniform(23.0, 25.0, count)
    return pa.table(
        {
            "galaxy_id": [f"test:host_{index:03d}" for index in range(count)],
            "psfsize_r": rng.uniform(0.9, 1.5, count),
            "psfdepth_r": (5.0 / flux_from_magnitude(depth_mag)) ** 2,
            "type_bin": ["DEV" if index % 3 else "REX" for index in range(count)],
            "shape_e1": rng.uniform(-0.3, 0.3, count),
            "shape_e2": rng.uniform(-0.3, 0.3, count),
        }
    )


def load_hosts(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
    stamps = []
    for galaxy_id in galaxy_ids:
        rng = np.random.default_rng(int(galaxy_id[-3:]))
        stamps.append(rng.normal(0, 0.02, (3, PIXELS, PIXELS)))
    return np.array(stamps, dtype=np.float32)


class Brightness:
    """A scorer: the logit is the r-band flux of the stamp."""

    stamp_pixels = PIXELS

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.nansum(stamps[:, 1], axis=(1, 2))


def run(plan: grids.Plan, load: stream.LoadHosts = load_hosts, scorer: Any = None) -> pa.Table:
    return pa.concat_tables(stream.run(plan, load, scorer or Brightness())).combine_chunks()


def test_every_host_lies_in_its_cell_and_is_used_in_moderation() -> None:
    plan = grids.plan(params(), hosts_table(), 42)
    for row in plan.rows.to_pylist():
        host = plan.hosts.rows_of(row["host_ids"])
        assert (plan.hosts.fwhm_nea_arcsec[host, 1] >= row["cell_psf_fwhm_nea_low_arcsec"]).all()
        assert (plan.hosts.fwhm_nea_arcsec[host, 1] < row["cell_psf_fwhm_nea_high_arcsec"]).all()
        assert (plan.hosts.depth_mag[host] >= row["cell_depth_low_mag"]).all()
        assert (plan.hosts.depth_mag[host] < row["cell_depth_high_mag"]).all()
    uses = plan.rows.group_by(["cell"]).aggregate([("injection_id", "count")])
    assert max(uses.column("injection_id_count").to_pylist()) == 6
    first = [(row["cell"], row["host_ids"][0]) for row in plan.rows.to_pylist()]
    assert max(first.count(pair) for pair in set(first)) <= 2


def test_cells_without_hosts_stay_empty_and_say_so() -> None:
    plan = grids.plan(params(), hosts_table(), 42)
    empty = {row["cell"]: row for row in plan.empty.to_pylist()}
    assert {"t00p2d0", "t00p2d1", "t01p2d0", "t01p2d1"} <= set(empty)
    assert empty["t00p2d0"]["hosts"] == 0
    assert empty["t00p2d0"]["reason"].startswith("0 hosts")
    assert not set(empty) & set(plan.rows.filter(pa.compute.equal(plan.rows["psf_index"], 2))["cell"].to_pylist())


def test_few_hosts_give_fewer_injections_not_more_of_the_same() -> None:
    plan = grids.plan(params(psf_fwhm_nea_edges_arcsec=[0.9, 1.5], depth_edges_mag=[23.0, 25.0]), hosts_table(2), 1)
    assert plan.rows.num_rows == 2 * 2 * 2
    assert plan.empty.column("injections").to_pylist() == [4, 4]


def test_the_plan_is_a_function_of_its_inputs_only() -> None:
    a = grids.plan(params(), hosts_table(), 42)
    shuffled = hosts_table().take(np.random.default_rng(5).permutation(60))
    assert grids.plan(params(), shuffled, 42).rows.equals(a.rows)
    assert grids.plan(params(batch_size=3, threads=2), shuffled, 42).grid_id == a.grid_id
    for other in (
        grids.plan(params(per_cell=5), hosts_table(), 42),
        grids.plan(params(prior="d06"), hosts_table(), 42),
        grids.plan(params(), hosts_table(seed=1), 42),
        grids.plan(params(), hosts_table(), 43),
    ):
        assert other.grid_id != a.grid_id


def test_im2_takes_early_types_only() -> None:
    plan = grids.plan(params(host_model="IM2"), hosts_table(), 42)
    assert set(plan.hosts.table.column("type_bin").to_pylist()) == {"DEV"}
    with pytest.raises(ParameterError, match="'host_model' must be IM1 if"):
        grids.plan(params(host_model="IM2"), hosts_table().drop_columns("type_bin"), 42)


def test_host_tables_are_checked() -> None:
    with pytest.raises(DataError, match="lacks psfdepth_r"):
        grids.plan(params(), hosts_table().drop_columns("psfdepth_r"), 42)
    with pytest.raises(DataError, match="duplicated galaxy_id"):
        grids.plan(params(), pa.concat_tables([hosts_table(), hosts_table()]), 42)


def test_a_sobol_grid_is_even_in_every_cell_and_its_own() -> None:
    """64 injections a cell: aligned blocks of a Sobol sequence have one value in each 64th of every parameter."""
    chosen = {"per_cell": 64, "max_uses_per_host": 64, "psf_fwhm_nea_edges_arcsec": [0.9, 1.5]}
    even = grids.plan(params(drawing="sobol", **chosen), hosts_table(), 42)
    plain = grids.plan(params(**chosen), hosts_table(), 42)
    assert even.grid_id != plain.grid_id
    out = run(even)
    assert set(out.column("status").to_pylist()) == {"scored"}
    magnitudes = {}
    for cell in sorted(set(out.column("cell").to_pylist())):
        rows = out.filter(pa.compute.equal(out.column("cell"), cell))
        magnitudes[cell] = rows.column("src_mag_r").to_numpy()
        ranks = np.sort((magnitudes[cell] - 23) / 3)
        assert np.abs(ranks - (np.arange(64) + 0.5) / 64).max() < 1 / 64, cell
    assert len(magnitudes) == 4
    assert not np.array_equal(magnitudes["t00p0d0"], magnitudes["t01p0d0"])
    again = grids.plan(params(drawing="sobol", batch_size=7, threads=2, **chosen), hosts_table(), 42)
    assert run(again).equals(out)


def test_edges_must_increase() -> None:
    with pytest.raises(ParameterError, match="strictly increasing"):
        params(psf_fwhm_nea_edges_arcsec=[1.2, 0.9])


def test_batches_have_the_schema_and_meet_the_contract() -> None:
    out = run(grids.plan(params(), hosts_table(), 42))
    assert out.schema.equals(BATCH_SCHEMA)
    assert set(out.column("status").to_pylist()) == {"scored"}
    for column in tables.spec("injections").columns:
        if column.name not in out.column_names:
            continue
        values = out.column(column.name)
        assert values.type == column.arrow.type, column.name
        assert column.nullable or not values.null_count, column.name
        if column.low is not None and values.null_count < len(values):
            assert pa.compute.min(values).as_py() >= column.low, column.name
        if column.high is not None and values.null_count < len(values):
            assert pa.compute.max(values).as_py() <= column.high, column.name


def test_rows_do_not_depend_on_the_batch() -> None:
    a = run(grids.plan(params(), hosts_table(), 42))
    b = run(grids.plan(params(batch_size=7, threads=2), hosts_table(), 42))
    assert a.equals(b)


def test_resuming_at_a_batch_gives_its_rows() -> None:
    plan = grids.plan(params(), hosts_table(), 42)
    whole = run(plan)
    rest = pa.concat_tables(stream.run(plan, load_hosts, Brightness(), start=2)).combine_chunks()
    assert rest.equals(whole.slice(20).combine_chunks())


@pytest.mark.parametrize("sky_noise", ["none", "annulus"])
def test_stored_rows_draw_the_pixels_again_that_were_scored(sky_noise: str) -> None:
    noisy = {"poisson_gain_e_per_nmgy": 150.0, "core_suppression_radius_arcsec": 0.5, "sky_noise": sky_noise}
    plan = grids.plan(params(host_model="IM2", **noisy), hosts_table(), 42)
    out = run(plan).take(pa.array([3, 17, 5])).combine_chunks()
    hosts = plan.hosts.rows_of(out["galaxy_id"].to_pylist())
    conditions = plan.hosts.psf(hosts, plan.grid), plan.hosts.psfdepth[hosts]
    seen = see(plan.grid, plan.sources, out, load_hosts(out["galaxy_id"].to_pylist()), conditions, 42)
    np.testing.assert_array_equal(Brightness().score(seen.images), out["score"].to_numpy())
    np.testing.assert_array_equal(Brightness().score(seen.bare), out["host_score"].to_numpy())


def test_scores_rise_by_the_arc_flux() -> None:
    out = run(grids.plan(params(), hosts_table(), 42))
    gained = out.column("score").to_numpy() - out.column("host_score").to_numpy()
    np.testing.assert_allclose(gained, out.column("arc_flux_r_nmgy").to_numpy(), rtol=2e-3, atol=2e-4)


def test_measurements_are_consistent() -> None:
    out = run(grids.plan(params(), hosts_table(), 42))
    value = {name: out.column(name).to_numpy() for name in MEASURED if name != "detectable"}
    lensed = value["magnification"] * flux_from_magnitude(out.column("src_mag_r").to_numpy())
    np.testing.assert_allclose(value["arc_flux_r_nmgy"], lensed * (1 - value["arc_off_stamp_fraction"]), rtol=0.02)
    np.testing.assert_allclose(value["sky_sigma_mad_nmgy"], 0.02, rtol=0.15)
    assert (value["arc_images"] >= 1).all()
    flags = (value["arc_sky_ratio"] > 5) & (value["arc_host_ratio"] > 1.5) & (value["magnification"] >= 5)
    np.testing.assert_array_equal(out.column("detectable").to_pylist(), flags)


def test_widths_and_depths_of_hosts_are_the_catalogues_whatever_the_profile() -> None:
    """The noise of a depth and theta_E over the PSF follow from psfsize alone; the arcs' peaks from the profile."""
    moffat, gaussian = (run(grids.plan(params(psf_model=kind), hosts_table(), 42)) for kind in ("moffat", "gaussian"))
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
    planned = grids.plan(params(), hosts_table(), 42)

    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        host = planned.hosts.rows_of(galaxy_ids)
        sigma = sigma_of(planned.hosts.psfdepth[host, 1], planned.hosts.fwhm_nea_arcsec[host, 1])
        noise = np.array([np.random.default_rng(row).normal(0, 1, (3, PIXELS, PIXELS)) for row in host])
        return (2.0 * sigma[:, None, None, None] * noise).astype(np.float32)

    out = run(planned, load)
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

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float32]:
        return stamps[:, self.band].std(axis=(1, 2))


@pytest.mark.parametrize("band", [0, 1, 2])
def test_sky_noise_of_the_depth_is_given_to_hosts_without_noise(band: int) -> None:
    table = hosts_table()
    for other, factor in (("g", 4.0), ("z", 0.25)):
        table = table.append_column(f"psfdepth_{other}", pa.compute.multiply(table["psfdepth_r"], factor))
    planned = grids.plan(params(sky_noise="psfdepth"), table, 42)

    def noiseless(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(galaxy_ids), 3, PIXELS, PIXELS), np.float32)

    out = run(planned, noiseless, Spread(band))
    host = planned.hosts.rows_of(out.column("galaxy_id").to_pylist())
    expected = sigma_of(planned.hosts.psfdepth[host, band], planned.hosts.fwhm_nea_arcsec[host, band])
    np.testing.assert_allclose(out.column("host_score").to_numpy(), expected, rtol=0.06)
    assert out.equals(run(grids.plan(params(sky_noise="psfdepth", batch_size=7), table, 42),
                          noiseless, Spread(band)))  # fmt: skip


def test_sky_noise_of_the_annulus_is_as_much_again() -> None:
    quiet = run(grids.plan(params(), hosts_table(), 42), scorer=Spread(2)).column("host_score").to_numpy()
    noisy = run(grids.plan(params(sky_noise="annulus"), hosts_table(), 42), scorer=Spread(2)).column("host_score")
    np.testing.assert_allclose(noisy.to_numpy() / quiet, np.sqrt(2), rtol=0.08)


def test_sky_noise_needs_the_depth_of_every_band() -> None:
    with pytest.raises(ParameterError, match=r"'grid.sky_noise' must be none or annulus if hosts lack psfdepth"):
        grids.plan(params(sky_noise="psfdepth"), hosts_table(), 42)
    table = hosts_table().append_column("psfdepth_g", hosts_table()["psfdepth_r"])
    unknown = np.where(np.arange(60) % 2, np.nan, hosts_table()["psfdepth_r"].to_numpy())
    planned = grids.plan(params(sky_noise="psfdepth"), table.append_column("psfdepth_z", pa.array(unknown)), 42)
    out = run(planned)
    reasons = out.column("reason").to_pylist()
    odd = [int(galaxy_id[-3:]) % 2 == 1 for galaxy_id in out.column("galaxy_id").to_pylist()]
    assert [reason is not None for reason in reasons] == odd
    assert all(reason is None or "sky noise is not known in every band" in reason for reason in reasons)
