"""Simple measurements of stamps: what a classifier could learn without seeing a lens.

Stamps are (batch, band, y, x) in nMgy, in the bands of their imaging; non-finite pixels are left out of every mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.config import DiagnosticParams
from lake.errors import invalid
from lake.sky.imaging import Imaging

Stamps = NDArray[np.float32]
Floats = NDArray[np.float64]
_TINY_NMGY = 1e-3
"""Flux floor of a logarithm or colour (magnitude 30): below any detection of the survey."""


def stamp_features(stamps: Stamps, imaging: Imaging, params: DiagnosticParams) -> pd.DataFrame:
    """One row of named features per stamp: `trivial/...`, `profile/...`, `annulus<i>/...`."""
    bands = imaging.bands
    if stamps.ndim != 4 or stamps.shape[1] != len(bands):
        raise invalid("stamps", f"(batch, {len(bands)}, y, x)", stamps.shape)
    trivial = trivial_features(stamps, imaging, params)
    profile = radial_profile(stamps, params.profile_rings)
    columns = {f"profile/{b}{i:02d}": profile[:, j, i] for j, b in enumerate(bands) for i in range(profile.shape[2])}
    for i, annulus in enumerate(params.comparison_annuli_pixels):
        median, mad = normalisation_statistics(stamps, annulus)
        for j, band in enumerate(bands):
            columns |= {f"annulus{i}/median_{band}": median[:, j], f"annulus{i}/mad_{band}": mad[:, j]}
    return pd.concat([trivial, pd.DataFrame(columns)], axis=1)


def trivial_features(stamps: Stamps, imaging: Imaging, params: DiagnosticParams) -> pd.DataFrame:
    """What a catalogue contains: flux and core brightness per band, colours, size, sky noise; no shape of an arc."""
    radius = _radius(stamps.shape)
    aperture, core = radius < params.aperture_radius_pixels, radius < params.core_radius_pixels
    clean = np.where(np.isfinite(stamps), stamps, np.float32(0))
    sums = _sums(clean, np.stack([aperture.ravel(), core.ravel()], axis=1))
    log_flux = np.log10(np.maximum(sums[:, :, 0], _TINY_NMGY))
    columns: dict[str, Floats] = {}
    for j, band in enumerate(imaging.bands):
        columns[f"trivial/log_flux_{band}"] = log_flux[:, j]
        columns[f"trivial/core_mean_{band}"] = sums[:, j, 1] / core.sum()
    for j, colour in enumerate(imaging.colours):
        columns[f"trivial/{colour}"] = 2.5 * (log_flux[:, j + 1] - log_flux[:, j])
    band, image = imaging.reference_band, clean[:, imaging.reference]
    columns[f"trivial/half_light_radius_{band}"] = half_light_radius(image, params.aperture_radius_pixels)
    columns[f"trivial/outer_mad_{band}"] = _median_and_mad(np.ascontiguousarray(image[:, ~aperture]))[1]
    return pd.DataFrame(columns)


def radial_profile(stamps: NDArray[np.floating], rings: int) -> Floats:
    """Mean surface brightness in rings of equal width out to the half-width: (batch, band, ring), nMgy/pixel."""
    member = _ring(stamps.shape, rings).ravel()[:, None] == np.arange(rings)
    finite = np.isfinite(stamps)
    if finite.all():
        return _sums(stamps, member) / member.sum(axis=0)
    return _sums(np.where(finite, stamps, 0), member) / np.maximum(_sums(finite, member), 1.0)


def normalisation_statistics(stamps: Stamps, annulus_pixels: tuple[float, float]) -> tuple[Floats, Floats]:
    """Median and MAD per stamp and band over r_in <= r < r_out pixels: two (batch, band) arrays, nMgy.

    Missing pixels are left out; a band without any pixel gives 0, 0.
    """
    radius = _radius(stamps.shape)
    inside = (radius >= annulus_pixels[0]) & (radius < annulus_pixels[1])
    if not inside.any():
        raise invalid("annulus_pixels", f"inside stamps of {stamps.shape[-1]} pixels", annulus_pixels)
    values = stamps.reshape(-1, radius.size)[:, np.flatnonzero(inside.ravel())]
    median, mad = _median_and_mad(values)
    for row in np.flatnonzero(~np.isfinite(values).all(axis=1)):
        kept = values[row][np.isfinite(values[row])]
        median[row], mad[row] = (m[0] for m in _median_and_mad(kept[None])) if len(kept) else (0.0, 0.0)
    return median.reshape(stamps.shape[:2]), mad.reshape(stamps.shape[:2])


def half_light_radius(image: NDArray[np.floating], aperture_pixels: float) -> Floats:
    """Radius in pixels that contains half of the aperture's positive flux; image is (batch, y, x)."""
    edges = np.append(0.0, np.arange(0.5, aperture_pixels + 1.0))
    growth = _sums(np.maximum(image, 0.0), _radius(image.shape).ravel()[:, None] < edges)
    share = growth / np.maximum(growth[:, -1:], 1e-12)
    above = np.argmax(share >= 0.5, axis=1)
    rows = np.arange(len(image))
    before = share[rows, np.maximum(above - 1, 0)]
    step = np.maximum(share[rows, above] - before, 1e-12)
    inner, outer = edges[np.maximum(above - 1, 0)], edges[above]
    return np.where(above > 0, inner + (outer - inner) * (0.5 - before) / step, 0.0)


def texture_features(stamps: Stamps) -> Floats:
    """Shape of the light apart from its amount, for the realism probe: (batch, feature).

    Per band: profile over its own sum, rms of the azimuthal residual per ring over the profile, and power in the finest
    octave over the total of the residual.
    """
    rings = 10
    profile = radial_profile(stamps, rings)
    which = np.minimum(_ring(stamps.shape, rings), rings - 1)
    clean = np.where(np.isfinite(stamps), stamps, 0.0)
    residual = clean - profile[:, :, which].astype(np.float32)
    scale = np.maximum(np.abs(profile).sum(axis=2, keepdims=True), 1e-9)
    rms = np.sqrt(np.maximum(radial_profile(residual**2, rings), 0.0))
    blurred = residual
    for axis in (2, 3):
        blurred = (np.roll(blurred, 1, axis) + 2.0 * blurred + np.roll(blurred, -1, axis)) / 4.0
    fine = residual - blurred
    roughness = (fine**2).sum(axis=(2, 3)) / np.maximum((residual**2).sum(axis=(2, 3)), 1e-12)
    blocks = [profile / scale, np.log10(rms / scale + 1e-6), roughness[:, :, None]]
    return np.concatenate(blocks, axis=2).reshape(len(stamps), -1)


def _sums(images: NDArray[Any], member: NDArray[np.bool_]) -> Floats:
    """Sums over groups of pixels, ``member`` (pixel, group), in double precision: the same in any batch."""
    flat = images.reshape(*images.shape[:-2], -1).astype(np.float64)
    return np.asarray(flat @ member.astype(np.float64))


def _radius(shape: tuple[int, ...]) -> Floats:
    y, x = np.indices(shape[-2:], dtype=np.float64)
    return np.hypot(x - (shape[-1] - 1) / 2.0, y - (shape[-2] - 1) / 2.0)


def _ring(shape: tuple[int, ...], rings: int) -> NDArray[np.int_]:
    """Ring of each pixel (y, x); `rings` or more beyond the half-width."""
    return np.floor(_radius(shape) / (shape[-1] / 2.0) * rings).astype(int)


def _median_and_mad(values: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Row-wise median and median absolute deviation."""
    median = np.median(values, axis=1, keepdims=True)
    mad = np.median(np.abs(values - median), axis=1)
    return median[:, 0].astype(np.float64), mad.astype(np.float64)
