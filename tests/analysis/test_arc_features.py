"""Features of arcs on images whose answer is known: a wave, a ring, noise."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.comparisons.arc_features import (
    SCALES_PX,
    Ring,
    anisotropy,
    arc_features,
    colour_coherence,
    gabor_features,
    high_frequency_power,
    local_variance,
)
from injection.experiment.arc_finder import Subtracted
from lake.sky.survey import SURVEY

SIDE = 37
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
RADIUS = np.hypot(X, Y)
WEIGHT = Ring.of(SIDE, SURVEY).weight
EVERYWHERE = np.ones((SIDE, SIDE))


def wave(wavelength, angle=0.0):
    return np.sin(2 * np.pi * (np.cos(angle) * X + np.sin(angle) * Y) / wavelength)[None]


def noise(count=40, seed=0):
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))


def ring(radius=8.0, width=1.5):
    return np.exp(-0.5 * ((RADIUS - radius) / width) ** 2)[None]


def test_power_lies_at_the_frequency_of_a_wave():
    assert high_frequency_power(wave(37 / 4))[0] < 1e-6
    assert high_frequency_power(wave(37 / 12))[0] > 1 - 1e-6
    frequency = np.fft.fftfreq(SIDE)
    share = np.mean(np.hypot(frequency[:, None], frequency) > 0.2)
    assert high_frequency_power(noise()).mean() == pytest.approx(share, abs=0.01)


def test_a_wave_has_one_direction_and_noise_has_none():
    assert anisotropy(wave(8.0, 0.7), WEIGHT)[0] > 0.95
    assert anisotropy(ring(), WEIGHT)[0] > 0.8, "an arc has a direction everywhere, though another one in each place"
    assert anisotropy(noise(), WEIGHT).mean() < 0.3


def test_light_of_one_colour_is_coherent():
    assert colour_coherence(ring(), 3.0 * ring(), WEIGHT)[0] == pytest.approx(1.0)
    assert colour_coherence(ring(), -ring(), WEIGHT)[0] == pytest.approx(-1.0)
    assert abs(colour_coherence(noise(), noise(seed=1), WEIGHT).mean()) < 0.05


def test_structure_wider_than_a_window_has_little_local_variance():
    assert local_variance(wave(60.0), EVERYWHERE)[0] < 0.2
    assert local_variance(noise(), WEIGHT).mean() == pytest.approx(24 / 25, abs=0.03)
    assert local_variance(wave(2.5), WEIGHT)[0] > 0.8


@pytest.mark.parametrize("place", range(len(SCALES_PX)))
def test_gabor_filters_find_scale_and_direction(place):
    wavelength = SCALES_PX[place]
    found = gabor_features(wave(wavelength, np.pi / 3))
    shares = [found[f"gabor_{scale:g}px"][0] for scale in SCALES_PX]
    assert int(np.argmax(shares)) == place
    assert sum(shares) == pytest.approx(1.0)
    assert found[f"gabor_{wavelength:g}px_direction"][0] > 0.6
    assert gabor_features(noise())[f"gabor_{wavelength:g}px_direction"].mean() < 0.4
    assert gabor_features(ring())[f"gabor_{wavelength:g}px_direction"][0] == pytest.approx(1 / 6, abs=0.06)


def test_features_do_not_depend_on_brightness_and_know_their_limits():
    arcs = (ring() * (X > 0) + 0.02 * noise(3))[:, None] * np.array([1.0, 0.7, 0.4])[:, None, None]

    def features(residual, sigma=(1.0, 1.0, 1.0)):
        empty = np.zeros((3, SIDE, SIDE), dtype=bool)
        return arc_features(Subtracted(residual, empty, np.asarray(sigma), slice(0, SIDE)), SURVEY)

    table = features(arcs)
    assert len(table.columns) == 4 + 2 * len(SCALES_PX)
    np.testing.assert_allclose(features(50.0 * arcs), table, rtol=1e-9)
    holed = arcs.copy()
    holed[:, :, 0, :3] = np.nan
    np.testing.assert_allclose(features(holed), table, rtol=1e-6)
    lost = features(np.stack([arcs[0], arcs[1], 0.0 * arcs[2]]), (1.0, np.nan, 1.0))
    assert lost.isna().all(axis=1).tolist() == [False, True, True]
