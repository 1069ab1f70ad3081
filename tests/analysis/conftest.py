"""Parameters and simulated stamps shared by the analysis tests."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.config import DiagnoseParams
from analysis.statistics.intervals import ClusterSums


@pytest.fixture(scope="session")
def diagnose():
    return DiagnoseParams(
        trivial_replicates=500,
        max_bad_pixel_fraction=0.05,
        max_bad_cutout_fraction=0.05,
        split_tolerance=0.02,
        ks_material_p=0.001,
        ks_cosmetic_p=0.05,
        comparison_annuli_pixels=((20.0, 32.0), (32.5, 45.0)),
        sample_per_class=50,
        probe_gate_auc=0.85,
        probe_folds=4,
        probe_components=8,
        probe_permutations=20,
        probe_bootstrap=200,
        probe_source_mag_max=24.0,
        core_radius_pixels=8.0,
        core_brightness_tolerance=0.10,
        core_auc_max=0.55,
        profile_auc_max=0.60,
        normalisation_d_max=0.1,
        profile_rings=10,
        aperture_radius_pixels=30.0,
        flux_ratio_tolerance=0.10,
    )


def cluster_sums(k, n):
    """The sums that a clustered interval needs, of one group of clusters with k of n in each."""
    k, n = np.asarray(k, float), np.asarray(n, float)
    return ClusterSums(
        *(np.atleast_1d(float(value)) for value in (len(n), (k * k).sum(), (k * n).sum(), (n * n).sum()))
    )


def make_stamps(rng, flux_nmgy, sigma_px, noise=0.002, size=101):
    """Round Gaussian galaxies (batch, band, y, x): flux per band (batch, 3) in nMgy."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    sigma = np.asarray(sigma_px, float)[:, None, None]
    shape = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    image = np.asarray(flux_nmgy, float)[:, :, None, None] * shape[:, None]
    return (image + rng.normal(scale=noise, size=image.shape)).astype(np.float32)
