"""Arcs measured on stamps without knowledge of what was injected, or whether anything was.

The light of the central galaxy is modelled as the median along ellipses of its own shape; the light above it between
two radii is an arc. Real lenses, injections and bare hosts are measured in the same way. So what the method misses (a
complete ring, an arc inside the inner radius) or mistakes for an arc (spiral arms, neighbours) is the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from injection.engine.tracing import Images
from injection.experiment.measure import sigma_from_annulus
from lake.sky.imaging import Imaging

Array = NDArray[np.float64]

INNER_ARCSEC, OUTER_ARCSEC = 1.2, 3.5
"""Radii between which arcs are searched for: outside the seeing disc, and inside of where neighbours are common."""
SMOOTHING_PX = 1.5
DETECTION_SIGMAS = 3.0
"""Least significance of a pixel of an arc in the smoothed residual of the reference band."""
PASSES = 3
"""Number of times that the galaxy is measured, each time without the arcs found before."""
FOUND_SNR = 10.0
"""Least SNR of an arc that counts as found; the structure of ordinary galaxies gives lower values."""
_WINDOW_ARCSEC = 3.0


@dataclass(frozen=True)
class FoundArcs:
    """Results for each stamp (batch,)."""

    snr: Array
    """``sqrt(sum(residual^2) - noise) / sigma`` over the arc's pixels in the reference band; 0 if nothing is found, NaN
    if the noise of the stamp is unknown"""
    colour: Array
    """Colour (``imaging.arc_colour``) of the residual; NaN without an arc, or without flux in one of the bands"""

    @property
    def found(self) -> NDArray[np.bool_]:
        """Stamps with an arc of SNR :data:`FOUND_SNR` or more."""
        return np.asarray(self.snr >= FOUND_SNR)


@dataclass(frozen=True)
class Subtracted:
    """Stamps without their central galaxies, in a window around the centre that holds :data:`OUTER_ARCSEC`."""

    residual: Array
    """(batch, band, y, x) nMgy; NaN where a pixel of the band is masked"""
    arcs: NDArray[np.bool_]
    """(batch, y, x) pixels of a found arc"""
    sigma: Array
    """(batch,) noise per pixel in the reference band; NaN if unknown, and then nothing is subtracted"""
    window: slice
    """Place of the window along both axes of the stamps"""


def find_arcs(stamps: Images, sky_annulus_px: tuple[float, float], imaging: Imaging) -> FoundArcs:
    """Measure stamps (batch, band, y, x) nMgy of this imaging; masked pixels are NaN."""
    return measure_arcs(subtract_galaxies(stamps, sky_annulus_px, imaging), imaging)


def measure_arcs(found: Subtracted, imaging: Imaging) -> FoundArcs:
    """Measure the arcs of subtracted stamps."""
    snr, colour = np.full(len(found.sigma), np.nan), np.full(len(found.sigma), np.nan)
    for index in np.flatnonzero(found.sigma > 0):
        noise = float(found.sigma[index])
        snr[index], colour[index] = _strength(found.residual[index], found.arcs[index], noise, imaging)
    return FoundArcs(snr, colour)


def arc_radii(found: Subtracted, imaging: Imaging) -> Array:
    """Mean radius (batch,) of each arc's pixels in arcsec, weighted by their light; NaN without an arc."""
    side = found.residual.shape[-1]
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    light = np.where(found.arcs, np.nan_to_num(found.residual[:, imaging.reference]), 0.0).clip(min=0.0)
    total = light.sum(axis=(1, 2))
    moment = (light * np.hypot(x, y)).sum(axis=(1, 2)) * imaging.pixel_scale_arcsec
    return np.where(total > 0.0, moment / np.where(total > 0.0, total, 1.0), np.nan)


def subtract_galaxies(stamps: Images, sky_annulus_px: tuple[float, float], imaging: Imaging) -> Subtracted:
    """Subtract from stamps (batch, band, y, x) nMgy the medians along ellipses of each galaxy's own shape.

    After an arc is found, its pixels are replaced by the model of the galaxy, whose shape and light are measured again:
    an arc distorts the ellipses.
    """
    place, scale, pixels = imaging.reference, imaging.pixel_scale_arcsec, stamps.shape[-1]
    sigma = sigma_from_annulus(stamps[:, place], np.asarray(np.isfinite(stamps).all(axis=1)), *sky_annulus_px)
    inner = window(pixels, imaging)
    side, cut = inner.stop - inner.start, (..., inner, inner)
    parts, without_arcs = stamps[cut].astype(np.float64), stamps.astype(np.float32)
    residual, arcs = parts.copy(), np.zeros((len(stamps), side, side), dtype=bool)
    for _ in range(PASSES):
        q, angle = observed_shapes(without_arcs, imaging)
        for index in np.flatnonzero(sigma > 0):
            ellipse, radius = distances(side, scale, float(q[index]), float(angle[index]))
            model = np.stack([_galaxy(band, ellipse) for band in without_arcs[index][cut].astype(np.float64)])
            known = np.isfinite(parts[index]).all(axis=0)
            residual[index] = parts[index] - model
            arcs[index] = arc_pixels(residual[index, place], known, radius, float(sigma[index]))
            without_arcs[index][cut] = np.where(arcs[index], model, parts[index])
    return Subtracted(residual, arcs, sigma, inner)


def observed_shapes(hosts: Images, imaging: Imaging) -> tuple[Array, Array]:
    """Axis ratio and position angle (batch,) of galaxies' observed light, from second moments in the reference band.

    Moments are weighted by a round Gaussian (sigma 1.5 arcsec) at the centre of the stamp, and corrected for the size
    of that weight; pixels that are not finite count as sky. The PSF is included, so this is the observed shape, not the
    intrinsic one. A stamp without signal is round.
    """
    light = np.nan_to_num(hosts[:, imaging.reference].astype(np.float64))
    light = light - np.median(light, axis=(1, 2), keepdims=True)
    half = (hosts.shape[-1] - 1) / 2
    y, x = (grid * imaging.pixel_scale_arcsec for grid in np.mgrid[-half : half + 1, -half : half + 1])
    width2 = (_WINDOW_ARCSEC / 2.0) ** 2
    weighted = light * np.exp(-0.5 * (x**2 + y**2) / width2)
    total = weighted.sum(axis=(1, 2))
    known = total > 0
    safe = np.where(known, total, 1.0)
    xx, yy, xy = ((weighted * product).sum(axis=(1, 2)) / safe for product in (x * x, y * y, x * y))
    mean, plus, cross = 0.5 * (xx + yy), 0.5 * (xx - yy), xy
    spread = np.hypot(plus, cross)
    long, short = (np.clip(value, 1e-3, 0.95 * width2) for value in (mean + spread, mean - spread))
    long, short = (value / (1.0 - value / width2) for value in (long, short))
    return np.where(known, np.sqrt(short / long), 1.0), np.where(known, 0.5 * np.arctan2(cross, plus), 0.0)


def window(pixels: int, imaging: Imaging) -> slice:
    """Place, along both axes of stamps with this side, of the window that holds :data:`OUTER_ARCSEC`."""
    side = min(2 * (int(np.ceil(OUTER_ARCSEC / imaging.pixel_scale_arcsec)) + 4) + pixels % 2, pixels)
    return slice((pixels - side) // 2, (pixels + side) // 2)


def distances(side: int, scale: float, q: float, angle: float) -> tuple[Array, Array]:
    """Elliptical radius (pixels) and radius (arcsec) of the pixels of a window."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return np.sqrt(q * u**2 + v**2 / q), np.hypot(x, y) * scale


def _galaxy(image: Array, ellipse: Array) -> Array:
    """Model of the galaxy: medians along ellipses, interpolated in radius."""
    known = np.isfinite(image)
    if not known.any():
        return np.zeros_like(image)
    values, distance = image[known], ellipse[known]
    rings = np.rint(distance).astype(int)
    counts = np.bincount(rings)
    counts = counts[counts > 0]
    ends = np.cumsum(counts)
    ascending = values[np.lexsort((values, rings))]  # ring by ring
    medians = 0.5 * (ascending[ends - counts + (counts - 1) // 2] + ascending[ends - counts + counts // 2])
    radii = [part.mean() for part in np.split(distance[np.argsort(rings, kind="stable")], ends[:-1])]
    return np.asarray(np.interp(ellipse, radii, medians))


def arc_pixels(residual: Array, known: NDArray[np.bool_], radius: Array, sigma: float) -> NDArray[np.bool_]:
    """Pixels between the two radii with a significant smoothed residual."""
    smooth = gaussian_filter(np.where(known, residual, 0.0), SMOOTHING_PX)
    threshold = DETECTION_SIGMAS * sigma / (2.0 * np.sqrt(np.pi) * SMOOTHING_PX)
    return np.asarray((smooth > threshold) & known & (radius >= INNER_ARCSEC) & (radius <= OUTER_ARCSEC))


def _strength(residual: Array, arc: NDArray[np.bool_], sigma: float, imaging: Imaging) -> tuple[float, float]:
    """SNR and colour of the light (band, y, x) in an arc's pixels."""
    light = residual[imaging.reference][arc]
    blue, red = (float(residual[band][arc].sum()) for band in imaging.arc_colour)
    power = float((light**2).sum()) - sigma**2 * light.size
    if power <= 0.0:
        return 0.0, np.nan
    colour = -2.5 * np.log10(blue / red) if blue > 0 and red > 0 else np.nan
    return float(np.sqrt(power)) / sigma, float(colour)
