"""Light as elliptical Gaussians, painted into images."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from demo.mixtures import Floats, Mixture, sersic
from lake.sky.survey import PIXEL_SCALE_ARCSEC


@dataclass(frozen=True)
class Light:
    """Unconvolved elliptical Gaussians.

    position : (n, 2) x, y in pixels; covariance : (n, 3) xx, xy, yy in pixels^2; flux : (n, band) in nMgy.
    """

    position: Floats
    covariance: Floats
    flux: Floats

    @staticmethod
    def joined(parts: list[Light]) -> Light:
        """All components of several lights."""
        return Light(
            np.concatenate([part.position for part in parts]),
            np.concatenate([part.covariance for part in parts]),
            np.concatenate([part.flux for part in parts]),
        )


def covariance(sigma_major: Floats, axis_ratio: Floats | float, angle: Floats | float) -> Floats:
    """Covariances (n, 3) of Gaussians; ``angle`` of the major axis from +x, counter-clockwise, radians."""
    major = np.asarray(sigma_major, dtype=np.float64) ** 2
    minor = major * np.asarray(axis_ratio) ** 2
    cos, sin = np.cos(angle), np.sin(angle)
    parts = [major * cos**2 + minor * sin**2, (major - minor) * cos * sin, major * sin**2 + minor * cos**2]
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


@dataclass(frozen=True)
class Ellipse:
    """Half-light radius along the major axis (arcsec), axis ratio, angle from +x (radians), Sersic index."""

    radius_arcsec: float
    axis_ratio: float
    angle: float
    index: float


def sersic_light(position: Floats, ellipse: Ellipse, flux_nmgy: Floats) -> Light:
    """A Sersic galaxy at ``position`` (2) with fluxes (band)."""
    profile = sersic(ellipse.index)
    sigma = np.sqrt(profile.variance) * ellipse.radius_arcsec / PIXEL_SCALE_ARCSEC
    return Light(
        np.repeat(position[None, :], sigma.size, axis=0),
        covariance(sigma, ellipse.axis_ratio, ellipse.angle),
        profile.weight[:, None] * flux_nmgy[None, :],
    )


def paint(images: NDArray[np.float64], light: Light, psfs: tuple[Mixture, ...]) -> None:
    """Add ``light``, convolved with each band's PSF, to ``images`` (band, y, x)."""
    for band, psf in enumerate(psfs):
        flux = np.ascontiguousarray(light.flux[:, band])
        _paint(images[band], light.position, light.covariance, flux, psf.weight, psf.variance)


@numba.njit(cache=True)
def _paint(image, position, cov, flux, weight, variance):  # type: ignore[no-untyped-def]
    mean_variance = np.sum(weight * variance)
    for i in range(flux.size):
        if flux[i] == 0.0:
            continue
        x, y = position[i]
        xx, xy, yy = cov[i]
        if 0.5 * (xx + yy) > 16.0 * mean_variance:
            _add_gaussian(image, x, y, xx + mean_variance, xy, yy + mean_variance, flux[i])
            continue
        for k in range(weight.size):
            _add_gaussian(image, x, y, xx + variance[k], xy, yy + variance[k], flux[i] * weight[k])


@numba.njit(cache=True)
def _add_gaussian(image, x, y, xx, xy, yy, flux):  # type: ignore[no-untyped-def]
    """Add one Gaussian within 4.5 sigma; along a row each value is the last one times a ratio."""
    reach = 4.5
    det = xx * yy - xy * xy
    a, b, c = yy / det, -xy / det, xx / det
    peak = flux / (2.0 * np.pi * np.sqrt(det))
    half = reach * np.sqrt(yy)
    for row in range(max(0, int(np.ceil(y - half))), min(image.shape[0] - 1, int(np.floor(y + half))) + 1):
        dy = row - y
        spread = reach * reach - dy * dy / yy
        if spread <= 0.0:
            continue
        middle = x + xy / yy * dy
        width = np.sqrt(spread / a)
        first = max(0, int(np.ceil(middle - width)))
        last = min(image.shape[1] - 1, int(np.floor(middle + width)))
        if last < first:
            continue
        dx = first - x
        value = peak * np.exp(-0.5 * (a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
        ratio = np.exp(-a * dx - 0.5 * a - b * dy)
        change = np.exp(-a)
        for column in range(first, last + 1):
            image[row, column] += value
            value *= ratio
            ratio *= change
