"""The difference of one figure between two finders, where both were measured on the same objects, injections or trials.

Each finder is at its own value of a threshold. What a pair has in common cancels, so these intervals are narrower than
those of two figures with independent errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.comparisons.crossmodel import EXPERIMENT
from analysis.comparisons.trials import DRAWN, scored
from analysis.statistics.changes import change
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.paired import not_narrower
from lake.tables.trials import BASELINE

_ON_OBJECTS = re.compile(r"(?:lens_)?recall(?:/(?P<group>all|tier_[^/]+))?/(?P<at>[^/]+)|(?P<fpr>fpr)/(?P<rate>[^/]+)")
_ON_TRIALS = re.compile(r"bright_arcs/(?:(?P<what>ceiling)|detected/(?P<bin>[^/]+))/(?P<at>[^/]+)")
_REPLICATES = 2000
_SEED = 0


@dataclass(frozen=True)
class Measured:
    """What one finder was measured on."""

    objects: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The untouched test objects: `galaxy_id`, `label`, `tier`, `probability`"""
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Rows of `trials`"""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Values of the measurable thresholds, by name"""


@dataclass(frozen=True)
class Difference:
    """One figure minus another, with its 95 % interval."""

    value: float
    low: float
    high: float
    how: str


def paired(measure: str, own: Measured, other: Measured) -> Difference | None:
    """`measure` of `own` minus that of `other`; None where it is not one that the same objects or trials give."""
    if (match := _ON_OBJECTS.fullmatch(measure)) is not None:
        at = match["at"] or match["rate"]
        return _on_objects(own, other, at, match["group"], 0 if match["fpr"] else 1) if _known(own, other, at) else None
    if (match := _ON_TRIALS.fullmatch(measure)) is not None and _known(own, other, match["at"]):
        return _on_trials(own, other, match["at"], match["bin"])
    return None


def _known(own: Measured, other: Measured, at: str) -> bool:
    return at in own.thresholds and at in other.thresholds


def _on_objects(own: Measured, other: Measured, at: str, group: str | None, label: int) -> Difference | None:
    """Shares of the same galaxies above a threshold; without objects that only one finder may be measured on."""
    if own.objects.empty or other.objects.empty:
        return None
    second = other.objects[["galaxy_id", "probability"]]
    both = own.objects.merge(second, on="galaxy_id", suffixes=("_own", "_other"), validate="one_to_one")
    both = both[both["label"] == label]
    if group not in (None, "all"):
        both = both[both["tier"] == str(group).removeprefix("tier_")]
    if both.empty:
        return None
    before, after = (both[f"probability_{who}"] > one.thresholds[at] for who, one in (("other", other), ("own", own)))
    found = change(before, after, both["galaxy_id"])
    how = f"paired on {found.trials:,} galaxies (Bonett-Price), thresholds as they are"
    return Difference(found.value, found.low, found.high, how)


def _on_trials(own: Measured, other: Measured, at: str, bin_: str | None) -> Difference | None:
    """Shares of the same trials above a threshold: of one bin, or the largest of all."""
    first, second = (scored(one.trials, EXPERIMENT, BASELINE) for one in (own, other))
    wanted = ["trial_id", "probability", *DRAWN]
    both = first[wanted].merge(second[wanted], on="trial_id", suffixes=("_own", "_other"), validate="one_to_one")
    if bin_ is not None:
        both = both[both["bin_own"] == bin_]
    if both.empty or any(not both[f"{name}_own"].equals(both[f"{name}_other"]) for name in DRAWN):
        return None
    hits = {who: both[f"probability_{who}"] > one.thresholds[at] for who, one in (("own", own), ("other", other))}
    if bin_ is not None:
        found = change(hits["other"], hits["own"], both["galaxy_id_own"])
        how = f"paired on {found.trials:,} trials, hosts as clusters (Bonett-Price)"
        return Difference(found.value, found.low, found.high, how)
    value, low, high = _of_ceilings(hits, both["bin_own"], both["galaxy_id_own"])
    return Difference(value, low, high, f"paired on {len(both):,} trials; bootstrap of hosts of both largest shares")


def _of_ceilings(hits: Mapping[str, pd.Series], bins: pd.Series, hosts: pd.Series) -> tuple[float, float, float]:
    """Largest share over the bins, own minus other; hosts are resampled with all their trials."""
    host, bin_ = (np.unique(names, return_inverse=True)[1] for names in (hosts, bins))
    shape = int(host.max()) + 1, int(bin_.max()) + 1
    place = np.ravel_multi_index((host, bin_), shape)
    made = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)
    drawn = np.random.default_rng(_SEED).multinomial(shape[0], np.full(shape[0], 1.0 / shape[0]), _REPLICATES)
    counts = np.vstack([np.ones((1, shape[0]), dtype=np.int64), drawn])
    largest = {}
    for who, found in hits.items():
        above = np.bincount(place, found.to_numpy(float), minlength=shape[0] * shape[1]).reshape(shape)
        largest[who] = (counts @ above / np.maximum(counts @ made, 1)).max(axis=1)
    value, *others = largest["own"] - largest["other"]
    tail = 100.0 * (1.0 - TABLE_LEVEL) / 2.0
    low, high = np.percentile(others, [tail, 100.0 - tail])
    return not_narrower((float(value), float(low), float(high)), int(made.sum(axis=0).min()))
