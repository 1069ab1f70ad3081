"""Simulated galaxies whose fluxes and sizes are known."""

from __future__ import annotations

import numpy as np


def make_stamps(rng, flux_nmgy, sigma_px, noise=0.002, size=101):
    """Round Gaussian galaxies (batch, band, y, x): flux per band (batch, 3) in nMgy."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    sigma = np.asarray(sigma_px, float)[:, None, None]
    shape = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    image = np.asarray(flux_nmgy, float)[:, :, None, None] * shape[:, None]
    return (image + rng.normal(scale=noise, size=image.shape)).astype(np.float32)
