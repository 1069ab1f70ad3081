"""Trials of an experiment in all their variants, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.comparisons.trials import share_of_hosts
from analysis.records import Measure, missing
from analysis.results.untouched import FEWEST
from analysis.statistics.contrasts import MeanChange
from analysis.statistics.thresholds import Threshold
from lake.tables.trials import BASELINE

_COLUMNS = ["probability", "galaxy_id"]
POINTS = 100.0
"""Points of completeness in a share."""


def of_experiment(trials: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The scored trials of an experiment: a row per trial (`trial_id`), in order.

    Columns are pairs: (`probability`, variant), NaN where it failed; (`galaxy_id`, variant), the host; (`bin`, "").
    Empty without such trials.
    """
    rows = trials[(trials["experiment"] == experiment) & (trials["status"] == "scored")] if len(trials) else trials
    if not len(rows):
        return pd.DataFrame()
    wide = rows.pivot(index="trial_id", columns="variant", values=_COLUMNS)
    wide["bin"] = rows.drop_duplicates("trial_id").set_index("trial_id")["bin"]
    return wide


def variants(wide: pd.DataFrame) -> list[str]:
    """Variants of :func:`of_experiment` that some trial was scored in."""
    return list(wide["probability"].columns) if len(wide) else []


def scored_in(wide: pd.DataFrame, *names: str) -> pd.DataFrame:
    """The trials that were scored in each of these variants."""
    return wide.dropna(subset=[("probability", name) for name in names])


def detected(wide: pd.DataFrame, variant: str, threshold: float) -> NDArray[np.float64]:
    """1 for each trial above a threshold in one variant, else 0."""
    found: NDArray[np.float64] = (wide["probability", variant].to_numpy(float) > threshold).astype(np.float64)
    return found


def changes(wide: pd.DataFrame, variant: str, threshold: float) -> NDArray[np.float64]:
    """Change of each trial's decision from the baseline to a variant: 1, 0 or -1."""
    return detected(wide, variant, threshold) - detected(wide, BASELINE, threshold)


def measurable(points: Sequence[Threshold]) -> dict[str, float]:
    """Values of the thresholds that trials are judged at, by name."""
    return {point.threshold_id: point.threshold for point in points if point.measurable}


def share(name: str, wide: pd.DataFrame, variant: str, threshold: float, how: str) -> Measure:
    """Share of the trials above a threshold in one variant, in per cent."""
    found = pd.Series(detected(wide, variant, threshold))
    m = share_of_hosts(name, found, wide["galaxy_id", variant].reset_index(drop=True), how)
    ends = {end: POINTS * getattr(m, end) for end in ("value", "low", "high")}
    return replace(m, **ends, unit="percent")


def in_points(name: str, found: MeanChange, how: str) -> Measure:
    """A mean change in points; not measured with trials in fewer than ten hosts."""
    if found.hosts < FEWEST:
        why = f"{found.n} trials in {found.hosts} hosts, fewer than {FEWEST}"
        return missing(name, f"{why}; {how}", unit="points")
    value, low, high = (POINTS * part for part in (found.value, found.low, found.high))
    return Measure(name, value, low, high, found.n, "points", how)
