"""Galaxies that look like lenses at a first glance, with the catalogue values that the confuser proxies look for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from demo.mixtures import Floats
from demo.painting import Ellipse, Light, covariance, sersic_light
from demo.sources import Source, blue_colour, counts_magnitude, early_colour, nearest_index
from lake.sky.survey import PIXEL_SCALE_ARCSEC


def _blobs(centre: Floats, offset_arcsec: Floats, sigma_arcsec: float, share: Floats, flux: Floats) -> Light:
    """Round blobs at ``offset_arcsec`` (n, 2) that divide ``flux`` (band) by ``share`` (n)."""
    position = centre + offset_arcsec / PIXEL_SCALE_ARCSEC
    sigma = np.full(share.size, sigma_arcsec / PIXEL_SCALE_ARCSEC)
    return Light(position, covariance(sigma, 1.0, 0.0), (share / share.sum())[:, None] * flux)


def _tilted(offset: Floats, axis_ratio: float, angle: float) -> Floats:
    """Face-on offsets (n, 2) seen inclined."""
    cos, sin = np.cos(angle), np.sin(angle)
    major, minor = offset[:, 0], offset[:, 1] * axis_ratio
    return np.stack([major * cos - minor * sin, major * sin + minor * cos], axis=1)


def _reddened(rng: Generator, flux: Floats, share_z: float, bluer_mag: tuple[float, float]) -> tuple[Floats, Floats]:
    """Split a flux (band) into a red part and a part that is bluer in g-r and r-z, with ``share_z`` of the z light."""
    step = rng.uniform(*bluer_mag)
    blue = flux * share_z * 10 ** (0.4 * np.array([1.4, 0.6, 0.0]) * step)
    blue = np.minimum(blue, 0.75 * flux)
    return flux - blue, blue


def ring(rng: Generator, type_: str, position: Floats) -> Source:
    """An early-type core in a bluer, knotty star-forming ring."""
    flux, w1, redshift = early_colour(rng, counts_magnitude(rng, 17.3, 18.9))
    core, outer = _reddened(rng, flux, rng.uniform(0.12, 0.3), (0.5, 1.1))
    radius, width = rng.uniform(1.3, 3.0), rng.uniform(0.18, 0.4)
    phase = np.arange(0, 2 * np.pi, 0.25 / radius)
    knots = np.exp(rng.normal(0, 0.35, phase.size)) * (1 + rng.uniform(0, 0.6) * np.cos(phase - rng.uniform(0, 7)))
    offset = radius * np.stack([np.cos(phase), np.sin(phase)], axis=1)
    tilt, angle = float(rng.uniform(0.5, 1.0)), float(rng.uniform(0, np.pi))
    body = Ellipse(float(rng.uniform(0.4, 0.8)), 0.5 * (1 + tilt), angle, 4.0)
    light = [sersic_light(position, body, core), _blobs(position, _tilted(offset, tilt, angle), width, knots, outer)]
    index = 4.0 if type_ == "DEV" else nearest_index(rng.uniform(4.6, 5.9))
    shape = Ellipse(0.6 * radius, body.axis_ratio, angle, index)
    return Source("ring", type_, position, shape, flux, w1, redshift, Light.joined(light))


def edge_on(rng: Generator, type_: str, position: Floats) -> Source:
    """A thin disc seen from the side, with a bulge."""
    flux, w1, redshift = blue_colour(rng, counts_magnitude(rng, 17.3, 19.5), float(rng.uniform(0.6, 1.2)))
    shape = Ellipse(float(rng.uniform(1.2, 3.0)), float(rng.uniform(0.1, 0.28)), float(rng.uniform(0, np.pi)), 1.0)
    bulge = rng.uniform(0.05, 0.3) * np.array([0.7, 0.9, 1.1])
    middle = Ellipse(0.35 * shape.radius_arcsec, 0.6, shape.angle, 2.0)
    light = [sersic_light(position, shape, (1 - bulge) * flux), sersic_light(position, middle, bulge * flux)]
    return Source("edge_on", type_, position, shape, flux, w1, redshift, Light.joined(light))


def spiral(rng: Generator, type_: str, position: Floats) -> Source:
    """A bulge, a disc and two logarithmic arms with knots."""
    flux, w1, redshift = blue_colour(rng, counts_magnitude(rng, 17.0, 18.8), float(rng.uniform(0.6, 1.0)))
    body, arms = _reddened(rng, flux, rng.uniform(0.2, 0.4), (0.2, 0.5))
    tilt, angle = float(rng.uniform(0.45, 1.0)), float(rng.uniform(0, np.pi))
    shape = Ellipse(float(rng.uniform(2.1, 3.2)), tilt, angle, nearest_index(rng.uniform(0.75, 2.0)))
    turn = np.linspace(0, rng.uniform(2.6, 4.2), 36)
    reach = 0.35 * shape.radius_arcsec * np.exp(rng.uniform(0.3, 0.45) * turn)
    hand = rng.choice([-1.0, 1.0])
    arm = np.stack([reach * np.cos(turn), hand * reach * np.sin(turn)], axis=1)
    knots = np.tile(reach**0.3, 2) * np.exp(rng.normal(0, 0.4, 2 * turn.size))
    offset = _tilted(np.concatenate([arm, -arm]), tilt, angle)
    bulge = Ellipse(0.25 * shape.radius_arcsec, 0.5 * (1 + tilt), angle, 2.5)
    light = [
        sersic_light(position, bulge, 0.35 * body),
        sersic_light(position, replace(shape, index=1.0), 0.65 * body),
        _blobs(position, offset, rng.uniform(0.22, 0.4), knots, arms),
    ]
    return Source("spiral", type_, position, shape, flux, w1, redshift, Light.joined(light))


def clumpy(rng: Generator, type_: str, position: Floats) -> Source:
    """Blue clumps in a faint disc."""
    flux, w1, redshift = blue_colour(rng, counts_magnitude(rng, 18.0, 19.7), float(rng.uniform(0.05, 0.33)))
    count = int(rng.integers(3, 8))
    offset = rng.normal(0, 0.75, (count, 2))
    radius = float(rng.uniform(0.7, 1.4))
    body = Ellipse(radius, float(rng.uniform(0.4, 1.0)), float(rng.uniform(0, np.pi)), 1.0)
    share = rng.uniform(0.4, 0.75)
    light = [
        sersic_light(position, body, (1 - share) * flux),
        _blobs(position, offset, rng.uniform(0.15, 0.3), rng.uniform(0.3, 1.0, count), share * flux),
    ]
    shape = replace(body, axis_ratio=1.0) if type_ == "REX" else body
    return Source("clumpy", type_, position, shape, flux, w1, redshift, Light.joined(light))


def merger(rng: Generator, type_: str, position: Floats) -> Source:
    """Two nuclei and a tidal tail; the catalogue sees one source."""
    flux, w1, redshift = early_colour(rng, counts_magnitude(rng, 17.3, 18.8))
    share, tail = rng.uniform(0.55, 0.75), rng.uniform(0.06, 0.15)
    first, second = rng.normal(0, 0.1, 2), rng.uniform(1.0, 2.4)
    bearing = rng.uniform(0, 2 * np.pi)
    other = position + second / PIXEL_SCALE_ARCSEC * np.array([np.cos(bearing), np.sin(bearing)])
    one = Ellipse(float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.5, 1)), float(rng.uniform(0, np.pi)), 4.0)
    two = replace(one, radius_arcsec=0.7 * one.radius_arcsec, angle=float(rng.uniform(0, np.pi)), index=2.0)
    sweep = bearing + np.linspace(0.3, rng.uniform(1.2, 2.4), 25)
    reach = np.linspace(second, rng.uniform(2.5, 4.5), 25)
    offset = reach[:, None] * np.stack([np.cos(sweep), np.sin(sweep)], axis=1)
    bluer = tail * np.array([1.6, 1.2, 1.0])
    light = [
        sersic_light(position + first, one, share * (1 - bluer) * flux),
        sersic_light(other, two, (1 - share) * (1 - bluer) * flux),
        _blobs(position, offset, 0.3, np.linspace(1, 0.3, 25), bluer * flux),
    ]
    shape = Ellipse(1.4 * one.radius_arcsec, one.axis_ratio, one.angle, 4.0 if type_ == "DEV" else 4.5)
    return Source("merger", type_, position, shape, flux, w1, redshift, Light.joined(light))
