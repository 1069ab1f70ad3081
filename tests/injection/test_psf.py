"""PSFs: profiles, transforms, what the pixel does, kernels of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from injection.engine import render
from injection.optics import declared, profiles
from injection.optics.psf import Psf
from lake.errors import DataError, ParameterError
from lake.sky.photometry import sigma_from_psfdepth
from lake.sky.survey import PIXEL_SCALE_ARCSEC as SCALE
from lake.sky.survey import SURVEY
from tests.injection.scenes import IMAGES, REFERENCE, rows

MODELS = [
    Psf.gaussian([[0.9, 1.2, 1.8]], includes_pixel=True, imaging=SURVEY),
    Psf.moffat([[0.9, 1.2, 1.8]], 3.5, includes_pixel=True, imaging=SURVEY),
    Psf.moffat([[0.9, 1.2, 1.8]], 2.6, includes_pixel=True, imaging=SURVEY),
    Psf.moffat([[0.9, 1.2, 1.8]], [2.96, 2.84, 2.69], includes_pixel=True, imaging=SURVEY),
]


def profile(fwhm: NDArray[np.float64], beta: float, radius: Any) -> NDArray[np.float64]:
    """Surface brightness of a Gaussian (infinite beta) or Moffat of unit flux."""
    if np.isinf(beta):
        variance = fwhm**2 / (8 * np.log(2))
        return np.exp(-0.5 * radius**2 / variance) / (2 * np.pi * variance)
    scale = profiles.moffat_scale(fwhm, beta)
    return (beta - 1) / (np.pi * scale**2) * (1 + (radius / scale) ** 2) ** -beta


def brightness(psf: Psf, radius: Any) -> NDArray[np.float64]:
    """Surface brightness (batch, band) of the bands' profiles at a radius, one for all or (batch, band)."""
    radii = np.broadcast_to(radius, psf.fwhm_arcsec.shape)
    values = [profile(band.fwhm_arcsec, band.beta, at) for band, at in zip(psf.bands, radii.T, strict=True)]
    return np.stack(values, axis=1)


def star(psf: Psf, pixels: int = 101) -> NDArray[np.float32]:
    """A unit point source on the central pixel's centre, as a pixel-integrated image, convolved."""
    image = np.zeros((1, pixels, pixels), np.float32)
    image[0, pixels // 2, pixels // 2] = 1.0
    return render.convolve(image, psf, np.ones((1, 3)))[0]


@pytest.mark.parametrize("fwhm", [1.2, 1.8, 3.0])
def test_convolution_is_exact_to_single_precision(fwhm: float) -> None:
    """Wide PSFs on sharp light: a response that did not vanish would leave the light itself. Moffat wings wrap."""
    rng = np.random.default_rng(5)
    image = np.zeros((1, 101, 101), np.float32)
    image[0, 30:70, 30:70] = rng.exponential(size=(40, 40)) ** 3
    wide = np.pad(image[0].astype(np.float64), 100)
    gaussian = Psf.gaussian([[fwhm] * 3], includes_pixel=False, imaging=SURVEY)
    ours = render.convolve(image, gaussian, np.ones((1, 3)))[0, 1]
    truth = gaussian_filter(wide, fwhm / SCALE / np.sqrt(8 * np.log(2)), truncate=12)[100:201, 100:201]
    np.testing.assert_allclose(ours, truth, atol=1e-6 * truth.max())
    moffat = Psf.moffat([[fwhm] * 3], 3.5, includes_pixel=False, imaging=SURVEY)
    size = len(wide)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)) / SCALE
    z = 2 * np.pi * profiles.moffat_scale(fwhm, 3.5) * frequency
    truth = np.fft.irfft2(np.fft.rfft2(wide) * np.exp(-z) * (1 + z + z**2 / 3), s=wide.shape)[100:201, 100:201]
    ours = render.convolve(image, moffat, np.ones((1, 3)))[0, 1]
    np.testing.assert_allclose(ours, truth, atol=1e-5 * truth.max())


@pytest.mark.parametrize("psf", MODELS)
def test_profiles_have_unit_flux_and_their_fwhm(psf: Psf) -> None:
    for band in range(3):
        flux = quad(lambda r, band=band: 2 * np.pi * r * brightness(psf, r)[0, band], 0, np.inf)[0]
        np.testing.assert_allclose(flux, 1.0, rtol=1e-6)
        half = brightness(psf, psf.fwhm_arcsec / 2)[0, band]
        np.testing.assert_allclose(half, brightness(psf, 0.0)[0, band] / 2, rtol=1e-12)


@pytest.mark.parametrize("psf", MODELS)
def test_modulation_is_the_transform_of_the_profile(psf: Psf) -> None:
    from scipy.special import j0

    for k in (0.1, 0.4):
        for band in range(3):
            found = quad(
                lambda r, band=band, k=k: 2 * np.pi * r * j0(2 * np.pi * k * r) * brightness(psf, r)[0, band],
                0, 60, limit=500,
            )[0]  # fmt: skip
            part = psf.bands[band]
            modulation = profiles.transform(part.fwhm_arcsec, part.beta, k)
            np.testing.assert_allclose(modulation, found, atol=3e-4)


def test_modulation_of_the_survey_moffat_is_elementary() -> None:
    z = 2 * np.pi * profiles.moffat_scale(1.2, 3.5) * 0.37
    found = profiles.transform(1.2, 3.5, 0.37)
    np.testing.assert_allclose(found, np.exp(-z) * (1 + z + z * z / 3), rtol=1e-12)


@pytest.mark.parametrize("psf", MODELS)
def test_noise_equivalent_area_is_the_integral(psf: Psf) -> None:
    for band in range(3):
        square = quad(lambda r, band=band: 2 * np.pi * r * brightness(psf, r)[0, band] ** 2, 0, np.inf)[0]
        width = np.sqrt(8 * np.log(2) / (4 * np.pi * square))
        np.testing.assert_allclose(psf.fwhm_nea_arcsec[0, band], width, rtol=1e-6)


BETAS = [2.96, 2.84, 2.69]
GAUSSIAN = [np.inf] * 3


def effective(psf: Psf, row: int, band: int) -> NDArray[np.float64]:
    """The pixel-sampled effective PSF of a star off its pixel's centre, by astropy's profiles, unit sum."""
    from astropy.modeling.models import Gaussian2D, Moffat2D

    fwhm, fine = psf.fwhm_arcsec[row, band] / SCALE, 1 if psf.bands[band].includes_pixel else 9
    place = ((np.arange(121 * fine) + 0.5) / fine - 0.5) - 60
    y, x = place[:, None] - 0.31, place - 0.17
    beta = psf.bands[band].beta
    if np.isfinite(beta):
        values = Moffat2D(gamma=fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1)), alpha=beta)(x, y)
    else:
        values = Gaussian2D(x_stddev=fwhm / 2.354820045, y_stddev=fwhm / 2.354820045)(x, y)
    pixels = values.reshape(121, fine, 121, fine).mean(axis=(1, 3))
    return np.asarray(pixels / pixels.sum())


@pytest.mark.parametrize("includes_pixel", [True, False])
@pytest.mark.parametrize("betas", [BETAS, GAUSSIAN])
def test_a_psf_of_a_psfsize_has_its_noise_area_as_the_survey_sums_it(betas: list[float], includes_pixel: bool) -> None:
    """psfsize = 2.3548 / (2 sqrt(pi)) / sqrt(sum p^2) of the pixel-sampled effective PSF."""
    psf = Psf.of_area([[0.8, 1.2, 1.8], [1.4, 1.0, 0.9]], betas, includes_pixel, SURVEY)
    for row, band in np.ndindex(2, 3):
        norm = np.sqrt((effective(psf, row, band) ** 2).sum())
        psfsize = 2.354820045 / (2 * np.sqrt(np.pi)) / norm * SCALE
        np.testing.assert_allclose(psfsize, psf.fwhm_nea_arcsec[row, band], rtol=1e-3)
    again = Psf.moffat(psf.fwhm_arcsec, betas, includes_pixel, SURVEY)
    np.testing.assert_allclose(again.fwhm_nea_arcsec, psf.fwhm_nea_arcsec, rtol=1e-5)


def test_the_fwhm_of_a_moffat_is_not_its_psfsize() -> None:
    """A Moffat of beta 3.5 is 1.2325 times narrower than the Gaussian of its noise area."""
    psf = Psf.of_area([[1.2325] * 3], 3.5, includes_pixel=True, imaging=SURVEY)
    np.testing.assert_allclose(psf.fwhm_arcsec, 1.0, rtol=1e-4)
    np.testing.assert_array_equal(psf.fwhm_nea_arcsec, 1.2325)
    image = np.tile(effective(psf, 0, 0)[10:111, 10:111], (1, 3, 1, 1))
    shown = Psf.from_image(image / image[0, 0].sum(), includes_pixel=True, imaging=SURVEY)
    np.testing.assert_allclose(shown.fwhm_nea_arcsec, 1.2325, rtol=1e-3)
    assert np.isnan(shown.fwhm_arcsec).all()


def test_an_image_of_the_optical_psf_is_as_wide_as_the_pixel_makes_it() -> None:
    """A Gaussian of 1.4 pixel under a pixel: its area by the variances, which a pixel's shape raises by 1/12."""
    y, x = np.mgrid[-30:31, -30:31]
    image = np.exp(-(x**2 + y**2) / (2 * 1.4**2)) / (2 * np.pi * 1.4**2)
    psf = Psf.from_image(np.tile(image / image.sum(), (1, 3, 1, 1)), includes_pixel=False, imaging=SURVEY)
    np.testing.assert_allclose(psf.fwhm_nea_arcsec, 2.3548 * np.sqrt(1.4**2 + 1 / 12) * SCALE, rtol=1e-3)


def test_widths_that_no_optical_profile_has_fail_alone() -> None:
    psf = Psf.of_area([[1.2, 1.2, 1.2], [0.1, 1.2, 1.2]], BETAS, includes_pixel=False, imaging=SURVEY)
    assert np.isfinite(psf.fwhm_arcsec).all(axis=1).tolist() == [True, False]
    reasons = render.render_arcs(rows({}, {}), psf, 11).reasons
    assert reasons[0] is None
    assert "'psf fwhm_arcsec' must be positive and finite in every band" in str(reasons[1])


def test_survey_fwhm_ratios() -> None:
    table = pa.table({"psfsize_r": [1.0, 2.0], "psfsize_z": [None, 1.5]})
    np.testing.assert_allclose(declared.widths(table, SURVEY), [[1.05, 1.0, 0.94], [2.1, 2.0, 1.5]])


@pytest.mark.parametrize("psf", MODELS)
def test_kernels_have_unit_sum_and_are_centred(psf: Psf) -> None:
    image = star(psf).astype(float)
    y, x = np.mgrid[-50:51, -50:51]
    for band in image:
        np.testing.assert_allclose(band.sum(), 1.0, atol=3e-3)
        np.testing.assert_allclose((band * x).sum(), 0.0, atol=1e-4)
        np.testing.assert_allclose((band * y).sum(), 0.0, atol=1e-4)


def test_gaussian_second_moments_add_the_pixel_where_it_is_not_included() -> None:
    y, _ = np.mgrid[-50:51, -50:51]
    sigma2 = (np.array([1.0, 1.4, 1.8]) / SCALE) ** 2 / (8 * np.log(2))
    plain = star(Psf.gaussian([[1.0, 1.4, 1.8]], includes_pixel=False, imaging=SURVEY)).astype(float)
    np.testing.assert_allclose((plain * y**2).sum(axis=(1, 2)), sigma2, rtol=1e-3)
    deconvolved = star(Psf.gaussian([[1.0, 1.4, 1.8]], includes_pixel=True, imaging=SURVEY)).astype(float)
    np.testing.assert_allclose((deconvolved * y**2).sum(axis=(1, 2)), sigma2 - 1 / 12, rtol=1e-3)


def test_the_pixel_acts_once_under_a_psf_that_includes_it() -> None:
    """A Gaussian of 0.7 pixel: its true peak is that of the sum of variances, lower where the pixel acts on it too."""
    fwhm, sigma = 0.9, 0.7
    variance = sigma**2 + (fwhm / SCALE) ** 2 / (8 * np.log(2))
    image = _gaussian(sigma)
    once = render.convolve(image, Psf.gaussian([[fwhm] * 3], includes_pixel=True, imaging=SURVEY), np.ones((1, 3)))[
        0, 1
    ].max()
    np.testing.assert_allclose(once, 1 / (2 * np.pi * variance), rtol=2e-3)
    also = render.convolve(image, Psf.gaussian([[fwhm] * 3], includes_pixel=False, imaging=SURVEY), np.ones((1, 3)))[
        0, 1
    ].max()
    np.testing.assert_allclose(also, 1 / (2 * np.pi * (variance + 1 / 12)), rtol=2e-3)


def _gaussian(sigma: float) -> NDArray[np.float32]:
    """A Gaussian of unit flux in the stamp's centre, pixel-integrated; sigma in pixels."""
    from scipy.special import erf

    profile = np.diff(0.5 * erf((np.arange(102) - 50.5) / (np.sqrt(2) * sigma)))
    return (profile[:, None] * profile[None, :]).astype(np.float32)[None]


def test_moffat_kernel_agrees_with_the_reference() -> None:
    entry = REFERENCE["analytic"]["psf_moffat35_fwhm1p2"]
    assert IMAGES["psf_fwhm1p2"][25, 25] == pytest.approx(entry["kernel_center"])
    ours = star(Psf.moffat([[1.2] * 3], 3.5, includes_pixel=False, imaging=SURVEY))[1]
    # the reference's kernel is a mean over each pixel, ours the profile at its centre
    np.testing.assert_allclose(ours[50, 50], entry["kernel_center"], rtol=0.03)


@pytest.mark.parametrize("size", [5, 63, 101, 151, 251])
def test_kernels_of_any_size_convolve_like_scipy(size: int) -> None:
    rng = np.random.default_rng(size)
    kernel = rng.random((1, 3, size, size))
    kernel /= kernel.sum(axis=(2, 3), keepdims=True)
    image = rng.random((1, 61, 61)).astype(np.float32)
    ours = render.convolve(
        image, Psf.from_image(kernel, includes_pixel=False, imaging=SURVEY), np.array([[1.0, 2.0, 3.0]])
    )
    for band in range(3):
        full = fftconvolve(image[0], kernel[0, band])
        middle = full[size // 2 : size // 2 + 61, size // 2 : size // 2 + 61]
        np.testing.assert_allclose(ours[0, band], (band + 1) * middle, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 50, 50), (1, 3, 51, 49), (1, 3, 0, 0), (3, 51, 51)])
def test_even_empty_or_flat_kernels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match="'psf image' must be"):
        Psf.from_image(np.ones(shape), includes_pixel=True, imaging=SURVEY)


def test_sums_are_normalised_and_recorded_or_refused() -> None:
    kernel = np.broadcast_to(IMAGES["psf_fwhm1p2"], (1, 3, 51, 51))
    psf = Psf.from_image(kernel * 1.008, includes_pixel=True, imaging=SURVEY)
    for band in psf.bands:
        assert band.image is not None
        assert band.sums is not None
        np.testing.assert_allclose(band.image.sum(axis=(1, 2)), 1.0)
        np.testing.assert_allclose(band.sums, 1.008)
    with pytest.raises(ParameterError, match="sum within 1 %"):
        Psf.from_image(kernel * 1.02, includes_pixel=True, imaging=SURVEY)
    broken = np.array(kernel)
    broken[0, 0, 3, 3] = np.nan
    with pytest.raises(DataError, match="must be finite"):
        Psf.from_image(broken, includes_pixel=True, imaging=SURVEY)


def test_kernels_off_centre_are_refused() -> None:
    kernel = np.array(np.broadcast_to(IMAGES["psf_fwhm1p2"], (1, 3, 51, 51)))
    kernel[0, 1] = np.roll(kernel[0, 1], 1, axis=0)
    with pytest.raises(
        ParameterError, match=r"'psf image' must be centred on its middle pixel within 0\.5 pixel, got 0\.99"
    ):
        Psf.from_image(kernel, includes_pixel=True, imaging=SURVEY)


def test_bad_profiles_are_refused() -> None:
    with pytest.raises(ParameterError, match="'psf_moffat_beta' must be above 1"):
        Psf.moffat([[1.0] * 3], 1.0, includes_pixel=True, imaging=SURVEY)
    with pytest.raises(ParameterError, match="'psf fwhm_arcsec' must be"):
        Psf.gaussian([1.0], includes_pixel=True, imaging=SURVEY)


@given(fwhm=st.floats(0.7, 2.5))
def test_convolution_conserves_flux(fwhm: float) -> None:
    image = np.zeros((1, 101, 101), np.float32)
    image[0, 40:60, 45:55] = 1.0
    out = render.convolve(
        image, Psf.gaussian([[fwhm] * 3], includes_pixel=False, imaging=SURVEY), np.array([[1.0, 2.0, 0.5]])
    )
    np.testing.assert_allclose(out.sum(axis=(2, 3))[0], [200, 400, 100], rtol=1e-4)


def test_coadd_psfs_of_the_survey_are_taken(real_data: Path) -> None:
    from astropy.io import fits

    file = real_data / "cutouts" / "pysersic_dr9_image_invvar_psf" / "copsf_59.1067_-30.4848.fits"
    with fits.open(file) as planes:
        images = np.stack([plane.data for plane in planes if plane.data is not None])[None]
    psf = Psf.from_image(images, includes_pixel=True, imaging=SURVEY)
    assert images.shape == (1, 3, 63, 63)
    assert ((psf.fwhm_nea_arcsec > 0.7) & (psf.fwhm_nea_arcsec < 2.5)).all()
    seen = star(psf).astype(float)
    np.testing.assert_allclose(seen.sum(axis=(1, 2)), 1.0, atol=0.02)


def test_a_coadd_psf_given_by_psfsize_and_beta_has_its_peak(real_data: Path) -> None:
    """What a catalogue tells of a real DR9 coadd's PSF, its noise area, gives the peak of the image within 3 %."""
    from astropy.io import fits

    file = real_data / "cutouts" / "pysersic_dr9_image_invvar_psf" / "copsf_59.1067_-30.4848.fits"
    with fits.open(file) as planes:
        images = np.stack([plane.data for plane in planes if plane.data is not None]).astype(float)
    psfsize = 2.3548 * np.sqrt(1 / (images**2).sum(axis=(1, 2)) / (4 * np.pi)) * SCALE
    psf = Psf.of_area(psfsize[None], BETAS, includes_pixel=True, imaging=SURVEY)
    peak = brightness(psf, 0.0)[0] * SCALE**2
    np.testing.assert_allclose(peak, images.max(axis=(1, 2)), rtol=0.03)
    too_wide = Psf.moffat(psfsize[None], 3.5, includes_pixel=True, imaging=SURVEY)
    assert (brightness(too_wide, 0.0)[0] * SCALE**2 / images.max(axis=(1, 2)) < 0.7).all()


def test_a_real_brick_has_the_noise_of_its_psfdepth(real_data: Path) -> None:
    """invvar / psfdepth is the noise area in pixels: 44 in this brick, and that of psfsize as a Gaussian's FWHM."""
    from astropy.io import fits

    stem = real_data / "cutouts" / "decals_coadd_z_obiwan_history"
    galaxies = fits.getdata(stem / "tractor-1238p245.fits")
    invvar, depth = (fits.getdata(stem / f"legacysurvey-1238p245-{kind}-z.fits.fz") for kind in ("invvar", "depth"))
    seen = (invvar > 0) & (depth > 0)
    assert seen.sum() > 30_000
    np.testing.assert_allclose(galaxies["psfdepth_z"], np.median(depth[seen]), rtol=1e-5)
    sigma = sigma_from_psfdepth(galaxies["psfdepth_z"], galaxies["psfsize_z"], SCALE)
    np.testing.assert_allclose(np.median(invvar[seen]) * sigma**2, 1.0, atol=0.02)
    np.testing.assert_allclose(np.median(invvar[seen] / depth[seen]), 44.04, atol=0.01)
