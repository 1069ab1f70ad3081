"""What arcs look like once their galaxies are subtracted: power at high frequencies, direction, colour, clumpiness.

Residuals are (batch, band, y, x) in nMgy; pixels that are not finite, or outside the ring where arcs are searched for,
count as empty. Every feature is a ratio, so it does not depend on an arc's brightness, though on its noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from injection.experiment.arc_finder import INNER_ARCSEC, OUTER_ARCSEC, Subtracted
from lake.sky.imaging import Imaging

Floats = NDArray[np.float64]

HIGH_FREQUENCY = 0.2
"""Cycles per pixel above which power counts as high-frequency."""
SCALES_PX = (3.0, 4.5, 6.75, 10.0)
"""Wavelengths of the Gabor filters (pixels)."""
ORIENTATIONS = 6
_BANDWIDTH = 0.56
"""Width of a filter's envelope over its wavelength: one octave."""
_SMOOTHING_PX = 2.0
"""Scale over which directions are averaged."""
_WINDOW_PX = 5
"""Side of the windows of the local variance."""
_EDGE_PX = 2.0
"""Width over which the ring fades: a sharp edge has power at all frequencies."""
_TINY = 1e-30


@dataclass(frozen=True)
class Ring:
    """Weights (y, x) between 0 and 1 of the ring between the radii where arcs are searched for."""

    weight: Floats

    @classmethod
    def of(cls, side: int, imaging: Imaging, inner_arcsec: float = INNER_ARCSEC) -> Ring:
        """The ring of a window of this side (pixels)."""
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        radius = np.hypot(x, y)
        inner, outer = (edge / imaging.pixel_scale_arcsec for edge in (inner_arcsec, OUTER_ARCSEC))
        rise = np.clip((radius - inner) / _EDGE_PX + 0.5, 0.0, 1.0)
        fall = np.clip((outer - radius) / _EDGE_PX + 0.5, 0.0, 1.0)
        return cls(np.sin(0.5 * np.pi * rise) ** 2 * np.sin(0.5 * np.pi * fall) ** 2)


def arc_features(found: Subtracted, imaging: Imaging) -> pd.DataFrame:
    """One row of features per stamp; NaN where the ring holds no light, or the stamp's noise is unknown."""
    ring = Ring.of(found.residual.shape[-1], imaging)
    clean = np.where(np.isfinite(found.residual), found.residual, 0.0)
    blue, red = (clean[:, band] for band in imaging.arc_colour)
    image = clean[:, imaging.reference] * ring.weight
    columns = {
        "high_frequency_power": high_frequency_power(image),
        "anisotropy": anisotropy(clean[:, imaging.reference], ring.weight),
        "colour_coherence": colour_coherence(blue, red, ring.weight),
        "local_variance": local_variance(clean[:, imaging.reference], ring.weight),
        **gabor_features(image),
    }
    return pd.DataFrame(columns).mask(pd.Series(~np.isfinite(found.sigma)), axis=0)


def high_frequency_power(images: Floats) -> Floats:
    """Share of the power (without the mean) at frequencies above :data:`HIGH_FREQUENCY` cycles per pixel."""
    side = images.shape[-1]
    power = np.abs(scipy.fft.fft2(images)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    power[:, 0, 0] = 0.0
    return _share(power[:, frequency > HIGH_FREQUENCY].sum(axis=1), power.sum(axis=(1, 2)))


def anisotropy(images: Floats, weight: Floats) -> Floats:
    """Coherence of the structure tensor, averaged over the ring by energy: 1 for parallel stripes, small for noise.

    (l1 - l2) / (l1 + l2) of the eigenvalues of the gradients' second moments, over a Gaussian of
    :data:`_SMOOTHING_PX` (Weickert 1999).
    """
    gy, gx = np.gradient(images, axis=(1, 2))
    blur = (0.0, _SMOOTHING_PX, _SMOOTHING_PX)
    xx, yy, xy = (scipy.ndimage.gaussian_filter(part, blur) for part in (gx * gx, gy * gy, gx * gy))
    across = np.sqrt((xx - yy) ** 2 + 4.0 * xy**2)
    return _share((weight * across).sum(axis=(1, 2)), (weight * (xx + yy)).sum(axis=(1, 2)))


def colour_coherence(blue: Floats, red: Floats, weight: Floats) -> Floats:
    """Mean cosine between the gradients in two bands, by their moduli: 1 if light of one colour varies alike."""
    (by, bx), (ry, rx) = (np.gradient(image, axis=(1, 2)) for image in (blue, red))
    along = (weight * (bx * rx + by * ry)).sum(axis=(1, 2))
    return _share(along, (weight * np.hypot(bx, by) * np.hypot(rx, ry)).sum(axis=(1, 2)))


def local_variance(images: Floats, weight: Floats) -> Floats:
    """Mean variance within windows of five pixels over the variance in the whole ring: about 1 for noise, small for
    structure wider than a window."""
    size = (0, _WINDOW_PX, _WINDOW_PX)
    mean, square = (scipy.ndimage.uniform_filter(part, size) for part in (images, images**2))
    total = weight.sum()
    inside = (weight * (square - mean**2)).sum(axis=(1, 2)) / total
    centre = (weight * images).sum(axis=(1, 2)) / total
    whole = (weight * (images - centre[:, None, None]) ** 2).sum(axis=(1, 2)) / total
    return _share(inside, whole)


def gabor_features(images: Floats) -> dict[str, Floats]:
    """Share of the energy at each of four scales, and at each the share of its strongest direction among six, from
    complex Gabor filters without response to a constant."""
    spectrum = scipy.fft.fft2(images)
    energy = np.stack([_energies(spectrum, wavelength) for wavelength in SCALES_PX], axis=1)
    by_scale = energy.sum(axis=2)
    shares = {
        f"gabor_{wavelength:g}px": _share(by_scale[:, place], by_scale.sum(axis=1))
        for place, wavelength in enumerate(SCALES_PX)
    }
    directed = {
        f"gabor_{wavelength:g}px_direction": _share(energy[:, place].max(axis=1), by_scale[:, place])
        for place, wavelength in enumerate(SCALES_PX)
    }
    return shares | directed


def _energies(spectrum: NDArray[np.complex128], wavelength: float) -> Floats:
    """Energy (batch, orientation) of images' spectra behind the filters of one scale, by Parseval's theorem."""
    side = spectrum.shape[-1]
    fx, fy = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side))
    width = 1.0 / (2.0 * np.pi * _BANDWIDTH * wavelength)
    power = np.abs(spectrum) ** 2
    power[:, 0, 0] = 0.0
    angles = np.pi * np.arange(ORIENTATIONS) / ORIENTATIONS
    filters = np.stack(
        [np.exp(-((fx - np.cos(a) / wavelength) ** 2 + (fy - np.sin(a) / wavelength) ** 2) / width**2) for a in angles]
    )
    return np.einsum("nyx,oyx->no", power, filters)


def _share(part: Floats, whole: Floats) -> Floats:
    """Ratio; NaN where there is nothing."""
    return np.where(whole > _TINY, part / np.maximum(whole, _TINY), np.nan)
