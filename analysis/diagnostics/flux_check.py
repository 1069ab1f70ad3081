"""Diagnostic: are cut-outs in nanomaggies?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Gate, Measure, Outcome, Status, decide, not_measured
from lake.sky.imaging import Imaging

_UNIT_FACTOR = 2.0
"""No wrong unit or zero point is nearer to nanomaggies than this."""


class Params(DiagnosticParams):
    """The agreement with catalogue fluxes."""

    flux_ratio_tolerance: float = Field(0.10, gt=0)
    """Allowed deviation from 1 of the median ratio of aperture to catalogue flux."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The sampled stamps that have a catalogue flux in the reference band."""
    known = subject.learned[["galaxy_id"]].merge(subject.fluxes, on="galaxy_id", how="left")
    features, fluxes = subject.of_sample(subject.features, known)
    listed = fluxes[f"flux_{subject.imaging.reference_band}"].notna().to_numpy()
    return flux_check(features[listed], fluxes[listed], subject.imaging, params)


def flux_check(features: pd.DataFrame, catalogue: pd.DataFrame, imaging: Imaging, params: Params) -> Outcome:
    """Aperture flux over Tractor flux per band; `catalogue` has `flux_<band>` in nMgy for the same rows."""
    measures: list[Measure] = []
    gates: list[Gate] = []
    method, tolerance = "median, order statistics", params.flux_ratio_tolerance
    rule = f"|median ratio - 1| < {tolerance:g}; WARN within a factor of {_UNIT_FACTOR:g} (neighbours in the aperture)"
    for band in imaging.bands:
        flux = catalogue[f"flux_{band}"].to_numpy(float)
        known = np.isfinite(flux) & (flux > 0)
        ratio = 10.0 ** features[f"trivial/log_flux_{band}"].to_numpy(float)[known] / flux[known]
        if len(ratio) == 0:
            gates.append(not_measured(f"flux_ratio/{band}", 1.0, f"{rule}; no catalogued flux"))
            continue
        middle, bounds = float(np.median(ratio)), _median_interval(ratio)
        measure = Measure(f"flux_ratio/{band}", middle, *bounds, len(ratio), "", method)
        status: Status = "WARN" if 1.0 / _UNIT_FACTOR < middle < _UNIT_FACTOR else "FAIL"
        status = "PASS" if abs(middle - 1.0) < tolerance else status
        measures.append(measure)
        gates.append(decide(f"flux_ratio/{band}", measure, 1.0, rule, status))
    return Outcome("flux_check", tuple(measures), tuple(gates))


def _median_interval(values: np.ndarray) -> tuple[float, float]:
    """Distribution-free 95 % interval of a median: order statistics at n/2 -+ 0.98 sqrt(n)."""
    ordered, n = np.sort(values), len(values)
    half = 0.98 * np.sqrt(n)
    low, high = int(np.floor(n / 2 - half)), int(np.ceil(n / 2 + half))
    return float(ordered[max(low, 0)]), float(ordered[min(high, n - 1)])
