"""Made-up galaxies of two populations, for tests of the host propensity."""

from __future__ import annotations

import numpy as np
import pandas as pd

SHAPE = ("mag_z", "sersic", "type")


def galaxies(count: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Galaxies that are brighter in z by `shift` standard deviations, and more often of early type."""
    rng = np.random.default_rng(seed)
    early = rng.random(count) < 0.4 + 0.2 * shift
    return pd.DataFrame(
        {
            "mag_z": 19.0 - shift + rng.normal(0.0, 1.0, count),
            "sersic": np.where(early, 4.0, rng.uniform(0.5, 3.0, count)),
            "type": np.where(early, "DEV", "SER"),
        }
    )
