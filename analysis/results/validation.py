"""Validation of a set of scored injections, as measures and gates.

FAIL means that something is wrong (saturated scores, inexact fluxes); WARN informs the reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import wilcoxon

from analysis.records import Gate, Measure, Outcome, Status, not_measured
from analysis.statistics.intervals import share
from injection.experiment import validation
from injection.experiment.arc_finder import FOUND_SNR, INNER_ARCSEC, OUTER_ARCSEC, FoundArcs
from injection.experiment.validation import SATURATED_ABOVE, SATURATED_BELOW, SATURATED_SHARE, Validation
from lake.sky.imaging import Imaging

Array = NDArray[np.float64]

INJECTIONS, LENSES, BARE = "injections", "real lenses", "bare hosts"
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
    """Inputs of the validation."""

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


def judge(evidence: Evidence, thresholds: Sequence[float]) -> Outcome:
    """Every measure and gate; thresholds on the probability."""
    wanted = tuple(sorted({*thresholds, TOLD_APART_AT}))
    plain, suppressed = (validation.validate(rows, wanted) for rows in (evidence.rows, evidence.suppressed))
    light, light_gates = _light(evidence)
    arcs, arc_gates = _arcs(evidence.arcs, evidence.imaging)
    method = "MAD of the host's annulus over sqrt(sum(psf^2) / psfdepth)"
    noise = _percentiles("noise_ratio", plain.noise_ratio_percentiles, plain.injections, method)
    of_scores = _saturation(evidence.rows), _failures(plain), _told_apart(plain, evidence.rows)
    measures = (*_scores(plain, suppressed, wanted), *arcs, *noise, *light)
    return Outcome("validate-injection", measures, (*of_scores, *arc_gates, _noise_gate(plain), *light_gates))


def broken(outcome: Outcome) -> list[str]:
    """One sentence for each gate that failed."""
    return [f"{gate.name}: {gate.value:.3g}, {gate.rule}" for gate in outcome.gates if gate.status == "FAIL"]


def _scores(plain: Validation, suppressed: Validation, thresholds: Sequence[float]) -> list[Measure]:
    found = _percentiles("probability", plain.score_percentiles, plain.injections)
    for name, shares, n in (
        ("detected", plain.detected, plain.injections),
        ("detected_core_suppressed", suppressed.detected, suppressed.injections),
        ("host_false_positives", plain.host_false_positives, plain.hosts),
    ):
        for threshold in thresholds:
            hit = round(shares[threshold] * n)
            found.append(share(f"{name}/p{threshold}", hit, n, "Clopper-Pearson 95 %", "share"))
    return found


def _saturation(rows: pa.Table) -> Gate:
    scored = np.asarray(rows["status"]) == "scored"
    probability = expit(rows["score"].to_numpy()[scored])
    shares = ((probability > SATURATED_ABOVE).mean(), (probability < SATURATED_BELOW).mean())
    side = f"above {SATURATED_ABOVE}" if shares[0] >= shares[1] else f"below {SATURATED_BELOW}"
    rule = f"share of injections with probability {side}; over {SATURATED_SHARE:.0%} the scores are saturated"
    return _gate("saturation", float(max(shares)), SATURATED_SHARE, rule, max(shares) <= SATURATED_SHARE, "FAIL")


def _failures(plain: Validation) -> Gate:
    share = plain.failed / (plain.failed + plain.injections)
    rule = f"share of injections that could not be made or scored, at most {FAILED_SHARE_MAX:.0%}"
    return _gate("failed_injections", share, FAILED_SHARE_MAX, rule, share <= FAILED_SHARE_MAX, "WARN")


def _told_apart(plain: Validation, rows: pa.Table) -> Gate:
    """Arcs against the same hosts without them: a paired test, one median difference of scores per host."""
    gain = plain.detected[TOLD_APART_AT] - plain.host_false_positives[TOLD_APART_AT]
    scored = rows.filter(pc.equal(rows["status"], "scored")).select(["galaxy_id", "score", "host_score"]).to_pandas()
    raised = (scored["score"] - scored["host_score"]).groupby(scored["galaxy_id"]).median()
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
    distance, p = validation.difference(*values.values())
    measure = Measure(f"{name}/p_value", p, n=min(counts), method="two-sample Kolmogorov-Smirnov")
    return measure, _gate(name, distance, DIFFERS_BELOW_P, f"{rule}: p {p:.2g}", p >= DIFFERS_BELOW_P, "WARN")


def _percentiles(name: str, values: Mapping[int, float], n: int, method: str = "") -> list[Measure]:
    return [Measure(f"{name}/percentile_{at}", value, n=n, method=method) for at, value in values.items()]


def _noise_gate(plain: Validation) -> Gate:
    rule = f"median ratio of the hosts' noise to that of psfdepth, within {NOISE_RATIO[0]}-{NOISE_RATIO[1]}"
    middle = plain.noise_ratio_percentiles.get(50)
    if middle is None:
        return not_measured("noise_against_depth", NOISE_RATIO[1], rule)
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
