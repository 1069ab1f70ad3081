"""Frames like the table `trials`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.statistics.thresholds import Threshold


def trials(
    experiment: str,
    hits: Mapping[str, Sequence[float]],
    hosts: Mapping[str, Sequence[str]] | Sequence[str],
    bins: Sequence[str] | None = None,
) -> pd.DataFrame:
    """A trial per value of `hits`, which holds 1 (found), 0 or NaN (failed) by variant; hosts of all or by variant."""
    parts = []
    for variant, found in hits.items():
        values = np.asarray(found, dtype=float)
        galaxies = hosts[variant] if isinstance(hosts, Mapping) else hosts
        failed = np.isnan(values)
        parts.append(
            pd.DataFrame(
                {
                    "experiment": experiment,
                    "variant": variant,
                    "trial_id": [f"{experiment}/{place:05d}" for place in range(len(values))],
                    "seed": 1,
                    "galaxy_id": galaxies,
                    "bin": ["all"] * len(values) if bins is None else bins,
                    "theta_e_arcsec": 1.5,
                    "probability": np.where(failed, np.nan, np.where(values > 0, 0.9, 0.1)),
                    "host_probability": np.where(failed, np.nan, 0.05),
                    "status": np.where(failed, "failed", "scored"),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def threshold(name: str = "p0.5", value: float = 0.5, status: str = "fixed") -> Threshold:
    """A row of the table `thresholds`."""
    return Threshold(name, status, value, np.nan, 100, 0, None, 100, 0, 0.0, 0.0, 0.04)  # type: ignore[arg-type]


def finds_the_first(share: float, hosts: Sequence[str], **changes: object) -> pd.DataFrame:
    """Trials of the experiment that compares finders, of one that finds the first of them, two in each host."""
    found = (np.arange(len(hosts)) < share * len(hosts)).astype(float).tolist()
    rows = trials("sensitivity", {"baseline": found}, hosts)
    return rows.assign(beta_frac=0.3, src_mag=24.0, arc_snr=5.0, score=0.0, **changes)
