"""Made-up chains of the closure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.diagnostics.closure import Chain, Params
from tests.analysis.outcomes import fixed

PARAMS = Params.model_construct(closure_threshold="p0.3", closure_replicates=500)
POINTS = [fixed(np.zeros(100))]


def made_up(rng, own=0.0, hosts=0.0, grid=0.0, light=1.0, lenses=400):
    """A chain whose links shift the logit of every lens."""
    logit = rng.normal(1.5, 1.5, lenses)

    def probability(values):
        return 1 / (1 + np.exp(-values))

    frame = pd.DataFrame({"painted": probability(logit), "own": probability(logit + own), "seen": False})
    for column in ("flux_r", "norm_r"):
        frame[column] = light * np.exp(rng.normal(0, 0.01, lenses))
    lens, host = np.repeat(np.arange(lenses), 6), rng.integers(0, 300, 6 * lenses)
    pairs = pd.DataFrame({"lens": lens, "host": [f"h{i}" for i in host], "all": 1.0})
    pairs["probability"] = probability(logit[lens] + own + hosts + 0.3 * rng.normal(size=300)[host])
    rows = pd.DataFrame({"host": [f"h{i}" for i in rng.integers(0, 300, 4000)], "all": 1.0, "weight": 1.0})
    rows["probability"] = probability(rng.normal(1.5, 1.5, 4000) + own + hosts + grid)
    return Chain(frame, pairs, ("all",), rows)
