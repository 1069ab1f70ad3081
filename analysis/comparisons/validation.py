"""Validation of a set of scored injections, as measures and gates.

FAIL means that something is wrong (saturated scores, inexact fluxes); WARN informs the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import ks_2samp, wilcoxon

from analysis.records import Gate, Measure, Outcome, Status, not_measured
from analysis.statistics.intervals import share
from injection.experiment.arc_finder import FOUND_SNR, INNER_ARCSEC, OUTER_ARCSEC, FoundArcs
from lake.errors import DataError
from lake.sky.imaging import Imaging

Array = NDArray[np.float64]

INJECTIONS, SUPPRESSED, LENSES, BARE = "injections", "core suppressed", "real lenses", "bare hosts"
_PERCENTILES = (5, 25, 50, 75, 95)
SATURATED_ABOVE, SATURATED_BELOW, SATURATED_SHARE = 0.9, 0.1, 0.9
"""Injections are saturated where over 90 % of them score above 0.9, or below 0.1."""
TOLD_APART_AT = 0.5
"""Probability at which injections must be found more often than bare hosts."""
FAILED_SHARE_MAX = 0.05
NOISE_RATIO = (0.8, 1.25)
"""Range of the median ratio of the host's noise to that of its depth: coadds are resampled, neighbours add to a MAD."""
DIFFERS_BELOW_P = 0.001
RAISED_BELOW_P = 0.01
LEAST_ARCS = 20
"""Found arcs on each side below which distributions are not compared."""
FLUX_ERROR_P95_MAX, FLUX_ERROR_MAX = 1e-3, 1e-2
"""Measured for the standard quadrature: 7e-4 at the 95th percentile and 1.4e-3 at most for the widest prior's profiles,
5e-4 and 2e-3 for real galaxies; at most 1e-2 at extreme parameters (n = 8, half-light radius 0.02 arcsec)."""
LENSTRONOMY_MEDIAN_MAX = 5e-3
REFERENCE: Mapping[str, str] = {
    f"detected/p{TOLD_APART_AT}": "4.0 %",
    f"detected_core_suppressed/p{TOLD_APART_AT}": "5.0 %",
    f"host_false_positives/p{TOLD_APART_AT}": "0.0 %",
}
"""Values of the reference system on its own data, for comparison only."""


@dataclass(frozen=True)
class Evidence:
    """Inputs of the validation, and what follows from them: one value per scored injection."""

    rows: pa.Table
    """Batch tables of injections without core suppression"""
    suppressed: pa.Table
    """The same injections with core suppression"""
    arcs: Mapping[str, FoundArcs]
    """Arcs found on the stamps of injections of a true SNR of ``FOUND_SNR`` or more, of bare hosts and of real
    lenses; what was not measured is left out"""
    imaging: Imaging
    """Of the stamps"""
    flux_errors: Array
    """Relative errors against converged quadrature"""
    lenstronomy: Array
    """Relative differences from lenstronomy"""

    @cached_property
    def scored(self) -> pa.Table:
        """The scored injections without core suppression."""
        return scored(self.rows)

    @cached_property
    def probability(self) -> Mapping[str, Array]:
        """Probabilities of injections, of injections with core suppression, and of bare hosts, each host once."""
        return {
            INJECTIONS: expit(self.scored["score"].to_numpy()),
            SUPPRESSED: expit(scored(self.suppressed)["score"].to_numpy()),
            BARE: expit(self.scored["host_score"].to_numpy()[once_per_host(self.scored)]),
        }

    @property
    def noise_ratio(self) -> Array:
        """The hosts' own noise over that of psfdepth; NaN where one is unknown."""
        depth, own = (_numbers(self.scored, f"sky_sigma_{origin}_nmgy") for origin in ("psfdepth", "mad"))
        return own / depth


def scored(rows: pa.Table) -> pa.Table:
    """The scored rows of batch tables; DataError if there is none."""
    found = rows.filter(pc.equal(rows["status"], "scored")).combine_chunks()
    if not found.num_rows:
        raise DataError(f"none of {rows.num_rows} injections was scored: {rows['reason'][0].as_py()}")
    return found


def once_per_host(rows: pa.Table) -> NDArray[np.int_]:
    """The first row of each host (``galaxy_id``)."""
    return np.unique(np.asarray(rows["galaxy_id"]), return_index=True)[1]


def arc_colour(rows: pa.Table, imaging: Imaging) -> Array:
    """Colour (``imaging.arc_colour``) of the arcs from their lensed fluxes; NaN where there is none."""
    blue, red = (_numbers(rows, f"arc_flux_{imaging.bands[band]}_nmgy") for band in imaging.arc_colour)
    with np.errstate(divide="ignore", invalid="ignore"):
        return -2.5 * np.log10(np.where((blue > 0) & (red > 0), blue / red, np.nan))


def judge(evidence: Evidence, thresholds: Iterable[float]) -> Outcome:
    """Every measure and gate; thresholds on the probability."""
    light, light_gates = _light(evidence)
    arcs, arc_gates = _arcs(evidence.arcs, evidence.imaging)
    noise = _percentiles(
        "noise_ratio", evidence.noise_ratio, "MAD of the host's annulus over sqrt(sum(psf^2) / psfdepth)"
    )
    of_scores = _saturation(evidence.probability[INJECTIONS]), _failures(evidence.rows), _told_apart(evidence)
    measures = (*_scores(evidence.probability, sorted({*thresholds, TOLD_APART_AT})), *arcs, *noise, *light)
    return Outcome("validate-injection", measures, (*of_scores, *arc_gates, _noise_gate(evidence), *light_gates))


def broken(outcome: Outcome) -> list[str]:
    """One sentence for each gate that failed."""
    return [f"{gate.name}: {gate.value:.3g}, {gate.rule}" for gate in outcome.gates if gate.status == "FAIL"]


def _scores(probability: Mapping[str, Array], thresholds: Iterable[float]) -> list[Measure]:
    names = {INJECTIONS: "detected", SUPPRESSED: "detected_core_suppressed", BARE: "host_false_positives"}
    found = _percentiles("probability", probability[INJECTIONS])
    for kind, name in names.items():
        for threshold in thresholds:
            hit = int((probability[kind] > threshold).sum())
            found.append(share(f"{name}/p{threshold}", hit, len(probability[kind]), "Clopper-Pearson 95 %", "share"))
    return found


def _saturation(probability: Array) -> Gate:
    shares = ((probability > SATURATED_ABOVE).mean(), (probability < SATURATED_BELOW).mean())
    side = f"above {SATURATED_ABOVE}" if shares[0] >= shares[1] else f"below {SATURATED_BELOW}"
    rule = f"share of injections with probability {side}; over {SATURATED_SHARE:.0%} the scores are saturated"
    return _gate("saturation", float(max(shares)), SATURATED_SHARE, rule, max(shares) <= SATURATED_SHARE, "FAIL")


def _failures(rows: pa.Table) -> Gate:
    share = pc.sum(pc.not_equal(rows["status"], "scored")).as_py() / rows.num_rows
    rule = f"share of injections that could not be made or scored, at most {FAILED_SHARE_MAX:.0%}"
    return _gate("failed_injections", share, FAILED_SHARE_MAX, rule, share <= FAILED_SHARE_MAX, "WARN")


def _told_apart(evidence: Evidence) -> Gate:
    """Arcs against the same hosts without them: a paired test, one median difference of scores per host."""
    with_arcs, bare = (float((evidence.probability[kind] > TOLD_APART_AT).mean()) for kind in (INJECTIONS, BARE))
    gain, rows = with_arcs - bare, evidence.scored.select(["galaxy_id", "score", "host_score"]).to_pandas()
    raised = (rows["score"] - rows["host_score"]).groupby(rows["galaxy_id"]).median()
    p = float(wilcoxon(raised, alternative="greater").pvalue) if (raised != 0).any() else 1.0
    rule = (
        f"detected fraction minus the bare hosts' false-positive rate, at p > {TOLD_APART_AT}, above 0, and scores "
        f"raised host by host (Wilcoxon, one-sided, p < {RAISED_BELOW_P}): p {p:.2g}"
    )
    return _gate("arcs_raise_scores", gain, 0.0, rule, gain > 0 and p < RAISED_BELOW_P, "WARN")


def _arcs(arcs: Mapping[str, FoundArcs], imaging: Imaging) -> tuple[list[Measure], list[Gate]]:
    """Shares with an arc found, and how injections' arcs differ from real ones."""
    method = f'found: SNR {FOUND_SNR:g} or more above the galaxy\'s elliptical median, {INNER_ARCSEC}"-{OUTER_ARCSEC}"'
    measures, colour = [], imaging.arc_colour_name
    for name, found in arcs.items():
        key, held = name.replace(" ", "_"), found.found
        measures.append(share(f"arcs_found/{key}", int(held.sum()), len(held), method, "share"))
        for quantity, values in (("arc_snr", found.snr[held]), (f"arc_{colour}", found.colour[held])):
            known = _known(values)
            middle = float(np.median(known)) if len(known) else np.nan
            measures.append(Measure(f"{quantity}/{key}/median", middle, n=len(known), method=method))
    gates = []
    for quantity, name in (("snr", "snr"), ("colour", colour)):
        measure, gate = _difference(arcs, quantity, f"arc_{name}_against_real")
        measures += [measure] if measure else []
        gates.append(gate)
    return measures, gates


def _difference(arcs: Mapping[str, FoundArcs], quantity: str, name: str) -> tuple[Measure | None, Gate]:
    rule = f"Kolmogorov-Smirnov distance of found arcs from those of real lenses; WARN where p < {DIFFERS_BELOW_P}"
    values = {key: _known(getattr(arcs[key], quantity)[arcs[key].found]) for key in (INJECTIONS, LENSES) if key in arcs}
    counts = [len(one) for one in values.values()]
    if len(values) < 2 or min(counts) < LEAST_ARCS:
        return None, not_measured(name, DIFFERS_BELOW_P, f"{rule}; too few arcs ({LEAST_ARCS} of each are needed)")
    test = ks_2samp(*values.values())
    p = float(test.pvalue)
    measure = Measure(f"{name}/p_value", p, n=min(counts), method="two-sample Kolmogorov-Smirnov")
    return measure, _gate(
        name, float(test.statistic), DIFFERS_BELOW_P, f"{rule}: p {p:.2g}", p >= DIFFERS_BELOW_P, "WARN"
    )


def _percentiles(name: str, values: Array, method: str = "") -> list[Measure]:
    known = _known(values)
    found = np.percentile(known, _PERCENTILES).tolist() if len(known) else []
    named = zip(_PERCENTILES, found, strict=False)
    return [Measure(f"{name}/percentile_{at}", value, n=len(values), method=method) for at, value in named]


def _noise_gate(evidence: Evidence) -> Gate:
    rule = f"median ratio of the hosts' noise to that of psfdepth, within {NOISE_RATIO[0]}-{NOISE_RATIO[1]}"
    known = _known(evidence.noise_ratio)
    if not len(known):
        return not_measured("noise_against_depth", NOISE_RATIO[1], rule)
    middle = float(np.percentile(known, 50))
    inside = NOISE_RATIO[0] <= middle <= NOISE_RATIO[1]
    return _gate("noise_against_depth", middle, NOISE_RATIO[1], rule, inside, "WARN")


def _light(evidence: Evidence) -> tuple[list[Measure], list[Gate]]:
    """Accuracy of the lensed flux."""
    errors, others = np.abs(evidence.flux_errors), np.abs(evidence.lenstronomy)
    p95, largest, middle = float(np.percentile(errors, 95)), float(errors.max()), float(np.median(others))
    measures = [
        Measure("flux_error/percentile_95", p95, n=len(errors), method="against converged quadrature"),
        Measure("flux_error/largest", largest, n=len(errors), method="against converged quadrature"),
        Measure("lenstronomy_difference/median", middle, n=len(others), method="lensed flux, 8 x 8 rays per pixel"),
        Measure("lenstronomy_difference/largest", float(others.max()), n=len(others), method="the same"),
    ]
    exact = p95 <= FLUX_ERROR_P95_MAX and largest <= FLUX_ERROR_MAX
    allowed = f"at most {FLUX_ERROR_P95_MAX:.1%}; the largest ({largest:.2g}) at most {FLUX_ERROR_MAX:.0%}"
    rule = f"95th percentile of the flux's errors, {allowed}"
    agree = f"median difference of the flux from lenstronomy's, at most {LENSTRONOMY_MEDIAN_MAX:.1%}"
    return measures, [
        _gate("flux_accuracy", p95, FLUX_ERROR_P95_MAX, rule, exact, "FAIL"),
        _gate("lenstronomy", middle, LENSTRONOMY_MEDIAN_MAX, agree, middle <= LENSTRONOMY_MEDIAN_MAX, "FAIL"),
    ]


def _gate(name: str, value: float, threshold: float, rule: str, passed: bool, otherwise: Status) -> Gate:
    return Gate(name, "PASS" if passed else otherwise, value, np.nan, np.nan, threshold, rule)


def _known(values: Array) -> Array:
    return values[np.isfinite(values)]


def _numbers(rows: pa.Table, name: str) -> Array:
    return np.asarray(pc.fill_null(rows.column(name), float("nan")).to_numpy(), dtype=np.float64)
