"""psfsize, psfdepth and the noise per pixel."""

from __future__ import annotations

import numpy as np

from lake.sky import photometry


def test_depth_is_that_of_a_matched_filter() -> None:
    """The error of a PSF-weighted flux over many noise images, by the Gaussian that psfsize stands for."""
    rng = np.random.default_rng(2)
    sigma = 1.014 / 0.263 / 2.3548
    y, x = np.indices((61, 61)) - 30
    psf = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    flux = (rng.normal(0, 0.5, (4000, 61, 61)) * psf).sum(axis=(1, 2)) / (psf**2).sum()
    depth = photometry.psfdepth_from_sigma(0.5, 1.014, 0.263)
    np.testing.assert_allclose(flux.std(), depth**-0.5, rtol=0.04)
    np.testing.assert_allclose(photometry.sigma_from_psfdepth(depth, 1.014, 0.263), 0.5, rtol=1e-12)


def test_widths_and_areas_are_inverse() -> None:
    np.testing.assert_allclose(photometry.area_of_fwhm_nea(2.354820045), 4 * np.pi, rtol=1e-9)
    np.testing.assert_allclose(photometry.fwhm_nea_of_area(photometry.area_of_fwhm_nea([0.9, 1.8])), [0.9, 1.8])


def test_noise_is_unknown_without_depth_or_width() -> None:
    found = photometry.sigma_from_psfdepth([0.0, np.nan, 100.0, 100.0, 100.0], [1.0, 1.0, 0.0, np.nan, 1.0], 0.262)
    np.testing.assert_array_equal(np.isfinite(found), [False, False, False, False, True])
    assert np.isnan(photometry.psfdepth_from_sigma([0.0, np.nan], 1.0, 0.262)).all(), "no noise is no infinite depth"
