"""Sums of round Gaussians that approximate the Moffat PSF and Sersic profiles.

The Tractor describes galaxies the same way (Hogg & Lang 2013): the convolution of two sums of Gaussians is a sum of
Gaussians, so a galaxy is painted exactly at any sub-pixel position.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, nnls
from scipy.special import gammaincinv

Floats = NDArray[np.float64]

SERSIC_GRID = np.arange(0.5, 6.01, 0.25)
"""Sersic indices that are made; drawn indices are rounded to this grid."""


@dataclass(frozen=True)
class Mixture:
    """Round Gaussians: ``weight`` (n) sums to 1, ``variance`` (n) per axis in squared units of the profile's scale."""

    weight: Floats
    variance: Floats

    def scaled(self, scale: float) -> Mixture:
        """The same profile with its length unit multiplied by ``scale``."""
        return Mixture(self.weight, self.variance * scale**2)

    @property
    def squared_integral(self) -> float:
        """Integral of the squared profile, in inverse squared length units."""
        pairs = self.variance[:, None] + self.variance[None, :]
        return float(np.sum(np.outer(self.weight, self.weight) / (2 * np.pi * pairs)))

    def within(self, radius: float) -> float:
        """Share of the light within a radius."""
        return float(self.weight @ -np.expm1(-0.5 * radius**2 / self.variance))


def _fit(profile: Floats, radius: Floats, sigma: Floats) -> Mixture:
    """Non-negative fit with equal relative weight per logarithmic radius, normalised to unit flux."""
    basis = np.exp(-0.5 * (radius[:, None] / sigma) ** 2) / (2 * np.pi * sigma**2)
    weight, _ = nnls(basis / profile[:, None], np.ones_like(radius))
    used = weight > 1e-6 * weight.sum()
    return Mixture(weight[used] / weight[used].sum(), sigma[used] ** 2)


@lru_cache(maxsize=8)
def moffat(beta: float) -> Mixture:
    """Moffat of unit FWHM."""
    alpha = 0.5 / np.sqrt(2 ** (1 / beta) - 1)
    radius = np.linspace(0.0, 2.2, 120)
    profile = (1 + (radius / alpha) ** 2) ** -beta
    return _fit(profile, radius, np.geomspace(0.2, 1.6, 6))


@lru_cache(maxsize=64)
def sersic(index: float) -> Mixture:
    """Sersic profile cut at about 8 half-light radii, scaled to half of its light within unit radius."""
    b = gammaincinv(2 * index, 0.5)
    radius = np.geomspace(0.01, 8.0 if index > 1 else 4.0, 160)
    exponent = b * radius ** (1 / index)
    kept = exponent < 25.0
    sigma = np.geomspace(0.02, 5.0, 18) if index > 1 else np.geomspace(0.08, 1.6, 18)
    fitted = _fit(np.exp(-exponent[kept]), radius[kept], sigma)
    return fitted.scaled(1 / brentq(lambda radius: fitted.within(radius) - 0.5, 0.1, 3.0, xtol=1e-12))


def convolved(one: Mixture, other: Mixture) -> Mixture:
    """The convolution of two mixtures of the same length unit."""
    weight = np.outer(one.weight, other.weight).ravel()
    return Mixture(weight, (one.variance[:, None] + other.variance[None, :]).ravel())


def psf_of_psfsize(psfsize_px: float, beta: float) -> Mixture:
    """Effective PSF (pixel response included) in pixels: a Moffat with the given ``psfsize``.

    As in the survey's code, psfsize is ``2.3548 / (2 sqrt(pi))`` over the norm of the PSF, ``sqrt(sum(psf^2))``.
    """
    norm = np.sqrt(np.pi * moffat(beta).squared_integral)
    of_unit_fwhm = float(2.0 * np.sqrt(2.0 * np.log(2.0)) / (2.0 * norm))
    return moffat(beta).scaled(psfsize_px / of_unit_fwhm)
