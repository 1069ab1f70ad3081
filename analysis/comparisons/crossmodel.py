"""The same trials scored by two finders: whether the ceiling of one is its own, or that of the sources.

Trials have the same identifiers, hosts, lenses, sources and seeds for all finders with the same hosts; those that only
one finder has (the other was trained on the host) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.comparisons.trials import DRAWN, scored
from analysis.records import Status
from analysis.statistics.changes import Change, change
from analysis.statistics.intervals import largest
from lake.tables.trials import BASELINE

EXPERIMENT, THRESHOLD = "bright_arcs", 0.3
MODELS_ABOVE = 0.50
"""Ceiling of another finder above which that of the first is the finder's own."""
SOURCES_WITHIN = (0.25, 0.35)
"""Ceiling of another finder at which that of the first is the sources'."""


@dataclass(frozen=True)
class Ceiling:
    """The largest share over the bins, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Crossed:
    """Two finders on the same trials."""

    own: Ceiling
    other: Ceiling
    """Of the other finder"""
    change: Change
    """From the first finder to the other, over all bins"""

    @property
    def words(self) -> str:
        """The other finder's ceiling, and the change over all bins."""
        value, low, high = self.change.points
        over = f"{value:+.1f} [{low:.1f}, {high:.1f}] points over {self.change.trials:,} common trials"
        return f"ceiling {_percent(self.other)} where this finder's is {_percent(self.own)}; {over}"

    @property
    def status(self) -> Status:
        """GO: the ceiling is the finder's own, as the other's lies above 50 % with its whole interval; NO-GO: it is the
        sources', as the other's is 25 to 35 % and its interval lies below 50 %; else BORDERLINE."""
        low, high = SOURCES_WITHIN
        if self.other.low > MODELS_ABOVE:
            return "GO"
        return "NO-GO" if low <= self.other.value <= high and self.other.high < MODELS_ABOVE else "BORDERLINE"


def crossed(own: pd.DataFrame, other: pd.DataFrame) -> Crossed | str:
    """Two finders' bright arcs (rows of ``trials``) at p > 0.3, or why they cannot be compared."""
    wanted = ["trial_id", "probability", *DRAWN]
    first, second = (scored(rows, EXPERIMENT, BASELINE)[wanted] for rows in (own, other))
    both = first.merge(second, on="trial_id", suffixes=("_own", "_other"), validate="one_to_one")
    if both.empty:
        return "no bright arc was scored by both"
    if any(not both[f"{name}_own"].equals(both[f"{name}_other"]) for name in DRAWN):
        return "their trials are not the same: they were made with other parameters or another seed"
    found = {who: both[f"probability_{who}"] > THRESHOLD for who in ("own", "other")}
    moved = change(found["own"], found["other"], both["galaxy_id_own"])
    ceilings = [_ceiling(found[who], both["bin_own"]) for who in ("own", "other")]
    return Crossed(ceilings[0], ceilings[1], moved)


def _percent(of: Ceiling) -> str:
    return f"{100 * of.value:.1f} % [{100 * of.low:.1f}, {100 * of.high:.1f}]"


def _ceiling(found: pd.Series, bins: pd.Series) -> Ceiling:
    counts = found.groupby(bins).agg(["sum", "count"])
    low, high = largest(counts["sum"], counts["count"])
    return Ceiling(float((counts["sum"] / counts["count"]).max()), low, high)


def verdict(found: Sequence[Crossed]) -> Status:
    """One verdict from several other finders: what one of them decides, in the order GO, BORDERLINE, NO-GO."""
    if not found:
        return "NOT MEASURED"
    order: tuple[Status, ...] = ("GO", "BORDERLINE", "NO-GO")
    return order[int(np.min([order.index(one.status) for one in found]))]
