"""Measurements of stamps against analytic galaxies."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.results.features import (
    half_light_radius,
    normalisation_statistics,
    radial_profile,
    stamp_features,
    texture_features,
)
from lake.errors import ParameterError
from lake.sky.survey import SURVEY
from tests.analysis.galaxies import make_stamps

FLUX = np.array([[10.0, 20.0, 40.0], [1.0, 2.0, 3.0]])


@pytest.fixture
def stamps():
    return make_stamps(np.random.default_rng(0), FLUX, [4.0, 6.0], noise=0.0)


def test_flux_and_colour(stamps, diagnose):
    table = stamp_features(stamps, SURVEY, diagnose)
    assert 10 ** table["trivial/log_flux_r"].to_numpy() == pytest.approx(FLUX[:, 1], rel=1e-3)
    assert table["trivial/g_minus_r"].to_numpy() == pytest.approx(2.5 * np.log10(FLUX[:, 1] / FLUX[:, 0]), abs=1e-3)
    core = 1 - np.exp(-(8.0**2) / (2 * np.array([4.0, 6.0]) ** 2))
    pixels = np.sum(np.hypot(*(np.indices((101, 101)) - 50)) < 8)
    assert table["trivial/core_mean_r"].to_numpy() * pixels == pytest.approx(FLUX[:, 1] * core, rel=0.03)


def test_half_light_radius_of_a_gaussian(stamps):
    """A two-dimensional Gaussian holds half of its flux within sigma * sqrt(2 ln 2)."""
    found = half_light_radius(stamps[:, 1].astype(float), 30.0)
    assert found == pytest.approx(np.array([4.0, 6.0]) * np.sqrt(2 * np.log(2)), rel=0.05)


def test_profile_ignores_missing_pixels(stamps):
    whole = radial_profile(stamps, 10)
    holed = stamps.copy()
    holed[:, :, :, 60:63] = np.nan
    assert radial_profile(holed, 10)[:, :, 0] == pytest.approx(whole[:, :, 0], rel=1e-6)
    assert np.isfinite(radial_profile(holed, 10)).all()
    assert (np.diff(whole[:, 1, :5]) < 0).all()


def test_normalisation_statistics_of_noise():
    sky = np.random.default_rng(1).normal(0.5, 0.1, (2, 3, 101, 101)).astype(np.float32)
    median, mad = normalisation_statistics(sky, (32.5, 45.0))
    assert median == pytest.approx(0.5, abs=0.01)
    assert mad == pytest.approx(0.06745, abs=0.005)
    sky[0, 1] = np.nan
    assert normalisation_statistics(sky, (32.5, 45.0))[0][0, 1] == 0.0


def test_batches_change_nothing(stamps, diagnose):
    whole = stamp_features(stamps, SURVEY, diagnose)
    parts = [stamp_features(part, SURVEY, diagnose) for part in (stamps[:1], stamps[1:])]
    assert whole.to_numpy() == pytest.approx(np.concatenate(parts))


def test_texture_does_not_depend_on_the_flux(stamps):
    assert texture_features(stamps * 7) == pytest.approx(texture_features(stamps), rel=1e-3, abs=1e-3)


def test_bad_stamps_are_refused(diagnose):
    with pytest.raises(ParameterError, match="'stamps' must be"):
        stamp_features(np.zeros((2, 101, 101), np.float32), SURVEY, diagnose)
    with pytest.raises(ParameterError, match="'annulus_pixels' must be inside stamps"):
        normalisation_statistics(np.zeros((1, 3, 33, 33), np.float32), (32.5, 45.0))


def test_statistics_of_real_candidates(real_data, diagnose):
    """Three DR10 lens candidates carry the r-band median and MAD that their own pipeline measured."""
    files = sorted((real_data / "cutouts" / "dr10_lens_candidates").glob("*.npz"))
    assert len(files) == 3
    for file in files:
        with np.load(file) as archive:
            stamp = archive["cutout"].transpose(2, 0, 1)[None]
            expected = (float(archive["meta_median_r"]), float(archive["meta_mad_r"]))
        assert np.isfinite(stamp_features(stamp, SURVEY, diagnose).to_numpy()).all()
        median, mad = normalisation_statistics(stamp, (0.0, 100.0))
        assert (median[0, 1], mad[0, 1]) == pytest.approx(expected, rel=1e-4)
