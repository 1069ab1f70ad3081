"""Noise of injections: Poisson noise of the arc alone, as the host has its own; sky noise for hosts without any.

Random numbers are counter-based, one per seed, injection, band and pixel: the noise of a pixel does not depend on the
batch, the order or the thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import ArrayLike, NDArray

from injection.keyed import Keyed
from lake.errors import invalid

Array = NDArray[np.float64]
Images = NDArray[np.float32]

EXACT_BELOW = 64.0
"""Expected counts below which Poisson quantiles are exact. Above, they are expanded about the Gaussian quantile, which
is off by one count in at most 0.5 % of the draws, never by more up to 7 sigma, and by 2e-4 in distribution."""


def add_poisson(arcs: Images, gain_e_per_nmgy: float, seed: int, injection_ids: pa.Array) -> Images:
    """Arcs (batch, band, y, x) nMgy with the Poisson noise of their own electrons.

    Only positive flux is drawn, so empty pixels stay empty. The variance is ``flux / gain``.
    """
    if not gain_e_per_nmgy > 0:
        raise invalid("poisson_gain_e_per_nmgy", "positive", gain_e_per_nmgy)
    words = Keyed(seed, injection_ids).words("poisson")
    out = np.array(arcs, dtype=np.float32)
    _poisson(out.reshape(len(out), -1), np.float64(gain_e_per_nmgy), words)
    return out


def add_sky(images: Images, sigma_nmgy: ArrayLike, seed: int, injection_ids: pa.Array) -> Images:
    """Images with Gaussian noise of (batch, band) standard deviations (nMgy), for hosts without noise."""
    sigma = np.asarray(sigma_nmgy, dtype=np.float64)
    if sigma.shape != images.shape[:2] or not (np.isfinite(sigma) & (sigma >= 0)).all():
        raise invalid("sigma_nmgy", f"{images.shape[:2]}, finite and not negative", sigma.tolist())
    words = Keyed(seed, injection_ids).words("sky")
    out = np.array(images, dtype=np.float32)
    _gaussian(out.reshape(*out.shape[:2], -1), sigma, words)
    return out


def updated_inverse_variance(inverse_variance: ArrayLike, arcs: Images, gain_e_per_nmgy: float) -> Images:
    """Inverse variance (nMgy^-2) of host plus arc, both (batch, band, y, x), with the Poisson variance of the arc.

    Masked pixels, with an inverse variance of zero, stay zero.
    """
    before = np.asarray(inverse_variance, dtype=np.float32)
    if before.shape != arcs.shape or not (np.isfinite(before) & (before >= 0)).all():
        raise invalid("inverse_variance", f"{arcs.shape}, finite and not negative", before.shape)
    added = arcs.clip(min=0.0) / np.float32(gain_e_per_nmgy)
    return np.asarray(before / (1.0 + before * added), dtype=np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def _uniform(key: Any, counter: Any) -> Any:
    """A number in (0, 1) from a key and a counter (the finaliser of SplitMix64)."""
    z = key + np.uint64(0x9E3779B97F4A7C15) * np.uint64(counter + 1)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (np.float64((z ^ (z >> np.uint64(31))) >> np.uint64(11)) + 0.5) / 9007199254740992.0


@njit(cache=True, nogil=True, error_model="numpy")
def _normal(key: Any, counter: Any) -> Any:
    """A standard normal number (Box & Muller)."""
    radius = np.sqrt(-2.0 * np.log(_uniform(key, 2 * counter)))
    return radius * np.cos(2.0 * np.pi * _uniform(key, 2 * counter + 1))


@njit(cache=True, nogil=True, error_model="numpy")
def _many_counts(expected: Any, z: Any) -> Any:
    """Poisson quantile of a standard normal number, by its Cornish-Fisher expansion."""
    root = np.sqrt(expected)
    return max(np.floor(expected + root * z + (z * z - 1.0) / 6.0 - (z * z * z - z) / (72.0 * root) + 0.5), 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _counts(expected: Any, key: Any, counter: Any) -> Any:
    """Poisson counts: by summing probabilities, or by :func:`_many_counts` if many are expected."""
    if expected < EXACT_BELOW:
        u = _uniform(key, 2 * counter)
        count, term = 0, np.exp(-expected)
        total = term
        while u > total and count < 1000:
            count += 1
            term *= expected / count
            total += term
        return float(count)
    return _many_counts(expected, _normal(key, counter))


@njit(cache=True, nogil=True, error_model="numpy")
def _poisson(flat: Any, gain: Any, keys: Any) -> None:
    for row in range(flat.shape[0]):
        for pixel in range(flat.shape[1]):
            if flat[row, pixel] > 0.0:
                flat[row, pixel] = _counts(flat[row, pixel] * gain, keys[row], pixel) / gain


@njit(cache=True, nogil=True, error_model="numpy")
def _gaussian(flat: Any, sigmas: Any, keys: Any) -> None:
    pixels = flat.shape[2]
    for row in range(flat.shape[0]):
        for band in range(flat.shape[1]):
            for pixel in range(pixels):
                flat[row, band, pixel] += sigmas[row, band] * _normal(keys[row], band * pixels + pixel)
