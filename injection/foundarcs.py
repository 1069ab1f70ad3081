"""Arcs measured on stamps as on a real lens: without knowing what was injected, or whether anything was.

The light of the galaxy in the middle is taken to be the median along ellipses of its own shape, and what stands above
it between two radii is an arc. The same holds for real lenses, injections and bare hosts, so that what the method
misses (a complete ring, an arc inside the inner radius) or mistakes (spiral arms, neighbours) is alike in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from injection.conditioning import host_shapes
from injection.measure import sigma_from_annulus
from injection.render import Images
from lake.survey import BANDS, PIXEL_SCALE_ARCSEC

Array = NDArray[np.float64]

INNER_ARCSEC, OUTER_ARCSEC = 1.2, 3.5
"""Radii between which arcs are looked for: outside the seeing disc, and before neighbours become more likely."""
SMOOTHING_PX = 1.5
DETECTION_SIGMAS = 3.0
"""A pixel belongs to an arc where the smoothed r-band residual stands this high above the smoothed sky noise."""
FOUND_SNR = 10.0
"""Least SNR of an arc that counts as found: below, the structure of ordinary galaxies gives as much."""
_G, _R = BANDS.index("g"), BANDS.index("r")


@dataclass(frozen=True)
class FoundArcs:
    """What was found on each stamp (batch,)."""

    snr: Array
    """``sqrt(sum(residual^2) - noise) / sigma`` over the arc's pixels in r; 0 where nothing stands out, NaN where the
    stamp's noise is unknown"""
    g_minus_r: Array
    """Colour of the residual; NaN where there is none, or no flux in one of the bands"""

    @property
    def found(self) -> NDArray[np.bool_]:
        """Stamps on which an arc stands out."""
        return np.asarray(self.snr >= FOUND_SNR)


def find_arcs(stamps: Images, sky_annulus_px: tuple[float, float]) -> FoundArcs:
    """Measure stamps (batch, band, y, x) nMgy; masked pixels are NaN."""
    sigma = sigma_from_annulus(stamps, np.asarray(np.isfinite(stamps).all(axis=1)), *sky_annulus_px)
    q, angle = host_shapes(stamps)
    snr, colour = np.full(len(stamps), np.nan), np.full(len(stamps), np.nan)
    for index in np.flatnonzero(sigma > 0):
        snr[index], colour[index] = _measure(stamps[index], float(sigma[index]), float(q[index]), float(angle[index]))
    return FoundArcs(snr, colour)


def residual(stamp: Images, q: float, angle: float) -> tuple[Array, Array]:
    """The middle of a stamp (band, y, x) without the galaxy's light, and the distance of its pixels (arcsec)."""
    reach = min(int(np.ceil(OUTER_ARCSEC / PIXEL_SCALE_ARCSEC)) + 4, stamp.shape[-1] // 2)
    middle = stamp.shape[-1] // 2
    part = stamp[:, middle - reach : middle + reach + 1, middle - reach : middle + reach + 1].astype(np.float64)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    ellipse = np.sqrt(q * u**2 + v**2 / q)
    return np.stack([band - _galaxy(band, ellipse) for band in part]), np.hypot(x, y) * PIXEL_SCALE_ARCSEC


def _galaxy(image: Array, ellipse: Array) -> Array:
    """Median along ellipses, between their radii interpolated."""
    rings = np.rint(ellipse).astype(int)
    radii, medians = [], []
    for ring in range(rings.max() + 1):
        inside = (rings == ring) & np.isfinite(image)
        if inside.any():
            radii.append(float(ellipse[inside].mean()))
            medians.append(float(np.median(image[inside])))
    return np.asarray(np.interp(ellipse, radii, medians)) if radii else np.zeros_like(image)


def _measure(stamp: Images, sigma: float, q: float, angle: float) -> tuple[float, float]:
    """SNR and colour of one stamp."""
    left, radius = residual(stamp, q, angle)
    known = np.isfinite(left).all(axis=0)
    left = np.where(known, left, 0.0)
    smooth = gaussian_filter(left[_R], SMOOTHING_PX)
    threshold = DETECTION_SIGMAS * sigma / (2.0 * np.sqrt(np.pi) * SMOOTHING_PX)
    arc = (smooth > threshold) & known & (radius >= INNER_ARCSEC) & (radius <= OUTER_ARCSEC)
    power = float((left[_R][arc] ** 2).sum()) - sigma**2 * int(arc.sum())
    if power <= 0.0:
        return 0.0, np.nan
    g, r = (float(left[band][arc].sum()) for band in (_G, _R))
    return float(np.sqrt(power)) / sigma, float(-2.5 * np.log10(g / r)) if g > 0 and r > 0 else np.nan
