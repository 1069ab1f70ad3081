"""Real galaxies as sources: cleaning, flux, lensing against an independent sum of rays, banks, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from injection import realsources, render
from injection.lens import Lens, source_position
from injection.priors import load_prior
from injection.psf import Psf
from injection.realsources import BankSources, SourceBank
from lake.errors import DataError
from lake.survey import PIXEL_SCALE_ARCSEC
from tests.injection.scenes import drawn, rows

STEP = 0.03


def gaussian_stamp(
    q: float = 0.5, angle: float = 0.4, sigma_px: float = 5.0, noise: float = 0.001
) -> NDArray[np.float32]:
    y, x = np.mgrid[-40:41, -40:41]
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    image = np.exp(-0.5 * (q * u**2 + v**2 / q) / sigma_px**2)
    return (image + np.random.default_rng(0).normal(0, noise, image.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def bank() -> SourceBank:
    stamps = {"one": gaussian_stamp(), "two": gaussian_stamp(q=0.9, sigma_px=3.0)}
    made, refused = realsources.make_bank(stamps, dict.fromkeys(stamps, 0.001), {"one": (1.1, 0.6)}, 10.0)
    assert not refused
    return made


def real_rows(**changes: object) -> object:
    return rows({"src_model": "real", "src_stamp_id": "one", "src_n": None, "src_q": None, **changes})


def test_cleaned_stamps_have_unit_flux_a_centre_and_a_radius(bank: SourceBank) -> None:
    for image in bank.images:
        np.testing.assert_allclose(image.sum(), 1.0, rtol=1e-5)
        assert (image[[0, -1]] == 0).all()
    np.testing.assert_allclose(bank.centres_px[0], 42.0, atol=0.1)
    np.testing.assert_allclose(bank.half_light_px[1], 3.0 * np.sqrt(2 * np.log(2)), rtol=0.02)


def test_neighbours_and_noise_are_masked() -> None:
    stamp = gaussian_stamp(q=1.0, sigma_px=3.0)
    stamp[5:9, 5:9] += 3.0
    cleaned = realsources.clean(stamp, 0.001, 10.0)
    assert not isinstance(cleaned, str)
    assert (cleaned[:14, :14] == 0).all()


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        (np.zeros((41, 41), np.float32), "nothing significant"),
        (np.full((41, 41), np.nan, np.float32), "not finite"),
        (gaussian_stamp(noise=0.001) * 0.001, "nothing significant|below"),
    ],
)
def test_useless_stamps_are_refused_with_a_reason(stamp: NDArray[np.float32], reason: str) -> None:
    import re

    found = realsources.clean(stamp, 0.01, 10.0)
    assert isinstance(found, str)
    assert re.search(reason, found)
    with pytest.raises(DataError, match="none of 1 source stamps can be used"):
        realsources.make_bank({"x": stamp}, {"x": 0.01}, {}, 10.0)


def test_unlensed_flux_is_one(bank: SourceBank) -> None:
    table = real_rows(lens_theta_e_arcsec=0.0, src_re_arcsec=0.4, src_pa_rad=0.7)
    images, _ = realsources.trace_real(table, bank, 101, render.STANDARD)
    np.testing.assert_allclose(images.sum(dtype=float), 1.0, rtol=2e-3)


@pytest.mark.parametrize("place", [(0.2, 0.1), (0.7, -0.5), (0.0, 0.0)])
def test_lensed_image_agrees_with_a_brute_sum_of_rays(bank: SourceBank, place: tuple[float, float]) -> None:
    table = real_rows(src_x_arcsec=place[0], src_y_arcsec=place[1], src_re_arcsec=0.3, src_pa_rad=0.7, lens_gamma1=0.04)
    ours, _ = realsources.trace_real(table, bank, 101, render.STANDARD)
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
    psf = Psf.gaussian(np.ones((3, 3)), includes_pixel=True)
    arcs = render.render_arcs(table, psf, 101, sources=BankSources(bank))
    assert arcs.reasons[:2] == [None, None]
    assert "'src_stamp_id' must be a galaxy of the bank, got 'nine'" in str(arcs.reasons[2])
    alone = render.render_arcs(table.slice(1, 1), psf.take([1]), 101, sources=BankSources(bank))
    np.testing.assert_array_equal(alone.images[0], arcs.images[1])
    without = render.render_arcs(table, psf, 101)
    assert "needs a bank" in str(without.reasons[1])


def test_drawing_real_sources(bank: SourceBank) -> None:
    prior, table = load_prior("v1"), drawn("v1", 200)
    real = realsources.with_real_sources(table, bank, prior, 5, catalogue_colours=True)
    assert set(real.column("src_stamp_id").to_pylist()) == {"one", "two"}
    assert real.column("src_n").null_count == 200
    one = np.array(real.column("src_stamp_id").to_pylist()) == "one"
    np.testing.assert_allclose(real.column("src_g_minus_r").to_numpy()[one], 1.1)
    np.testing.assert_array_equal(
        real.column("src_g_minus_r").to_numpy()[~one], table.column("src_g_minus_r").to_numpy()[~one]
    )
    assert np.isfinite(real.column("log_prior").to_numpy()).all()
    part = realsources.with_real_sources(table.slice(9, 1), bank, prior, 5, catalogue_colours=True)
    assert part.equals(real.slice(9, 1))


def test_banks_round_trip_through_hdf5(bank: SourceBank, tmp_path: Path) -> None:
    realsources.write_bank(tmp_path / "bank.h5", bank)
    back = realsources.read_bank(tmp_path / "bank.h5")
    assert back.ids == bank.ids
    for ours, theirs in zip(back.images, bank.images, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(back.colours, bank.colours)
    (tmp_path / "empty.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no source bank"):
        realsources.read_bank(tmp_path / "empty.h5")


def test_the_real_cosmos_catalogue(real_data: Path) -> None:
    folder = real_data / "sources" / "cosmos_btk"
    bank, refused = realsources.read_real_galaxy_catalog(folder / "real_galaxy_catalog_26_extension_example.fits", 20.0)
    assert len(bank.ids) + len(refused) == 100
    assert len(bank.ids) >= 50
    assert np.isfinite(bank.colours).any()
    table = realsources.with_real_sources(drawn("v1", 30), bank, load_prior("v1"), 1, catalogue_colours=True)
    arcs = render.render_arcs(
        table, Psf.moffat(np.full((30, 3), 1.2), 3.5, includes_pixel=True), 101, sources=BankSources(bank)
    )
    assert arcs.reasons == [None] * 30
    assert (arcs.magnification > 0.5).all()


def test_a_catalogue_without_its_images_is_a_clear_error(real_data: Path) -> None:
    with pytest.raises(DataError, match=r"real_galaxy_images\.fits, which does not exist"):
        realsources.read_real_galaxy_catalog(
            real_data / "sources" / "cosmos_btk" / "real_galaxy_catalog_23.5_example.fits", 20.0
        )
