"""Counts of injections by cell, and sums over hosts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.statistics.intervals import ClusterSums

RATES = {"23-24": 0.119, "24-25": 0.032, "25-26": 0.005}


def cells(n=200, failed=3, thetas=(1.0, 1.5), rates=None):
    """Counts per cell x bin at one threshold, the 'all' bin included; every host served once."""
    rows = []
    for i, theta in enumerate(thetas):
        parts = []
        for name, rate in (rates or RATES).items():
            size = n * (i + 1)
            parts.append({"source_mag_bin": name, "n": size, "detected": round(rate * size), "failed": failed})
        whole = {key: sum(part[key] for part in parts) for key in ("n", "detected", "failed")}
        for part in [*parts, {"source_mag_bin": "all", **whole}]:
            rows.append(
                {
                    "grid_id": "g1",
                    "grid_name": "main",
                    "generation": "demo1",
                    "checkpoint_id": "c1",
                    "weighting_id": "v1",
                    "prior": "v1",
                    "cell": f"{i}/0/0",
                    "threshold_id": "p0.3",
                    "threshold": 0.3,
                    "theta_e_arcsec": theta,
                    "psf_fwhm_nea_arcsec_low": 0.9,
                    "psf_fwhm_nea_arcsec_high": 1.05,
                    "depth_mag_low": 23.5,
                    "depth_mag_high": 24.0,
                    "hosts": part["n"],
                    "mean_score": -2.0 + i,
                    "mean_arc_snr": 10.0,
                    **part,
                }
            )
    return pd.DataFrame(rows)


def cluster_sums(k, n):
    """The sums that a clustered interval needs, of one group of clusters with k of n in each."""
    k, n = np.asarray(k, float), np.asarray(n, float)
    return ClusterSums(
        *(np.atleast_1d(float(value)) for value in (len(n), (k * k).sum(), (k * n).sum(), (n * n).sum()))
    )
