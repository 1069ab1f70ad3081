"""Galaxies subtracted so that their arcs survive: concentric ellipses of Gaussians, fitted where there is no arc.

A sum of Gaussians with one centre (Emsellem, Monnet & Bacon 1994) of positive weights falls outwards, so it cannot
follow a ring. Medians along ellipses can: they keep a quarter of the light of the demo's arcs, this model nearly all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import nnls

from injection.engine.tracing import Images
from injection.experiment import arc_finder
from injection.experiment.arc_finder import SMOOTHING_PX, Subtracted
from injection.experiment.measure import sigma_from_annulus
from lake.sky.imaging import Imaging

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

WIDTHS_ARCSEC = np.geomspace(0.35, 6.0, 9)
"""Widths (sigma) of the Gaussians, PSF included."""
MASKED_SIGMAS = 2.0
"""Significance of smoothed light above the model from which a pixel counts as arc or neighbour and is not fitted."""
CORE_ARCSEC = 0.6
"""Radius within which every pixel is fitted."""
_PASSES, _FITS = 2, 8
"""Number of times that the shape is measured, and that masks are drawn anew for each shape, at most."""
_NNLS_STEPS = 1000
"""Steps of the non-negative fit, whose default is too few for Gaussians as alike as these."""
_LEAST_SHARE = 0.25
"""Least share of pixels that a mask must leave."""


def without_galaxies(stamps: Images, sky_annulus_px: tuple[float, float], imaging: Imaging) -> Subtracted:
    """Subtract the central galaxies of stamps (batch, band, y, x) nMgy; masked pixels are NaN.

    The mask is drawn in the reference band and holds for all bands. A stamp whose noise is unknown is not changed.
    """
    place, scale, pixels = imaging.reference, imaging.pixel_scale_arcsec, stamps.shape[-1]
    sigma = sigma_from_annulus(stamps[:, place], np.asarray(np.isfinite(stamps).all(axis=1)), *sky_annulus_px)
    inner = arc_finder.window(pixels, imaging)
    cut = (..., inner, inner)
    parts, without_arcs = stamps[cut].astype(np.float64), stamps.astype(np.float32)
    residual, side = parts.copy(), parts.shape[-1]
    arcs = np.zeros((len(stamps), side, side), dtype=bool)
    for _ in range(_PASSES):
        q, angle = arc_finder.observed_shapes(without_arcs, imaging)
        for index in np.flatnonzero(sigma > 0):
            ellipse, radius = arc_finder.distances(side, scale, float(q[index]), float(angle[index]))
            model, fitted = _fitted(parts[index], place, _gaussians(ellipse * scale), radius, float(sigma[index]))
            residual[index] = parts[index] - model
            known = np.isfinite(parts[index]).all(axis=0)
            arcs[index] = arc_finder.arc_pixels(residual[index, place], known, radius, float(sigma[index]))
            without_arcs[index][cut] = np.where(fitted | ~known, parts[index], model)
    return Subtracted(residual, arcs, sigma, inner)


def _gaussians(ellipse_arcsec: Array) -> Array:
    """(pixel, Gaussian) values of the model's parts."""
    return np.stack([np.exp(-0.5 * (ellipse_arcsec / width) ** 2).ravel() for width in WIDTHS_ARCSEC], axis=1)


def _fitted(bands: Array, place: int, parts: Array, radius: Array, sigma: float) -> tuple[Array, Bools]:
    """Model (band, y, x) of a galaxy, and the pixels that it was fitted to."""
    known = np.asarray(np.isfinite(bands).all(axis=0))
    kept = known
    for _ in range(_FITS):
        above = np.where(known, bands[place] - _model(bands[place], parts, kept), 0.0)
        threshold = MASKED_SIGMAS * sigma / (2.0 * np.sqrt(np.pi) * SMOOTHING_PX)
        masked = (gaussian_filter(above, SMOOTHING_PX) > threshold) & (radius >= CORE_ARCSEC)
        fresh = np.asarray(known & ~masked)
        if fresh.sum() < _LEAST_SHARE * known.sum() or (fresh == kept).all():
            break
        kept = fresh
    return np.stack([_model(band, parts, kept) for band in bands]), kept


def _model(image: Array, parts: Array, kept: Bools) -> Array:
    """The sum of Gaussians with positive weights that is nearest to the kept pixels; 0 without any."""
    rows = kept.ravel()
    if not rows.any():
        return np.zeros(image.shape)
    weights, _ = nnls(parts[rows], image.ravel()[rows], maxiter=_NNLS_STEPS)
    return np.asarray((parts @ weights).reshape(image.shape))
