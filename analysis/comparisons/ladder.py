"""The ladder of matched populations: one linear probe of the same real lenses against ever less similar injections.

The lowest rung has the lenses' own parameters in their own hosts, so only the renderer differs; the highest is the grid
as it was drawn. What the AUC gains from one rung to the next is due to what changes between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.comparisons import populations as held
from analysis.comparisons.populations import EMBEDDING, Population, Populations
from analysis.fitted.probe import Groups, probe
from analysis.statistics.bootstrap import weighted_aucs
from analysis.statistics.intervals import TABLE_LEVEL

Floats = NDArray[np.float64]
_CHANCE = "chance"


@dataclass(frozen=True)
class Rung:
    """One step of the ladder."""

    group: str
    """Its injections, a group of `Populations`"""
    label: str
    words: str


@dataclass(frozen=True)
class Gap:
    """The difference of two rungs."""

    of: str
    minus: str
    """A rung, or chance (an AUC of 0.5)"""
    label: str
    words: str
    of_the_whole: bool = True
    """Whether it is one of the parts that add up to the whole gap"""


RUNGS: Mapping[str, Rung] = {
    "renderer": Rung(held.OWN_HOSTS, "own hosts", "the lenses' parameters in their own hosts"),
    "lens_like_hosts": Rung(held.LENS_LIKE, "lens-like hosts", "the lenses' parameters in hosts like those of lenses"),
    "early_conditioned": Rung(
        held.EARLY, "early, conditioned", "the same in early types, lenses shaped like them (IM2)"
    ),
    "all_hosts": Rung(held.ALL_HOSTS, "all hosts", "the same in hosts of all types (IM1)"),
    "grid": Rung(held.INJECTIONS, "grid as drawn", "injections as the grid drew them"),
}
"""From the most similar injections to the grid's own."""
GAPS: Mapping[str, Gap] = {
    "renderer": Gap("renderer", _CHANCE, "renderer", "own hosts minus 0.5"),
    "hosts": Gap("all_hosts", "renderer", "hosts", "hosts of all types minus own hosts"),
    "population": Gap("grid", "all_hosts", "population of lenses and sources", "the grid minus hosts of all types"),
    "hosts_left_by_matching": Gap(
        "lens_like_hosts", "renderer", "matched hosts", "hosts like those of lenses minus own hosts", False
    ),
}


@dataclass(frozen=True)
class RungFound:
    """A rung's probe."""

    auc: float
    low: float
    high: float
    p: float
    null_auc: float
    n: int
    labels: NDArray[np.int_]
    scores: Floats
    units: NDArray[np.str_]
    """Lens, or host, that each object is resampled with"""


@dataclass(frozen=True)
class Climbed:
    """The ladder of one finder."""

    rungs: Mapping[str, RungFound]
    gaps: Mapping[str, tuple[float, float, float]]
    """Difference and its 95 % interval"""
    absent: Mapping[str, str]
    """Why a rung is missing"""
    lenses: int


class Sizes(Protocol):
    """Parameters of the probe."""

    @property
    def probe_folds(self) -> int: ...
    @property
    def probe_components(self) -> int: ...
    @property
    def probe_permutations(self) -> int: ...
    @property
    def probe_bootstrap(self) -> int: ...


def climbed(groups: Populations, sizes: Sizes, rng: np.random.Generator) -> Climbed:
    """The probe of every rung that the groups allow, and the gaps between rungs, from the same resamples."""
    found, absent = {}, {}
    for name, rung in RUNGS.items():
        why = groups.why_not((held.TRUE_LENSES, rung.group), EMBEDDING, 2 * sizes.probe_folds)
        if why is None:
            found[name] = _rung(groups.of(held.TRUE_LENSES), groups.of(rung.group), sizes, rng)
        else:
            absent[name] = why
    if not found:
        return Climbed({}, {}, absent, 0)
    lenses = np.unique(groups.of(held.TRUE_LENSES).lenses)
    replicates = _replicates(found, lenses, sizes.probe_bootstrap, rng)
    gaps = {
        name: _gap(found, replicates, gap)
        for name, gap in GAPS.items()
        if gap.of in found and (gap.minus == _CHANCE or gap.minus in found)
    }
    return Climbed(found, gaps, absent, len(lenses))


def _rung(real: Population, injected: Population, sizes: Sizes, rng: np.random.Generator) -> RungFound:
    units = injected.lenses, real.lenses
    spaces = injected.spaces[EMBEDDING], real.spaces[EMBEDDING]
    groups = Groups.of(spaces, units, sizes.probe_components)
    one = probe(groups, sizes.probe_folds, sizes.probe_permutations, sizes.probe_bootstrap, rng)
    counted = len(groups.labels), groups.labels, one.scores, np.concatenate(units).astype(str)
    return RungFound(one.auc, one.low, one.high, one.p, one.null_auc, *counted)


def _replicates(
    found: Mapping[str, RungFound], lenses: NDArray[np.str_], replicates: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """AUC of each rung under resamples of the lenses, the same for all rungs, and of the grid's hosts."""
    others = np.setdiff1d(np.concatenate([one.units for one in found.values()]), lenses)
    names = np.concatenate([lenses, others])
    drawn = [
        rng.multinomial(len(part), np.full(len(part), 1.0 / len(part)), replicates)
        for part in (lenses, others)
        if len(part)
    ]
    counts = np.concatenate(drawn, axis=1).astype(np.float64)
    order = np.argsort(names)
    return {
        name: weighted_aucs(one.labels, one.scores, counts[:, order[np.searchsorted(names[order], one.units)]])
        for name, one in found.items()
    }


def _gap(found: Mapping[str, RungFound], replicates: Mapping[str, Floats], gap: Gap) -> tuple[float, float, float]:
    chance = gap.minus == _CHANCE
    value = found[gap.of].auc - (0.5 if chance else found[gap.minus].auc)
    drawn = replicates[gap.of] - (0.5 if chance else replicates[gap.minus])
    tail = 100.0 * (1.0 - TABLE_LEVEL) / 2.0
    low, high = np.nanpercentile(drawn, [tail, 100.0 - tail])
    return value, min(float(low), value), max(float(high), value)
