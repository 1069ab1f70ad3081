"""What the tests of diagnostics share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.diagnostics.masked_pixels import Params
from analysis.statistics.thresholds import fix_thresholds
from tests.analysis.report_inputs import EVALUATE


def measure(outcome, name):
    return next(one for one in outcome.measures if one.name == name)


def status(outcome, name):
    return next(gate.status for gate in outcome.gates if gate.name == name)


FRACTIONS = (0.70, 0.15, 0.15)


def manifest(seed=0, pixels=120):
    rng = np.random.default_rng(seed)
    split = np.repeat(["train", "val", "test"], [84, 18, 18])
    rows = []
    for pixel in range(pixels):
        seeing, depth = rng.normal(1.2, 0.1), rng.normal(200, 20)
        for i in range(40):
            rows.append(
                {
                    "galaxy_id": f"s:{pixel}_{i}",
                    "cutout_path": f"bucket#{pixel}_{i}",
                    "split": split[pixel],
                    "label": int(i < 7),
                    "tier": "A" if i < 2 else ("B" if i < 7 else None),
                    "type_bin": ["SER", "DEV", "REX"][i % 3],
                    "healpix_128": pixel,
                    "psfsize_r": seeing,
                    "psfdepth_r": depth,
                }
            )
    return pd.DataFrame(rows)


def fixed(negatives):
    """The threshold p0.3, judged on some negatives."""
    return fix_thresholds([], negatives, EVALUATE)[0]


def masked_params():
    return Params.model_construct(max_bad_pixel_fraction=0.05, max_bad_cutout_fraction=0.05)
