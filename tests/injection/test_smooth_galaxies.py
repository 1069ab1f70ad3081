"""Galaxies that are subtracted leave their arcs: on rendered lenses whose arcs are known."""

from __future__ import annotations

import numpy as np
import pytest

from injection.experiment.arc_finder import arc_radii, measure_arcs, subtract_galaxies
from injection.experiment.smooth_galaxies import CORE_ARCSEC, without_galaxies
from lake.sky.survey import PIXEL_SCALE_ARCSEC, SURVEY

ANNULUS = (32.5, 45.0)
SIDE, NOISE = 101, 0.02
Y, X = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) * PIXEL_SCALE_ARCSEC
RADIUS, ANGLE = np.hypot(X, Y), np.arctan2(Y, X)
COLOUR = np.array([0.6, 1.0, 1.4])


def galaxy(q=0.8):
    """A galaxy with the wings of an early type, seen through a PSF: a Moffat profile."""
    return 3.0 * (1.0 + (q * X**2 + Y**2 / q) / 0.7**2) ** -1.8


def arc(radius=1.7, spread=0.9, centre=0.4):
    """A bright arc and its fainter counter-image."""
    bright = np.exp(-0.5 * ((RADIUS - radius) / 0.5) ** 2)
    turned = np.angle(np.exp(1j * (ANGLE - centre)))
    other = np.angle(np.exp(1j * (ANGLE - centre - np.pi)))
    return bright * (np.exp(-0.5 * (turned / spread) ** 2) + 0.3 * np.exp(-0.5 * (other / 0.3) ** 2))


def lenses(strength, count=12):
    rng = np.random.default_rng(5)
    arcs = strength * np.stack([arc(centre=angle) for angle in np.linspace(0.0, 5.0, count)])
    light = arcs[:, None] * COLOUR[::-1, None, None]
    stamps = light + (galaxy() * COLOUR[:, None, None])[None] + rng.normal(0, NOISE, (count, 3, SIDE, SIDE))
    return stamps.astype(np.float32), light


def kept(found, light):
    """Light left in the reference band, over that of the arcs."""
    radius = RADIUS[found.window, found.window]
    ring = (radius >= CORE_ARCSEC) & (radius < 3.5)
    band = SURVEY.reference
    true = light[:, band, found.window, found.window][:, ring].sum(axis=1)
    return found.residual[:, band][:, ring].sum(axis=1) / true


def test_most_of_an_arcs_light_is_left():
    stamps, light = lenses(0.15)
    left = kept(without_galaxies(stamps, ANNULUS, SURVEY), light)
    assert np.median(left) == pytest.approx(1.0, abs=0.2)
    assert np.median(kept(subtract_galaxies(stamps, ANNULUS, SURVEY), light)) < 0.7 * np.median(left)


def test_arcs_are_measured_on_what_is_left():
    stamps, _ = lenses(0.15)
    found = without_galaxies(stamps, ANNULUS, SURVEY)
    assert measure_arcs(found, SURVEY).found.all()
    assert np.median(arc_radii(found, SURVEY)) == pytest.approx(1.85, abs=0.2)


def test_hardly_anything_is_left_of_a_galaxy_without_an_arc():
    stamps, _ = lenses(0.0)
    found = without_galaxies(stamps, ANNULUS, SURVEY)
    radius = RADIUS[found.window, found.window]
    ring = (radius >= CORE_ARCSEC) & (radius < 3.5)
    mean = found.residual[:, SURVEY.reference][:, ring].mean(axis=1)
    assert np.abs(mean).max() < 0.4 * NOISE, "masked noise leaves a little"
    assert measure_arcs(found, SURVEY).found.mean() < 0.2
    assert np.isnan(arc_radii(found, SURVEY)[~found.arcs.any(axis=(1, 2))]).all()


def test_masked_pixels_and_unknown_noise():
    stamps, _ = lenses(0.15, 3)
    stamps[0, 1, 55:58, 50:70] = np.nan
    stamps[1] = np.nan
    stamps[2] = 0.0
    found = without_galaxies(stamps, ANNULUS, SURVEY)
    assert np.isnan(found.residual[0, 1]).sum() == np.isnan(stamps[0, 1][found.window, found.window]).sum() > 0
    assert np.isfinite(found.residual[0, 0]).all()
    assert np.isnan(found.sigma[1])
    assert not found.arcs[1:].any()
