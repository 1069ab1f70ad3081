"""Diagnostic: do the hosts' pixels have the noise from which their depth follows?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Finding, Measure, Outcome, Status, decide, not_measured
from analysis.statistics import intervals

_NAME, _FACTOR, _LIGHT = "host_noise", 2.0, 10.0
"""Correlated pixels and faint light in the annulus change the noise by less than a factor of 2, and a large galaxy that
fills the annulus raises it by less than 10 (a spiral of HSC by 2.3); a map of variances that is declared as one of
inverse variances, or a wrong zero point, is farther off."""
_RULE = (
    f"median over hosts of measured over declared noise within a factor of {_FACTOR:g} of 1; WARN above, up to "
    f"{_LIGHT:g} (light in the annulus)"
)
_WRONG = (
    "depths, and the signal-to-noise ratios of arcs, are not those of the pixels: a wrong unit, or a map of variances "
    "taken for inverse variances"
)


def diagnose(subject: Subject, params: DiagnosticParams) -> Outcome:
    """The hosts of the finder's injections."""
    return host_noise(subject.injections)


def host_noise(injections: pd.DataFrame) -> Outcome:
    """Noise of a pixel in the hosts' outer annulus (reference band) over that of the declared or catalogued depth.

    `injections` has `galaxy_id` (host), `sky_sigma_mad_nmgy` and `sky_sigma_psfdepth_nmgy`.
    """
    ratio = _ratios(injections)
    if not len(ratio):
        said = Finding("The noise of the hosts is not compared: no host has both a measured and a declared noise.")
        return Outcome(_NAME, (), (not_measured(_NAME, 1.0, f"{_RULE}; no host has both"),), findings=(said,))
    middle, low, high = intervals.median(ratio)
    measure = Measure(_NAME, middle, low, high, len(ratio), "", "median over hosts, order statistics")
    status, reading = _judged(middle)
    said = Finding(
        f"The hosts' pixels have {middle:.3g} times the noise of their depth ({len(ratio):,} hosts): {reading}."
    )
    return Outcome(_NAME, (measure,), (decide(_NAME, measure, 1.0, _RULE, status),), findings=(said,))


def _judged(ratio: float) -> tuple[Status, str]:
    if 1.0 / _FACTOR < ratio < _FACTOR:
        return "PASS", "depth and pixels agree"
    if _FACTOR <= ratio < _LIGHT:
        return "WARN", "light fills their annulus, or the noise is more than declared"
    return "FAIL", _WRONG


def _ratios(injections: pd.DataFrame) -> np.ndarray:
    """One ratio for each host of which both are known."""
    if injections.empty:
        return np.empty(0)
    hosts = injections.drop_duplicates("galaxy_id")
    measured, declared = (hosts[f"sky_sigma_{kind}_nmgy"].to_numpy(float) for kind in ("mad", "psfdepth"))
    known = np.isfinite(measured) & (measured > 0) & np.isfinite(declared) & (declared > 0)
    return measured[known] / declared[known]
