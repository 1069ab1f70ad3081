"""Arcs measured on stamps: known light comes back, plain galaxies have none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from injection.experiment.arc_finder import FOUND_SNR, find_arcs
from lake.sky.survey import PIXEL_SCALE_ARCSEC, SURVEY

PIXELS, NOISE = 101, 0.01
ANNULUS = (32.5, 45.0)
_Y, _X = np.mgrid[-50:51, -50:51] * PIXEL_SCALE_ARCSEC


def galaxy(q: float = 0.7, angle: float = 0.5, flux: float = 30.0) -> NDArray[np.float64]:
    """An elliptical exponential seen through no PSF, (y, x), of the given flux."""
    u, v = np.cos(angle) * _X + np.sin(angle) * _Y, np.cos(angle) * _Y - np.sin(angle) * _X
    light = np.exp(-np.sqrt(q * u**2 + v**2 / q) / 0.8)
    return flux * light / light.sum()


def blob(x: float, y: float, flux: float, sigma: float = 0.5) -> NDArray[np.float64]:
    light = np.exp(-0.5 * ((_X - x) ** 2 + (_Y - y) ** 2) / sigma**2)
    return flux * light / light.sum()


def stamps(arc_flux_r: float, g_minus_r: float, count: int = 12) -> NDArray[np.float32]:
    """Red galaxies with two images of a source, 2" and 1.8" from the centre, and noise."""
    rng = np.random.default_rng(1)
    host, arc = galaxy(), blob(2.0, 0.0, 0.6) + blob(-1.0, 1.5, 0.4)
    bands = [0.3 * host + 10 ** (-0.4 * g_minus_r) * arc_flux_r * arc, host + arc_flux_r * arc, 2 * host]
    return (np.stack(bands) + rng.normal(0, NOISE, (count, 3, PIXELS, PIXELS))).astype(np.float32)


@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_snr_and_colour_of_known_arcs_come_back(colour: float) -> None:
    found = find_arcs(stamps(4.0, colour), ANNULUS, SURVEY)
    truth = 4.0 * np.sqrt(((blob(2.0, 0.0, 0.6) + blob(-1.0, 1.5, 0.4)) ** 2).sum()) / NOISE
    assert found.found.all()
    np.testing.assert_allclose(np.median(found.snr), truth, rtol=0.15)
    np.testing.assert_allclose(np.median(found.colour), colour, atol=0.2)
    assert np.std(found.colour) < 0.15


def test_a_smooth_galaxy_has_no_arc() -> None:
    found = find_arcs(stamps(0.0, 0.0), ANNULUS, SURVEY)
    assert not found.found.any()
    assert (found.snr < FOUND_SNR / 2).all()


def test_an_arc_is_found_whatever_the_masked_pixels_say_elsewhere() -> None:
    holed = stamps(4.0, 0.5)
    holed[:, :, 50:55, 30:36] = np.nan
    assert find_arcs(holed, ANNULUS, SURVEY).found.all()


def test_a_masked_arc_is_not_found() -> None:
    hidden = stamps(4.0, 0.5)
    hidden[:, :, (np.hypot(_X, _Y) > 1.0) & (np.hypot(_X, _Y) < 4.0)] = np.nan
    assert not find_arcs(hidden, ANNULUS, SURVEY).found.any()


def test_a_stamp_of_unknown_noise_is_not_measured() -> None:
    empty = stamps(4.0, 0.5, count=2)
    empty[0, :, np.hypot(_X, _Y) > 8.0] = np.nan
    found = find_arcs(empty, ANNULUS, SURVEY)
    assert np.isnan(found.snr[0])
    assert not found.found[0]
    assert found.found[1]
