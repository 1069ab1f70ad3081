"""Diagnostic: are the stamps in nanomaggies, as the catalogue is?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, Point, Status, decide, not_measured, plotted
from analysis.statistics import intervals
from lake.sky.imaging import Imaging

_UNIT_FACTOR = 2.0
"""No wrong unit or zero point is nearer to nanomaggies than this."""

_RATIO = "flux_check/ratio"
FIGURES = {_RATIO: Drawing("Aperture flux over catalogue flux, median over stamps", "band", "ratio", reference=1.0)}


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
        middle, low, high = intervals.median(ratio)
        measure = Measure(f"flux_ratio/{band}", middle, low, high, len(ratio), "", method)
        status: Status = "WARN" if 1.0 / _UNIT_FACTOR < middle < _UNIT_FACTOR else "FAIL"
        status = "PASS" if abs(middle - 1.0) < tolerance else status
        measures.append(measure)
        gates.append(decide(f"flux_ratio/{band}", measure, 1.0, rule, status))
    points = tuple(_points(measures, imaging.bands))
    return Outcome(
        "flux_check", tuple(measures), tuple(gates), findings=(_finding(measures, tolerance),), points=points
    )


def _points(measures: Sequence[Measure], bands: Sequence[str]) -> Iterator[Point]:
    for each in measures:
        band = each.name.rpartition("/")[2]
        yield plotted(each, _RATIO, "stamps", float(bands.index(band)), band)


def _finding(measures: Sequence[Measure], tolerance: float) -> Finding:
    if not measures:
        return Finding("The flux unit of the stamps is not measured: no sampled stamp has a catalogued flux.")
    ratios = ", ".join(f"{one.value:.3f} in {one.name.rpartition('/')[2]}" for one in measures)
    farthest = max(max(one.value, 1.0 / one.value) if one.value > 0 else np.inf for one in measures)
    if farthest >= _UNIT_FACTOR:
        reading = "stamps and catalogue differ in unit or zero point, and so do magnitudes of injections"
    elif off := [one for one in measures if abs(one.value - 1.0) >= tolerance]:
        bands = ", ".join(one.name.rpartition("/")[2] for one in off)
        reading = (
            f"beyond the tolerance of {100 * tolerance:g} % in {bands}, and too little for a wrong unit or zero point"
        )
        if all(one.value > 1.0 for one in off):
            reading += "; light of neighbours in the aperture has this sign"
    else:
        reading = f"the stamps are in the catalogue's nanomaggies, to {100 * tolerance:g} %"
    return Finding(f"Aperture flux over catalogue flux is {ratios} ({measures[0].n:,} stamps): {reading}.")
