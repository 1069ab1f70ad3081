"""The link `light` of the closure: the rendered light of the true lenses' arcs, over that of the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.records import Gate, Measure, gate_within, missing, not_measured, reason
from analysis.results.untouched import FEWEST
from analysis.statistics.intervals import TABLE_LEVEL

LIGHT = "closure/light"


def light_errors(lenses: pd.DataFrame, replicates: int, rng: np.random.Generator) -> list[Measure]:
    """Relative error of the rendered light in each band, as medians over the lenses; that of few has no interval, as
    all their resamples are nearly alike.

    A wrong angle, or a mirrored image, makes some arcs brighter and others fainter: the median error stays, and its
    size grows.
    """
    if len(lenses) < FEWEST:
        return [missing(LIGHT, f"{len(lenses)} lenses, fewer than {FEWEST}", len(lenses))]
    found = []
    drawn = rng.integers(len(lenses), size=(replicates, len(lenses)))
    tail = (1.0 - TABLE_LEVEL) / 2.0
    for column in (c for c in lenses.columns if c.startswith(("flux_", "norm_"))):
        error = lenses[column].to_numpy() - 1.0
        kind, _, band = column.partition("_")
        what = "total flux" if kind == "flux" else "root of summed squares, which the PSF changes"
        parts = {kind: (error, f"rendered over true, {what}: median over lenses, minus 1")}
        if kind == "flux":
            parts["each"] = abs(error), "size of the relative error of each lens's total flux: median over lenses"
        for name, (values, how) in parts.items():
            low, high = np.quantile(np.median(values[drawn], axis=1), [tail, 1.0 - tail])
            value = float(np.median(values))
            found.append(Measure(f"{LIGHT}/{name}/{band}", value, float(low), float(high), len(lenses), "", how))
    return found


def judged_light(light: Sequence[Measure], tolerance: float) -> Gate:
    """The gate of the largest of the errors."""
    worst = max(light, key=lambda m: abs(m.value))
    if math.isnan(worst.value):
        return not_measured(LIGHT, tolerance, f"bias of rendered light: {reason(worst)}")
    return within("light", worst, tolerance, "of rendered light")


def within(link: str, measure: Measure, tolerance: float, what: str) -> Gate:
    """The gate of a link of the closure whose bias may be as large as the tolerance."""
    rule = f"bias {what} of at most {tolerance:g} either way: PASS if the whole 95 % interval is, FAIL if none of it is"
    return gate_within(f"closure/{link}", measure, tolerance, rule)
