"""Made-up trials: a finder whose score rises with the source's flux, up to where it distrusts it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

EDGES = range(18, 27)


def variant(name: str, shift: NDArray[np.float64], per_bin: int = 40, seed: int = 0) -> pd.DataFrame:
    """Rows of ``trials`` of one variant: the same trials for any name; ``shift`` (bin) is added to their scores."""
    rng, parts = np.random.default_rng(seed), []
    for place, low in enumerate(list(EDGES)[:-1]):
        hosts = rng.permutation(200)[:per_bin]
        magnitude = low + rng.random(per_bin)
        score = 4.0 - 0.8 * np.abs(magnitude - 21.5) + rng.normal(0.0, 2.0, per_bin) - 2.0
        of_bin = {
            "trial_id": [f"bright_arcs/{low}-{low + 1}/h{host:03d}" for host in hosts],
            "galaxy_id": [f"h{host:03d}" for host in hosts],
            "bin": f"{low}-{low + 1}",
            "src_mag": magnitude,
            "arc_snr": 10.0 ** (0.4 * (26.0 - magnitude)),
            "score": score + shift[place],
            "beta_frac": 0.3,
        }
        parts.append(pd.DataFrame(of_bin))
    rows = pd.concat(parts, ignore_index=True)
    same = {"experiment": "bright_arcs", "variant": name, "theta_e_arcsec": 1.5, "host_probability": 0.01, "seed": 1}
    return rows.assign(**same, probability=expit(rows["score"]), status="scored", reason=None)


def even(shift: float = 0.0) -> NDArray[np.float64]:
    """The same shift in all bins."""
    return np.full(len(EDGES) - 1, shift)


def experiment(per_bin: int = 40) -> pd.DataFrame:
    """All variants of a network of this project: noise and a small clip range cost, core suppression does not."""
    brightest = np.array([-3.0, -2.0, *[0.0] * 6])
    shifts = {
        "baseline": even(),
        "unrestricted": even(-0.5),
        "poisson": even(-0.4),
        "high_gain": even(1e-5),
        "core_suppressed": even(),
        "clip20": brightest,
        "clip100": -brightest,
        "poisson_clip20": brightest - 0.4,
    }
    return pd.concat([variant(name, shift, per_bin) for name, shift in shifts.items()], ignore_index=True)


def not_ours(trials: pd.DataFrame) -> pd.DataFrame:
    """The same of a finder whose preprocessing is its own."""
    return trials[~trials["variant"].str.contains("clip")].reset_index(drop=True)
