"""The terms of the gap between the completeness of injections and the recall of lenses, each in points.

A term is the change of completeness when one thing is made as it is in lenses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from analysis.comparisons import trialpairs
from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.fitted.strata import follow
from analysis.records import Measure, missing
from analysis.statistics.contrasts import MeanChange, change_of_weights

NAME = "gap_budget"
_THETA_E, _BETA, _SNR = "lens_theta_e_arcsec", "src_beta_frac", "arc_snr"
_WORDS = {_THETA_E: "theta_E", _BETA: "beta_frac", _SNR: "arc SNR"}


class Params(DiagnosticParams):
    """At which threshold, and how injections are made to follow lenses."""

    gap_threshold: str = "p0.5"
    """Threshold of the budget."""
    gap_strata: int = Field(8, ge=2)
    """Bins of each quantity in which injections are weighted to follow lenses."""
    gap_least_covered: float = Field(0.9, gt=0, le=1)
    """Least share of the lenses that lie in strata with injections."""
    gap_least_lenses: int = Field(20, ge=2)
    """Fewest lenses that injections are weighted to follow."""
    gap_beta_frac_max: float = Field(0.55, gt=0, le=1)
    """Largest source offset over the Einstein radius, to which injections are restricted where offsets of lenses are
    not known."""


@dataclass(frozen=True)
class Judged:
    """Injections of one finder at one threshold."""

    subject: Subject
    measures: Mapping[str, Measure]
    """What the other diagnostics measured, by name"""
    params: Params
    at: str
    threshold: float

    @property
    def hits(self) -> NDArray[np.float64]:
        """1 for each injection above the threshold, else 0."""
        return np.asarray(self.subject.injections["probability"] > self.threshold, dtype=np.float64)

    @property
    def hosts(self) -> NDArray[np.str_]:
        """The host of each."""
        return self.subject.injections["galaxy_id"].to_numpy(str)


def unknown(name: str, why: str) -> Measure:
    """A term that is not measured, with the reason."""
    return missing(f"{NAME}/{name}", why, unit="points")


def terms(judged: Judged) -> list[Measure]:
    """All terms, measured or not, in the order in which they are shown."""
    return [
        _geometry(judged),
        _following(judged, "visibility", (_SNR,)),
        _host(judged),
        _stored(
            judged, "morphology", f"transplants/change/{judged.at}", 1.0,
            "real arcs in place of injected ones like them, both moved into hosts of the grid",
        ),
        _psf(judged),
        _stored(judged, "noise", f"sensitivity/poisson/change/{judged.at}", 1.0, "Poisson noise of the arc"),
        _stored(
            judged, "renderer", f"closure/renderer/{judged.at}", -1.0,
            "lenses as painted minus the same lenses as rendered here, in their own hosts",
        ),
    ]  # fmt: skip


def _geometry(judged: Judged) -> Measure:
    """Einstein radii and offsets of the lenses, or what of them is known."""
    if _held(judged, _BETA):
        return _following(judged, "geometry", (_THETA_E, _BETA))
    limit, rows = judged.params.gap_beta_frac_max, judged.subject.injections
    near = rows[_BETA].to_numpy(float) <= limit
    if not near.any():
        return unknown("geometry", f"no injection has beta_frac <= {limit:g}, and offsets of lenses are not known")
    how, weights, variance = f"injections with beta_frac <= {limit:g}", near.astype(np.float64), 0.0
    if _held(judged, _THETA_E):
        radii = judged.subject.lenses[_THETA_E].dropna().to_numpy(float)
        ours = rows.loc[near, _THETA_E].to_numpy(float)
        found = follow(judged.hits[near], judged.hosts[near], [ours], [radii], judged.params.gap_strata)
        weights[near], variance = found.weights, found.variance
        how += f", weighted to the theta_E of {len(radii)} lenses,"
    change = change_of_weights(judged.hits, judged.hosts, weights, np.ones(len(near)), variance)
    return _term("geometry", change, f"{how} minus all, because offsets of the lenses are not known")


def _held(judged: Judged, name: str) -> bool:
    """Whether a quantity is known of enough lenses."""
    lenses = judged.subject.lenses
    return name in lenses and int(lenses[name].notna().sum()) >= judged.params.gap_least_lenses


def _following(judged: Judged, name: str, quantities: tuple[str, ...]) -> Measure:
    """Injections weighted to follow the lenses in some quantities, minus all with equal weights."""
    words = " and ".join(_WORDS[each] for each in quantities)
    if not all(_held(judged, each) for each in quantities):
        return unknown(name, f"{words} is known of fewer than {judged.params.gap_least_lenses} lenses")
    lenses, held = judged.subject.lenses[list(quantities)].dropna(), judged.subject.injections
    ours, theirs = ([frame[each].to_numpy(float) for each in quantities] for frame in (held, lenses))
    found = follow(judged.hits, judged.hosts, ours, theirs, judged.params.gap_strata)
    if found.covered < judged.params.gap_least_covered:
        return unknown(name, f"injections cover {found.covered:.0%} of {len(lenses)} lenses in {words}")
    how = f"injections weighted to the {words} of {len(lenses)} lenses minus all with equal weights; strata cover "
    return _term(name, found.change, f"{how}{found.covered:.0%} of them; {found.n_eff:,.0f} effective injections")


def _host(judged: Judged) -> Measure:
    weights = judged.subject.host_weights(judged.subject.injections["galaxy_id"])
    if isinstance(weights, str):
        return unknown("host", weights)
    found = change_of_weights(judged.hits, judged.hosts, weights, np.ones(len(weights)))
    return _term("host", found, "hosts weighted by propensity to follow the lenses' hosts minus all with equal weights")


def _stored(judged: Judged, name: str, measure: str, sign: float, what: str) -> Measure:
    """What another diagnostic measured, in points."""
    found = judged.measures.get(measure)
    if found is None or math.isnan(found.value):
        return unknown(name, f"{measure} is not measured" if found is None else found.method)
    low, high = sorted((sign * found.low, sign * found.high))
    how = f"{what} ({measure}{', sign turned' if sign < 0 else ''})"
    return Measure(f"{NAME}/{name}", sign * found.value + 0.0, low, high, found.n, "points", how)


def _psf(judged: Judged) -> Measure:
    """What an error of the PSF's width could do: its sign is not known, so the term is 0 and has a range."""
    prefix, suffix = "sensitivity/psf_", f"/change/{judged.at}"
    found = [m for name, m in judged.measures.items() if name.startswith(prefix) and name.endswith(suffix) and m.n]
    if len(found) < 2:
        return unknown("psf", "sensitivity to the PSF is not measured in both directions")
    low, high = min(0.0, *(m.low for m in found)), max(0.0, *(m.high for m in found))
    names = ", ".join(sorted(m.name.split("/")[1] for m in found))
    how = f"sign unknown, so 0; from the lowest to the highest end of the intervals of {names}"
    return Measure(f"{NAME}/psf", 0.0, low, high, max(m.n for m in found), "points", how)


def _term(name: str, found: MeanChange, how: str) -> Measure:
    return trialpairs.in_points(f"{NAME}/{name}", found, f"{how}; hosts as clusters")
