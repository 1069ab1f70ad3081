"""Ordinary sources: early types, discs, small blue galaxies, faint galaxies, stars."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from demo.mixtures import SERSIC_GRID, Floats
from demo.painting import Ellipse, Light, sersic_light
from lake.sky.photometry import flux_from_magnitude

NO_LENS = ("field", "tier_b_false", "contaminant")
"""Roles of sources that are no lenses."""
CATALOGUE_INDEX = {"DEV": 4.0, "EXP": 1.0, "REX": 1.0}
"""Sersic index that a Tractor type implies."""


@dataclass(frozen=True)
class Source:
    """The truth about a source: its light, and the catalogue's values before noise."""

    kind: str
    """What it truly is: early, disc, blue, faint, star, bright_star, ring, edge_on, spiral, clumpy, merger, arc."""
    type: str
    """Tractor type."""
    position: Floats
    """x, y in pixels, the first pixel's centre at 0."""
    ellipse: Ellipse
    """Catalogue shape."""
    flux_nmgy: Floats
    """Total flux (band)."""
    flux_w1_nmgy: float
    redshift: float
    light: Light
    role: str = "field"
    """field, or its part in the sample of lenses and listed objects: tier_a, tier_b, tier_b_false, unlisted,
    unlisted_faint, contaminant."""


def fluxes(mag_z: float, g_minus_r: float, r_minus_z: float) -> Floats:
    """Fluxes (band) in nMgy from the z magnitude and two colours."""
    mag_r = mag_z + r_minus_z
    return flux_from_magnitude(np.array([mag_r + g_minus_r, mag_r, mag_z]))


def counts_magnitude(rng: Generator, bright: float, faint: float, slope: float = 0.35) -> float:
    """A magnitude from number counts that grow as ``10^(slope mag)``."""
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    return float(np.log10(rng.uniform(low, high)) / slope)


def nearest_index(index: float) -> float:
    """The painted Sersic index nearest to a drawn one."""
    return float(SERSIC_GRID[np.argmin(np.abs(SERSIC_GRID - index))])


def galaxy(kind: str, type_: str, position: Floats, ellipse: Ellipse, colour: tuple[Floats, float, float]) -> Source:
    """A plain Sersic galaxy; ``colour`` is (fluxes, W1 flux, redshift). REX is round, DEV and EXP fix the index."""
    index = CATALOGUE_INDEX.get(type_, nearest_index(ellipse.index))
    shape = replace(ellipse, index=index, axis_ratio=1.0 if type_ == "REX" else ellipse.axis_ratio)
    flux, flux_w1, redshift = colour
    return Source(kind, type_, position, shape, flux, flux_w1, redshift, sersic_light(position, shape, flux))


def early_colour(rng: Generator, mag_z: float) -> tuple[Floats, float, float]:
    """Red-sequence colours at a redshift that grows with magnitude: (fluxes, W1 flux, redshift)."""
    redshift = float(np.clip(rng.normal(0.42 + 0.08 * (mag_z - 19), 0.11), 0.12, 0.8))
    r_minus_z = 0.62 + 1.15 * (redshift - 0.2) + rng.normal(0, 0.07)
    g_minus_r = min(1.75, 1.05 + 2.0 * (redshift - 0.2)) + rng.normal(0, 0.1)
    w1 = mag_z - (0.75 + 1.0 * (redshift - 0.2) + rng.normal(0, 0.12))
    return fluxes(mag_z, g_minus_r, r_minus_z), float(flux_from_magnitude(w1)), redshift


def early(rng: Generator, type_: str, position: Floats) -> Source:
    """A luminous red galaxy: lens hosts and most of the pool are drawn here."""
    mag_z = counts_magnitude(rng, 17.3, 19.85)
    radius = 10 ** (0.06 - 0.16 * (mag_z - 19) + rng.normal(0, 0.14)) * (0.6 if type_ == "REX" else 1.0)
    ellipse = Ellipse(
        float(np.clip(radius, 0.35, 4.0)),
        float(rng.triangular(0.45, 0.85, 1.0)),
        float(rng.uniform(0, np.pi)),
        float(np.clip(rng.normal(4.0, 1.0), 2.0, 5.75)),
    )
    return galaxy("early", type_, position, ellipse, early_colour(rng, mag_z))


def blue_colour(rng: Generator, mag_z: float, g_minus_r: float) -> tuple[Floats, float, float]:
    """Star-forming colours: (fluxes, W1 flux, redshift)."""
    r_minus_z = 0.6 * g_minus_r + rng.normal(0.02, 0.08)
    w1 = mag_z + rng.normal(0.2, 0.25)
    return fluxes(mag_z, g_minus_r, r_minus_z), float(flux_from_magnitude(w1)), float(rng.uniform(0.05, 0.35))


def disc(rng: Generator, type_: str, position: Floats) -> Source:
    """A star-forming disc."""
    mag_z = counts_magnitude(rng, 17.6, 19.85)
    radius = float(np.clip(10 ** (0.1 - 0.12 * (mag_z - 19) + rng.normal(0, 0.15)), 0.4, 3.5))
    ellipse = Ellipse(
        radius, float(rng.uniform(0.25, 1.0)), float(rng.uniform(0, np.pi)), float(rng.uniform(0.75, 1.75))
    )
    return galaxy("disc", type_, position, ellipse, blue_colour(rng, mag_z, float(rng.normal(0.7, 0.18))))


def blue(rng: Generator, type_: str, position: Floats) -> Source:
    """A compact blue galaxy."""
    mag_z = counts_magnitude(rng, 18.0, 19.8)
    ellipse = Ellipse(float(rng.uniform(0.35, 0.9)), float(rng.uniform(0.4, 1.0)), float(rng.uniform(0, np.pi)), 1.0)
    return galaxy("blue", type_, position, ellipse, blue_colour(rng, mag_z, float(rng.uniform(0.1, 0.5))))


def faint(rng: Generator, limits_mag: tuple[float, float], position: Floats) -> Source:
    """A galaxy of the faint background, red or blue."""
    mag_z = counts_magnitude(rng, *limits_mag)
    colour = early_colour(rng, mag_z) if rng.uniform() < 0.3 else blue_colour(rng, mag_z, float(rng.normal(0.5, 0.25)))
    type_ = str(rng.choice(["REX", "REX", "SER", "EXP", "DEV"]))
    ellipse = Ellipse(float(rng.uniform(0.2, 0.6)), float(rng.uniform(0.3, 1.0)), float(rng.uniform(0, np.pi)), 1.0)
    return galaxy("faint", type_, position, ellipse, colour)


def star(rng: Generator, mag_r_limits: tuple[float, float], position: Floats, kind: str = "star") -> Source:
    """A point source on the stellar locus."""
    g_minus_r = float(rng.uniform(0.3, 1.4))
    r_minus_z = 0.6 * g_minus_r + max(0.0, g_minus_r - 1.2) * 3 + rng.normal(0, 0.04)
    mag_r = counts_magnitude(rng, *mag_r_limits, slope=0.2)
    flux = fluxes(mag_r - r_minus_z, g_minus_r, r_minus_z)
    return point(kind, position, flux, 0.5)


def point(kind: str, position: Floats, flux: Floats, w1_over_z: float) -> Source:
    """A point source of fluxes (band) in nMgy, and of a W1 flux relative to its z flux."""
    light = Light(position[None, :], np.zeros((1, 3)), flux[None, :])
    ellipse = Ellipse(0.0, 1.0, 0.0, 0.0)
    return Source(kind, "PSF", position, ellipse, flux, float(flux[2] * w1_over_z), 0.0, light)
