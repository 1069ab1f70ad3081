"""What another finder would change: completeness of two finders on the same trials of the grid's own draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.comparisons.trialpairs import in_points, measurable
from analysis.comparisons.trials import DRAWN, scored
from analysis.records import Measure, missing
from analysis.statistics.contrasts import mean_change
from analysis.statistics.thresholds import Threshold, why_not
from lake.tables.trials import BASELINE

EXPERIMENT, TERM = "sensitivity", "gap_budget/network"
DIAGNOSTIC = "gap_budget"


@dataclass(frozen=True)
class Finder:
    """The trials of one finder (rows of ``trials``), and its thresholds."""

    trials: pd.DataFrame
    thresholds: Sequence[Threshold]


def network(finders: Mapping[str, Finder], name: str, at: str) -> list[Measure]:
    """Completeness of every other finder minus that of `name`, each at its own value of a threshold, in points; first
    that of the finder that differs most."""
    others = [_minus(finders, name, other, at) for other in finders if other != name]
    known = [m for m in others if m.n]
    if not known:
        why = others[0].method if others else "there is no other finder"
        return [missing(TERM, why, unit="points"), *others]
    most = max(known, key=lambda m: abs(m.value))
    how = f"{most.method}; of {len(known)} other finders the one that differs most; it changes recall, too"
    return [replace(most, name=TERM, method=how), *others]


def _minus(finders: Mapping[str, Finder], name: str, other: str, at: str) -> Measure:
    what = f"{TERM}/{other}"

    def no(why: str) -> Measure:
        return missing(what, why, unit="points")

    points = [measurable(finders[one].thresholds) for one in (name, other)]
    lacking = [one for one, known in zip((name, other), points, strict=True) if at not in known]
    if lacking:
        return no("; ".join(f"{one}: {why_not(finders[one].thresholds, at)}" for one in lacking))
    first, second = (
        scored(finders[one].trials, EXPERIMENT, BASELINE)[["trial_id", "probability", *DRAWN]] for one in (name, other)
    )
    both = first.merge(second, on="trial_id", suffixes=("_own", "_other"), validate="one_to_one")
    if both.empty:
        return no(f"{name} and {other} have no scored trial of {EXPERIMENT} in common")
    if any(not both[f"{column}_own"].equals(both[f"{column}_other"]) for column in DRAWN):
        return no("their trials are not the same: they were made with other parameters or another seed")
    hits = [both[f"probability_{who}"] > known[at] for who, known in zip(("own", "other"), points, strict=True)]
    found = mean_change(hits[1].astype(float) - hits[0].astype(float), [both["galaxy_id_own"]])
    how = f"completeness of {other} minus that of {name} at {at}, on {found.n:,} common trials; hosts as clusters"
    return in_points(what, found, how)
