"""Stamps made elsewhere: three real DR10 candidates, 46 real DES galaxies."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from etl.cutouts import external_stamps
from injection.config import IM1
from lake.errors import DataError
from lake.files.npz import read_npz
from lake.sky.survey import BANDS
from tests.etl.survey_files import params
from tests.npzfiles import write_npz

PARAMS = params("cutouts")
BASE = Path(__file__).resolve().parents[2] / "params" / "base.yaml"
META = {"galaxy_id": "0001p000_7", "ra": 1.0, "dec": 2.0, "pixel_scale": 0.262, "tier": "A"}


def stamp(pixels: int = 101) -> np.ndarray:
    return np.random.default_rng(0).normal(1, 0.1, (3, pixels, pixels)).astype(np.float32)


def test_real_candidates_have_the_metrics_their_files_state(real_data: Path) -> None:
    folder = real_data / "cutouts" / "dr10_lens_candidates"
    found = external_stamps.import_cutouts(folder, "ls-dr10", PARAMS)
    assert found.facts["galaxy_id"].to_pylist() == [
        "ls-dr10:0001m060_2396", "ls-dr10:0003m005_293", "ls-dr10:0006p270_2574",
    ]  # fmt: skip
    assert found.rows["status"].to_pylist() == ["ok"] * 3
    for row, path in zip(found.rows.to_pylist(), sorted(folder.glob("*.npz")), strict=True):
        meta = read_npz(path)[1]
        assert row["mad_r"] == pytest.approx(meta["mad_r"], rel=1e-4)
        assert row["percentile_1_r"] == pytest.approx(meta["percentile_1_r"], rel=1e-4)
        assert row["percentile_99_r"] == pytest.approx(meta["percentile_99_r"], rel=1e-4)


def test_bad_npz_files_are_rejected_by_name(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", stamp(), META)
    write_npz(tmp_path / "b.npz", stamp(64), META)
    write_npz(tmp_path / "c.npz", stamp(), META | {"pixel_scale": 0.3})
    write_npz(tmp_path / "d.npz", stamp(), {"ra": 1.0, "dec": 2.0})
    (tmp_path / "e.npz").write_bytes(b"nothing")
    found = external_stamps.import_cutouts(tmp_path, "x", PARAMS)
    assert found.facts["galaxy_id"].to_pylist() == ["x:0001p000_7"]
    reasons = dict(zip(found.rejected["source_file"].to_pylist(), found.rejected["reason"].to_pylist(), strict=True))
    assert "must be 101 px wide, got 64" in reasons["b.npz"]
    assert "pixel scale must be within 1% of 0.262 arcsec, got 0.3" in reasons["c.npz"]
    assert "lacks meta_galaxy_id, meta_pixel_scale" in reasons["d.npz"]
    assert "not a cut-out in the NPZ format" in reasons["e.npz"]
    (tmp_path / "e.npz").rename(tmp_path / os.fsdecode(b"x\xff.npz"))
    found = external_stamps.import_cutouts(tmp_path, "x", PARAMS)
    assert found.rejected.to_pylist()[-1]["source_file"] == r"x\xff.npz"
    assert found.rejected.to_pylist()[-1]["reason"] == r"x\xff.npz: its path is not UTF-8 text"
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"contains no cut-out: no \.npz or \.fits file among 0 files"):
        external_stamps.import_cutouts(tmp_path / "none", "x", PARAMS)


@pytest.fixture
def cases(real_data: Path) -> Path:
    """Small inputs that are easily taken for good ones; they lie beside the real data."""
    folder = real_data.parent / "cases" / "npz"
    if not folder.is_dir():
        pytest.skip(f"no cases: {folder} does not exist")
    return folder


def test_every_file_of_a_folder_is_a_row_or_is_named(
    cases: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(cases, folder)
    (folder / "deep").mkdir()
    write_npz(folder / "deep" / "UPPER.npz", stamp(105), META)
    (folder / "deep" / "UPPER.npz").rename(folder / "deep" / "UPPER.NPZ")
    write_npz(folder / "r_same_id.npz", stamp() + 1, META)
    shutil.copy(folder / "a_good.npz", folder / "s_copy.npz")
    write_npz(folder / "t_text.npz", stamp() + 2, META | {"ra": "12h30m"})
    write_npz(folder / "u_scale.npz", stamp() + 3, META | {"pixel_scale": np.nan})
    (folder / "v_link.npz").symlink_to(folder / "nothing.npz")
    (folder / "w_folder.npz").mkdir()
    os.mkfifo(folder / "x_pipe.npz")
    (folder / "y_notes.txt").write_text("x")
    found = external_stamps.import_cutouts(folder, "x", PARAMS)
    good = dict(zip(found.facts["source_file"].to_pylist(), found.rows["galaxy_id"].to_pylist(), strict=True))
    bad = dict(zip(found.rejected["source_file"].to_pylist(), found.rejected["reason"].to_pylist(), strict=True))
    everything = {path.relative_to(folder).as_posix() for path in folder.rglob("*")} - {"deep"}
    assert set(good) | set(bad) == everything
    assert good.keys() & bad.keys() == set()
    assert good["deep/UPPER.NPZ"] == "x:0001p000_7"
    assert good["r_same_id.npz"] == "x:0001p000_7@r_same_id.npz"
    chw = found.stamps[list(good).index("c_chw.npz")]
    with np.load(folder / "c_chw.npz") as held:
        np.testing.assert_array_equal(chw, held["cutout"])
    for name, words in {
        "d_even100.npz": "must be 101 px wide, got 100; cut out a window of 101 px, or of a larger odd number",
        "h_four_bands.npz": r"must be (n, n, 3), got (101, 101, 4); keep g, r, z",
        "i_scale.npz": "within 1% of 0.262 arcsec, got 0.168; resample",
        "p_empty.npz": "not a cut-out in the NPZ format",
        "q_html.npz": "not a cut-out in the NPZ format",
        "s_copy.npz": "has the same pixels as a_good.npz",
        "t_text.npz": "meta_ra must be a finite number, got '12h30m'",
        "u_scale.npz": "meta_pixel_scale must be a finite number, got nan",
        "v_link.npz": "it is a broken link",
        "w_folder.npz": "it is a folder",
        "x_pipe.npz": "it is not a regular file",
        "y_notes.txt": "it is neither an .npz nor a .fits file",
    }.items():
        assert words in bad[name]
    assert f"{len(bad)} of {len(everything)} files of {folder} are not used, first: d_even100.npz" in caplog.text
    assert "cut-outs repeat a galaxy_id, first: " in caplog.text


def test_a_folder_of_bad_files_is_one_sentence(cases: Path, tmp_path: Path) -> None:
    for name in ("p_empty.npz", "q_html.npz"):
        shutil.copy(cases / name, tmp_path / name)
    with pytest.raises(DataError, match=r"none of the 2 files of .* can be used: .*p_empty.npz is not a cut-out"):
        external_stamps.import_cutouts(tmp_path, "x", PARAMS)


def test_real_cubes_of_the_viewer(real_data: Path) -> None:
    """One has the survey's scale and an odd side: its middle is taken. The others say why they cannot be used."""
    folder = real_data / "cutouts" / "decals_viewer"
    found = external_stamps.import_cutouts(folder, "viewer", PARAMS)
    assert found.facts["galaxy_id"].to_pylist() == ["viewer:temp_small"]
    assert found.facts["pixel_scale_arcsec"][0].as_py() == pytest.approx(0.262)
    assert found.facts["ra"][0].as_py() == pytest.approx(146.714208787)
    with fits.open(folder / "temp_small.fits") as hdus:
        np.testing.assert_array_equal(found.stamps[0], hdus[0].data[:, 62:163, 62:163])
    bad = dict(zip(found.rejected["source_file"].to_pylist(), found.rejected["reason"].to_pylist(), strict=True))
    assert "the pixel scale must be 0.262 arcsec, got 0.1000" in bad["example_a.fits"]
    assert re.search(r"header declares 2157312 bytes of data, but the file holds \d+", bad["example_incomplete.fits"])
    assert "it must contain a cube (band, n, n)" in bad["gordon_joint_catalog_no_cuts.fits"]


def test_holes_of_zeros_are_missing_pixels(cases: Path) -> None:
    """A band of zeros, half of every band, 13 % of z at the centre: each is rejected for the pixels it lacks."""
    found = external_stamps.import_cutouts(cases, "x", PARAMS)
    why = dict(zip(found.facts["source_file"].to_pylist(), found.rows["reason"].to_pylist(), strict=True))
    assert why["a_good.npz"] is None
    assert why["g_zero_z.npz"] == "no data in band z"
    assert why["m_half_zero_all_bands.npz"] == "more than 5% of the pixels are not finite"
    assert why["n_core_zero_z.npz"] == "pixels within 8 px of the centre are not finite"
    share = dict(zip(why, found.rows["nan_fraction"].to_pylist(), strict=True))
    assert share["m_half_zero_all_bands.npz"] == pytest.approx(0.495, abs=1e-3)
    assert share["a_good.npz"] == 0


def test_real_dead_pixels_of_the_viewer_are_rejected(real_data: Path) -> None:
    """Three quarters of g and r are zeros, written as pixels like all others."""
    with fits.open(real_data / "cutouts/decals_viewer/example_bad_pix.fits") as hdus:
        cube = hdus[0].data[None, :, :-1, :-1].astype(np.float32)
    (row,) = external_stamps.judged(external_stamps.without_zeros(cube), ["x:1"], PARAMS, "viewer").to_pylist()
    assert (row["status"], row["reason"]) == ("rejected", "more than 5% of the pixels are not finite")
    assert row["nan_fraction"] == pytest.approx((0.757 + 0.728) / 3, abs=2e-3)


def test_real_des_hosts(real_data: Path) -> None:
    folder = real_data / "cutouts" / "des_grizY_46_hosts"
    found = external_stamps.load_des_hosts(folder, PARAMS)
    assert found.stamps.shape == (46, 3, 91, 91)
    with fits.open(folder / "z.fits") as hdus:
        np.testing.assert_allclose(found.stamps[:, 2], hdus[0].data * 1e-3, rtol=1e-6)
    facts = found.facts.to_pylist()
    assert facts[17]["galaxy_id"] == "des46:017"
    assert facts[0]["psfsize_r"] == pytest.approx(1.014, abs=1e-3)
    assert facts[0]["psfsize_z"] == pytest.approx(0.94 * facts[0]["psfsize_r"])
    assert all(24.0 < fact["depth_mag_r"] < 25.5 for fact in facts)
    assert all(fact["pixel_scale_arcsec"] == 0.263 for fact in facts)


def test_des_hosts_are_read_back_with_the_noise_they_have(real_data: Path) -> None:
    """Depth is computed and read back by one meaning of psfsize, whatever profile the grid injects with."""
    from injection.experiment.hostset import HostSet, in_memory

    found = external_stamps.load_des_hosts(real_data / "cutouts" / "des_grizY_46_hosts", PARAMS)
    load = in_memory(found.stamps, found.facts["galaxy_id"].to_pylist())
    hosts = HostSet("DES", found.facts, load, 91, IM1, found.imaging)
    order = hosts.rows_of(found.facts["galaxy_id"].to_pylist())
    sigma = found.facts["sky_sigma_r_nmgy"].to_numpy()
    np.testing.assert_allclose(hosts.pixel_sigma_nmgy[order, 1], sigma, rtol=1e-5)


def test_des_files_that_are_missing_or_of_another_shape(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"g.fits cannot be read"):
        external_stamps.load_des_hosts(tmp_path, PARAMS)
    fits.PrimaryHDU(np.zeros((3, 91, 91), np.float32)).writeto(tmp_path / "g.fits")
    with pytest.raises(DataError, match=r"must be \(46, n, n\)"):
        external_stamps.load_des_hosts(tmp_path, PARAMS)


def test_holes_of_a_des_host_do_not_take_its_depth_and_a_flat_image_has_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A row of zeros at the edge, a band of one value: the first still measures its noise, the second says nothing."""
    from pipeline.experiment.choosing import of_stamps

    rng = np.random.default_rng(0)
    for band in BANDS:
        images = rng.normal(0, 20, (46, 91, 91)).astype(np.float32)
        if band == "r":
            images[3, 0] = 0
            images[5] = 7
        fits.PrimaryHDU(images).writeto(tmp_path / f"{band}.fits")
    (tmp_path / "seeing.txt").write_text("seeing weight\n1.0 1\n")
    found = external_stamps.load_des_hosts(tmp_path, PARAMS)
    sigma = found.facts["sky_sigma_r_nmgy"].to_numpy()
    assert sigma[3] == pytest.approx(0.02, rel=0.1)
    assert np.flatnonzero(np.isnan(found.facts["psfdepth_r"].to_numpy())).tolist() == [5]
    assert found.rows["reason"].null_count == 46
    assert len(of_stamps("DES galaxies", found, found.facts, IM1).ids) == 45
    assert "1 of 46 hosts left out: no PSF, or no depth in r" in caplog.text
