"""Real galaxies as sources: flux, lensing against an independent sum of rays, drawing, in a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from injection.engine import render
from injection.galaxies import banks
from injection.galaxies.banks import SourceBank
from injection.galaxies.realsources import BankSources
from injection.optics.psf import Psf
from injection.priors.registry import load_prior
from injection.scene.lens import Lens, source_position
from lake.errors import DataError
from lake.sky.survey import PIXEL_SCALE_ARCSEC, SURVEY
from tests.injection.scenes import COSMOS, drawn, gaussian_bank, planned, rows, run


@pytest.fixture(scope="module")
def bank() -> SourceBank:
    return gaussian_bank()


def real_rows(**changes: object) -> object:
    return rows({"src_model": "real", "src_stamp_id": "one", "src_n": None, "src_q": None, **changes})


def test_unlensed_flux_is_one(bank: SourceBank) -> None:
    table = real_rows(lens_theta_e_arcsec=0.0, src_re_arcsec=0.4, src_pa_rad=0.7)
    images, _ = BankSources(bank).trace(table, 101, render.STANDARD, 0.262)
    np.testing.assert_allclose(images.sum(dtype=float), 1.0, rtol=2e-3)


@pytest.mark.parametrize("place", [(0.2, 0.1), (0.7, -0.5), (0.0, 0.0)])
def test_lensed_image_agrees_with_a_brute_sum_of_rays(bank: SourceBank, place: tuple[float, float]) -> None:
    table = real_rows(src_x_arcsec=place[0], src_y_arcsec=place[1], src_re_arcsec=0.3, src_pa_rad=0.7, lens_gamma1=0.04)
    ours, _ = BankSources(bank).trace(table, 101, render.STANDARD, 0.262)
    truth = brute(table, bank)
    np.testing.assert_allclose(ours[0, :-1].sum(dtype=float), truth.sum(), rtol=2e-3)
    np.testing.assert_allclose(ours[0, :-1].reshape(101, 101), truth, atol=0.01 * truth.max())


def brute(table: object, bank: SourceBank, fine: int = 24) -> NDArray[np.float64]:
    """24 x 24 rays in every pixel near the lens, by the public formulas and scipy's interpolation."""
    lens = Lens.from_rows(table).row(0)
    value = {
        name: table.column(name)[0].as_py() for name in ("src_x_arcsec", "src_y_arcsec", "src_re_arcsec", "src_pa_rad")
    }  # type: ignore[attr-defined]
    half = 16
    offsets = (np.arange((2 * half + 1) * fine) + 0.5) / fine - half - 0.5
    x, y = np.meshgrid(offsets * PIXEL_SCALE_ARCSEC, offsets * PIXEL_SCALE_ARCSEC)
    bx, by = source_position(x, y, lens)
    dx, dy = bx - value["src_x_arcsec"], by - value["src_y_arcsec"]
    scale = bank.half_light_px[0] / value["src_re_arcsec"]
    cos, sin = np.cos(value["src_pa_rad"]), np.sin(value["src_pa_rad"])
    px = bank.centres_px[0, 0] + scale * (cos * dx + sin * dy)
    py = bank.centres_px[0, 1] + scale * (cos * dy - sin * dx)
    light = map_coordinates(bank.images[0].astype(float), [py, px], order=1) * scale**2
    pixels = light.reshape(2 * half + 1, fine, 2 * half + 1, fine).sum(axis=(1, 3)) * (PIXEL_SCALE_ARCSEC / fine) ** 2
    image = np.zeros((101, 101))
    image[50 - half : 51 + half, 50 - half : 51 + half] = pixels
    return image


def test_rows_of_both_kinds_render_together_and_bad_ones_alone(bank: SourceBank) -> None:
    table = rows(
        {}, {"src_model": "real", "src_stamp_id": "two", "src_n": None, "src_q": None},
        {"src_model": "real", "src_stamp_id": "nine", "src_n": None, "src_q": None},
    )  # fmt: skip
    psf = Psf.gaussian(np.ones((3, 3)), includes_pixel=True, imaging=SURVEY)
    arcs = render.render_arcs(table, psf, 101, sources=BankSources(bank))
    assert arcs.reasons[:2] == [None, None]
    assert "'src_stamp_id' must be a galaxy of the bank, got 'nine'" in str(arcs.reasons[2])
    alone = render.render_arcs(table.slice(1, 1), psf.take([1]), 101, sources=BankSources(bank))
    np.testing.assert_array_equal(alone.images[0], arcs.images[1])
    without = render.render_arcs(table, psf, 101)
    assert without.reasons[1] == "'src_model' must be sersic or sersic_clumps, got 'real'"


def test_drawing_real_sources(bank: SourceBank) -> None:
    prior, table = load_prior("v1"), drawn("v1", 200)
    real = BankSources(bank).draw(table, prior, 7)
    assert set(real.column("src_stamp_id").to_pylist()) == {"one", "two"}
    assert real.column("src_n").null_count == 200
    one = np.array(real.column("src_stamp_id").to_pylist()) == "one"
    np.testing.assert_allclose(real.column("src_g_minus_r").to_numpy()[one], 1.1)
    np.testing.assert_array_equal(
        real.column("src_g_minus_r").to_numpy()[~one], table.column("src_g_minus_r").to_numpy()[~one]
    )
    assert np.isfinite(real.column("log_prior").to_numpy()).all()
    part = BankSources(bank).draw(table.slice(9, 1), prior, 7)
    assert part.equals(real.slice(9, 1))


def test_stamps_are_not_enlarged_beyond_the_limit(bank: SourceBank) -> None:
    """Half-light radii are 6.2 and 3.6 pixels: at 0.05" a pixel the galaxies serve sizes up to 0.31" and 0.18"."""
    prior, table = load_prior("v1_wide"), drawn("v1_wide", 300)
    limit = BankSources(bank, 0.05, catalogue_colours=False)
    real = limit.draw(table, prior, 7)
    size, stamps = real.column("src_re_arcsec").to_numpy(), real.column("src_stamp_id").to_pylist()
    large, small = 0.05 * bank.half_light_px
    assert {stamp for stamp, re in zip(stamps, size, strict=True) if re > large} == {None}
    assert {stamp for stamp, re in zip(stamps, size, strict=True) if small < re <= large} == {"one"}
    assert {stamp for stamp, re in zip(stamps, size, strict=True) if re <= small} == {"one", "two"}
    free = BankSources(bank, catalogue_colours=False).draw(table, prior, 7)
    gained = real.column("log_prior").to_numpy() - free.column("log_prior").to_numpy()
    np.testing.assert_allclose(gained[(size > small) & (size <= large)], np.log(2.0))
    np.testing.assert_allclose(gained[size <= small], 0.0, atol=1e-12)
    reasons = limit.faults(real)
    assert [reason is not None for reason in reasons] == (size > large).tolist()
    assert str(reasons[int(size.argmax())]).startswith("'src_re_arcsec' must be at most 0.3")


def bank_params(path: Path, **changes: object) -> dict[str, object]:
    return {"path": str(path), "catalogue_colours": True, "max_pixel_arcsec": None, "cleaning": None, **changes}


@pytest.mark.usefixtures("whole_stage")
def test_a_grid_of_real_galaxies(bank: SourceBank, tmp_path: Path) -> None:
    banks.write_bank(tmp_path / "bank.h5", bank)
    chosen = bank_params(tmp_path / "bank.h5")
    out = run(planned(real_sources=chosen))
    assert set(out.column("status").to_pylist()) == {"scored"}
    assert set(out.column("src_model").to_pylist()) == {"real"}
    assert set(out.column("src_stamp_id").to_pylist()) == {"one", "two"}
    one = np.array(out.column("src_stamp_id").to_pylist()) == "one"
    np.testing.assert_allclose(out.column("src_g_minus_r").to_numpy()[one], 1.1)
    assert (out.column("arc_snr").to_numpy() > 0).all()
    assert run(planned(real_sources=chosen, batch_size=7)).equals(out)


def test_the_grid_id_follows_the_galaxies_not_their_file(bank: SourceBank, tmp_path: Path) -> None:
    def grid_id(name: str, **changes: object) -> str:
        return planned(real_sources=bank_params(tmp_path / name, **changes)).grid_id

    for name, content in (("a.h5", bank), ("b.h5", bank), ("c.h5", gaussian_bank(sigma_px=3.1))):
        banks.write_bank(tmp_path / name, content)
    assert grid_id("a.h5") == grid_id("b.h5")
    others = {
        grid_id("c.h5"), grid_id("a.h5", catalogue_colours=False), grid_id("a.h5", max_pixel_arcsec=0.05),
        planned().grid_id,
    }  # fmt: skip
    assert len(others | {grid_id("a.h5")}) == 5


@pytest.mark.usefixtures("whole_stage")
def test_injections_that_no_galaxy_serves_fail_alone_in_the_grid(bank: SourceBank, tmp_path: Path) -> None:
    banks.write_bank(tmp_path / "bank.h5", bank)
    real = bank_params(tmp_path / "bank.h5", max_pixel_arcsec=0.03)
    out = run(planned(real_sources=real))
    served = out.column("src_re_arcsec").to_numpy() <= 0.03 * bank.half_light_px.max()
    assert served.any()
    assert not served.all()
    assert [status == "scored" for status in out.column("status").to_pylist()] == served.tolist()


def test_the_grid_says_which_catalogue_or_images_are_missing(real_data: Path) -> None:
    cleaning = {"min_snr": 20.0, "psf_correction": None}
    path = real_data / COSMOS.with_name("real_galaxy_catalog_23.5_example.fits")
    with pytest.raises(DataError, match=r"real_galaxy_images\.fits, which is not in the same folder"):
        planned(real_sources=bank_params(path, cleaning=cleaning))
    with pytest.raises(DataError, match=r"absent\.h5 is not a source bank"):
        planned(real_sources=bank_params(Path("absent.h5")))
    with pytest.raises(DataError, match=r"absent\.fits is not a RealGalaxyCatalog"):
        planned(real_sources=bank_params(Path("absent.fits"), cleaning=cleaning))


@pytest.mark.usefixtures("whole_stage")
def test_a_grid_of_the_real_cosmos_catalogue(real_data: Path) -> None:
    cleaning = {"min_snr": 20.0, "psf_correction": {"fwhm_arcsec": 0.06, "max_amplification": 5.0}}
    real = bank_params(real_data / COSMOS, cleaning=cleaning, max_pixel_arcsec=0.06)
    out = run(planned(prior="v1", real_sources=real))
    good = out.filter(pa.compute.equal(out.column("status"), "scored"))
    assert good.num_rows > 0.9 * out.num_rows
    assert len(set(good.column("src_stamp_id").to_pylist())) > 10
    assert (good.column("magnification").to_numpy() > 0.5).all()
