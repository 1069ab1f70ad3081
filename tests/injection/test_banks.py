"""Banks of real galaxies: cleaning, PSF correction, files, bad input."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from injection.config import PsfCorrection, RealSources, StampCleaning
from injection.galaxies import banks
from injection.galaxies.banks import SourceBank, Stamp
from injection.galaxies.cleaning import clean, corrected
from lake.errors import DataError, ParameterError
from tests.injection.scenes import COSMOS, gaussian_bank, gaussian_stamp

PIXEL = 0.03
CLEANING = StampCleaning(min_snr=10.0, psf_correction=None)


@pytest.fixture(scope="module")
def bank() -> SourceBank:
    return gaussian_bank()


def test_cleaned_stamps_have_unit_flux_a_centre_and_a_radius(bank: SourceBank) -> None:
    for image in bank.images:
        np.testing.assert_allclose(image.sum(), 1.0, rtol=1e-5)
        assert (image[[0, -1]] == 0).all()
    np.testing.assert_allclose(bank.centres_px[0], 42.0, atol=0.1)
    np.testing.assert_allclose(bank.half_light_px[1], 3.0 * np.sqrt(2 * np.log(2)), rtol=0.02)


def test_neighbours_and_noise_are_masked() -> None:
    stamp = gaussian_stamp(q=1.0, sigma_px=3.0)
    stamp[5:9, 5:9] += 3.0
    cleaned = clean(stamp, 0.001, CLEANING)
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
    found = clean(stamp, 0.01, CLEANING)
    assert isinstance(found, str)
    assert re.search(reason, found)
    with pytest.raises(DataError, match="none of 1 source stamps can be used"):
        banks.make_bank({"x": Stamp(stamp, 0.01)}, {}, CLEANING)


def test_banks_round_trip_through_hdf5(bank: SourceBank, tmp_path: Path) -> None:
    banks.write_bank(tmp_path / "bank.h5", bank)
    back = banks.read_bank(tmp_path / "bank.h5")
    assert back.ids == bank.ids
    for ours, theirs in zip(back.images, bank.images, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(back.colours, bank.colours)
    (tmp_path / "empty.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is not a source bank"):
        banks.read_bank(tmp_path / "empty.h5")


def test_a_bank_is_read_whatever_the_order_of_its_galaxies(tmp_path: Path) -> None:
    bank = gaussian_bank()
    turned = banks.SourceBank(
        bank.ids[::-1], bank.images[::-1], bank.centres_px[::-1], bank.half_light_px[::-1], bank.colours[::-1]
    )
    banks.write_bank(tmp_path / "bank.h5", turned)
    found = banks.read_bank(tmp_path / "bank.h5")
    assert found.ids == ("one", "two")
    np.testing.assert_array_equal(found.half_light_px, bank.half_light_px)


def test_banks_of_damaged_images_are_refused(bank: SourceBank, tmp_path: Path) -> None:
    banks.write_bank(tmp_path / "bank.h5", bank)
    with h5py.File(tmp_path / "bank.h5", "a") as file:
        file["images/one"][...] *= 2.0
    with pytest.raises(ParameterError, match=r"images/one' must be a finite image of unit sum"):
        banks.read_bank(tmp_path / "bank.h5")
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file.create_group("images")
    with pytest.raises(DataError, match="without galaxies"):
        banks.read_bank(tmp_path / "none.h5")


def test_the_digest_follows_pixels_and_colours(bank: SourceBank) -> None:
    assert gaussian_bank().digest == bank.digest
    assert gaussian_bank(colour=0.9).digest != bank.digest
    assert gaussian_bank(sigma_px=3.1).digest != bank.digest


def moments(image: NDArray[np.float64]) -> tuple[float, float]:
    """Gaussian-weighted sizes (pixels) along x and y about the middle: fits of a Gaussian, robust against ringing."""
    from scipy.optimize import curve_fit

    y, x = np.indices(image.shape) - (np.array(image.shape) // 2)[:, None, None]

    def model(_: Any, height: float, long: float, short: float) -> NDArray[np.float64]:
        return (height * np.exp(-0.5 * ((x / long) ** 2 + (y / short) ** 2))).ravel()

    found, _ = curve_fit(model, None, image.ravel(), p0=(image.max(), 4.0, 4.0))
    return abs(float(found[1])), abs(float(found[2]))


def psf_image(sigma_x: float, sigma_y: float) -> NDArray[np.float64]:
    y, x = np.mgrid[-20:21, -20:21]
    image = np.exp(-0.5 * ((x / sigma_x) ** 2 + (y / sigma_y) ** 2))
    return image / image.sum()


@pytest.mark.parametrize("true_px", [2.0, 4.0])
def test_psf_correction_recovers_the_size_and_roundness_of_a_gaussian(true_px: float) -> None:
    """HST's 0.1" (1.42 pixels), out of round by a fifth, gives way to 0.06" (0.85 pixels), round."""
    y, x = np.mgrid[-40:41, -40:41]
    truth = np.exp(-0.5 * (x**2 + y**2) / true_px**2)
    psf = psf_image(1.56, 1.29)
    seen = gaussian_filter(truth, (1.29, 1.56), truncate=8.0)
    found = corrected(seen, psf, PIXEL, PsfCorrection(fwhm_arcsec=0.06, max_amplification=10.0))
    expected = np.hypot(true_px, 0.06 / PIXEL / np.sqrt(8 * np.log(2)))
    before, after = moments(seen), moments(found)
    np.testing.assert_allclose(before, (np.hypot(true_px, 1.56), np.hypot(true_px, 1.29)), rtol=0.01)
    np.testing.assert_allclose(after, expected, rtol=0.01)
    np.testing.assert_allclose(found.sum(), seen.sum(), rtol=1e-6)


def test_psf_correction_amplifies_no_frequency_beyond_the_limit() -> None:
    noise = np.random.default_rng(3).normal(size=(81, 81))
    power = []
    for limit in (2.0, 10.0):
        correction = PsfCorrection(fwhm_arcsec=0.05, max_amplification=limit)
        found = corrected(noise, psf_image(1.42, 1.42), PIXEL, correction)
        power.append(found.std())
        assert found.std() < limit * noise.std()
    assert power[0] < power[1]


def test_cleaning_with_a_correction_makes_the_galaxy_smaller_and_keeps_its_flux() -> None:
    correction = PsfCorrection(fwhm_arcsec=0.05, max_amplification=5.0)
    stamp = gaussian_filter(gaussian_stamp(q=1.0, sigma_px=2.5, noise=0.0), 1.42).astype(np.float32)
    stamp += np.random.default_rng(1).normal(0, 0.001, stamp.shape).astype(np.float32)
    stamps = {"x": Stamp(stamp, 0.001, psf_image(1.42, 1.42), PIXEL)}
    left, _ = banks.make_bank(stamps, {}, CLEANING)
    exchanged, _ = banks.make_bank(stamps, {}, StampCleaning(min_snr=10.0, psf_correction=correction))
    factor = np.sqrt(2 * np.log(2))
    np.testing.assert_allclose(left.half_light_px[0], np.hypot(2.5, 1.42) * factor, rtol=0.02)
    np.testing.assert_allclose(exchanged.half_light_px[0], np.hypot(2.5, 0.71) * factor, rtol=0.02)
    np.testing.assert_allclose(exchanged.images[0].sum(dtype=float), 1.0, rtol=1e-5)
    with pytest.raises(DataError, match="needs the stamps' own PSFs"):
        clean(stamp, 0.001, StampCleaning(min_snr=10.0, psf_correction=correction))


def test_the_real_cosmos_catalogue_with_and_without_its_psf(real_data: Path) -> None:
    path = real_data / COSMOS
    bank, refused = banks.read_real_galaxy_catalog(path, StampCleaning(min_snr=20.0, psf_correction=None))
    assert len(bank.ids) + len(refused) == 100
    assert len(bank.ids) >= 50
    assert np.isfinite(bank.colours).any()
    correction = PsfCorrection(fwhm_arcsec=0.06, max_amplification=5.0)
    sharper, _ = banks.read_real_galaxy_catalog(path, StampCleaning(min_snr=20.0, psf_correction=correction))
    assert sharper.ids == bank.ids
    ratio = sharper.half_light_px / bank.half_light_px
    compact = bank.half_light_px < 5.0
    assert compact.sum() >= 5
    assert np.median(ratio[compact]) < 0.9
    assert 0.9 < np.median(ratio) < 0.99
    assert (np.abs(ratio - 1.0) < 0.35).all()


def test_a_catalogue_without_its_images_is_a_clear_error(real_data: Path) -> None:
    path = real_data / COSMOS
    with pytest.raises(DataError, match=r"real_galaxy_images\.fits, which is not in the same folder"):
        banks.read_real_galaxy_catalog(path.with_name("real_galaxy_catalog_23.5_example.fits"), CLEANING)


def test_a_correction_without_the_catalogues_psfs_is_a_clear_error(real_data: Path, tmp_path: Path) -> None:
    for name in ("real_galaxy_catalog_26_extension_example.fits", "real_galaxy_images_extension.fits"):
        shutil.copy(real_data / COSMOS.parent / name, tmp_path / name)
    cleaning = StampCleaning(min_snr=20.0, psf_correction=PsfCorrection(fwhm_arcsec=0.06, max_amplification=5.0))
    with pytest.raises(DataError, match=r"PSF_images_extension\.fits, which is not in the same folder"):
        banks.read_real_galaxy_catalog(tmp_path / COSMOS.name, cleaning)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "bank.csv"}, "'path' must be a catalogue"),
        ({"path": "bank.h5"}, "'cleaning' must be given for a catalogue and null for a bank"),
        ({"cleaning": None}, "'cleaning' must be given for a catalogue and null for a bank"),
        ({"max_pixel_arcsec": 0.0}, r"real_sources\.max_pixel_arcsec' must be"),
    ],
)
def test_bad_declarations_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    values = {
        "path": "catalogue.fits", "catalogue_colours": True, "max_pixel_arcsec": None,
        "cleaning": CLEANING.model_dump(),
    }  # fmt: skip
    with pytest.raises(ParameterError, match=message):
        RealSources.load({**values, **changes}, "grid.real_sources")
