"""Diagnostic: does the choice of the normalisation annulus matter?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import scipy
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, Point, Status, unmeasured
from analysis.results.untouched import FEWEST
from analysis.statistics import intervals
from lake.sky.imaging import Imaging

_CORRELATED_P = 0.05
"""A shift is called correlated below this Spearman p-value, Bonferroni-corrected over PSF and depth."""

_WORDS = {"median": "median", "mad": "MAD"}
_KINDS = {1: "positives", 0: "negatives"}
_AXES = {"psfsize": "annulus/shift_by_seeing", "psfdepth": "annulus/shift_by_depth"}
FIGURES = {
    _AXES["psfsize"]: Drawing(
        "Shift of the median between the annuli, by seeing", "psfsize (arcsec)", "shift (nMgy)", "lines"
    ),
    _AXES["psfdepth"]: Drawing(
        "Shift of the median between the annuli, by depth", "psfdepth (nMgy^-2)", "shift (nMgy)", "lines", log_x=True
    ),
}
_BINS = 5


class Params(DiagnosticParams):
    """When the annulus does not matter."""

    ks_cosmetic_p: float = Field(0.05, gt=0, lt=1)
    """p-value of the paired test above which the choice of the annulus is cosmetic."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """Both annuli of the sampled stamps; fewer than `FEWEST` cannot tell a shift from chance."""
    if (count := len(subject.learned)) < FEWEST:
        gates = {f"annulus/{quantity}": (params.ks_material_p, "shift between annuli") for quantity in _WORDS}
        why = f"{count} stamps of training and test split, fewer than {FEWEST}"
        return unmeasured("annulus", why, "annulus/median/shift", gates, "The choice of the annulus is not judged")
    features, objects = subject.of_sample(subject.features, subject.learned)
    return annulus_comparison(features, objects, subject.imaging, params)


def annulus_comparison(features: pd.DataFrame, objects: pd.DataFrame, imaging: Imaging, params: Params) -> Outcome:
    """Median and MAD per stamp in two annuli, in the reference band: paired differences, correlation with conditions.

    Both annuli are of the same stamps, so the test is Wilcoxon's signed-rank test of their differences; the
    two-sample KS distance between the distributions has no p-value, which would assume independence.

    `features` has `annulus0/...` and `annulus1/...` columns (`features.stamp_features`); `objects` the same rows with
    `label`, `psfsize_<band>`, `psfdepth_<band>`, sampled by label.
    """
    measures, gates, band = [], [], imaging.reference_band
    for quantity in _WORDS:
        first, second = (features[f"annulus{i}/{quantity}_{band}"].to_numpy(float) for i in (0, 1))
        found = list(_compare(quantity, first, second, objects, band))
        p = next(m.value for m in found if m.name.endswith("/paired_p"))
        correlated = any(m.value < _CORRELATED_P / 2 for m in found if m.name.endswith("_p") and "spearman" in m.name)
        measures += found
        gates.append(_decide(quantity, p, correlated, params))
    shift = features[f"annulus1/median_{band}"].to_numpy(float) - features[f"annulus0/median_{band}"].to_numpy(float)
    points = tuple(_points(shift, objects, band))
    said = _finding(measures, gates, params)
    return Outcome("annulus", tuple(measures), tuple(gates), findings=(said,), points=points)


def _points(shift: np.ndarray, objects: pd.DataFrame, band: str) -> Iterator[Point]:
    """Median shift in bins of equal numbers, by label."""
    for kind, figure in _AXES.items():
        values, labels = objects[f"{kind}_{band}"].to_numpy(float), objects["label"].to_numpy()
        for label, series in _KINDS.items():
            places = np.flatnonzero((labels == label) & np.isfinite(values))
            ordered = places[np.argsort(values[places], kind="stable")]
            for part in np.array_split(ordered, min(_BINS, len(ordered))) if len(ordered) else ():
                yield Point(figure, series, float(np.median(values[part])), *intervals.median(shift[part]), len(part))


def _finding(measures: Sequence[Measure], gates: Sequence[Gate], params: Params) -> Finding:
    """The shifts of median and MAD, and what their gates make of them."""
    held, (first, second) = {one.name: one for one in measures}, params.comparison_annuli_pixels
    status = {gate.name.rpartition("/")[2]: gate.status for gate in gates}
    moved = [quantity for quantity in _WORDS if status[quantity] != "PASS"]
    worst = next((each for each in ("GO", "BORDERLINE") if each in status.values()), "PASS")
    decided = " and ".join(_WORDS[each] for each in _WORDS if status[each] == worst)
    readings = {
        "PASS": "the choice is cosmetic",
        "GO": f"the shift of the {decided} follows seeing or depth, so the choice is material",
        "BORDERLINE": f"the shift of the {decided} is neither cosmetic nor clearly material, so scoring with the other "
        "annulus decides",
    }
    said = [_shift(held, each, "shifts" if each in moved else "does not shift measurably") for each in _WORDS]
    return Finding(
        f"With the annulus at {second[0]:g}-{second[1]:g} instead of {first[0]:g}-{first[1]:g} pixels, on the same "
        f"{held['annulus/median/shift'].n:,} stamps {' and '.join(said)}: {readings[worst]}."
    )


def _shift(held: Mapping[str, Measure], quantity: str, verb: str) -> str:
    """What one quantity does, with its figures."""
    shift, p, distance = (held[f"annulus/{quantity}/{what}"].value for what in ("shift", "paired_p", "ks"))
    figures = f"{shift:+.2e} nMgy; paired Wilcoxon p = {p:.2g}, KS distance {distance:.3f}"
    return f"the {_WORDS[quantity]} of the sky {verb} ({figures})"


def _compare(
    quantity: str, first: np.ndarray, second: np.ndarray, objects: pd.DataFrame, band: str
) -> Iterator[Measure]:
    name, n = f"annulus/{quantity}", len(first)
    shift = second - first
    moved = np.ptp(shift) > 0.0 or np.any(shift != 0.0)
    p_value = float(scipy.stats.wilcoxon(shift).pvalue) if moved else 1.0
    yield Measure(f"{name}/first", float(np.median(first)), n=n, unit="nMgy", method="median over stamps")
    yield Measure(f"{name}/second", float(np.median(second)), n=n, unit="nMgy", method="median over stamps")
    yield Measure(f"{name}/shift", float(np.median(shift)), n=n, unit="nMgy", method="median of paired differences")
    distance = float(scipy.stats.ks_2samp(first, second).statistic)
    yield Measure(f"{name}/ks", distance, n=n, method="KS distance; no p-value: the stamps are the same")
    yield Measure(f"{name}/paired_p", p_value, n=n, method="Wilcoxon signed-rank test of the paired differences")
    for column in (f"psfsize_{band}", f"psfdepth_{band}"):
        known = objects[column].notna().to_numpy()
        if known.sum() > 2 and np.ptp(shift[known]) > 0 and objects.loc[known, column].nunique() > 1:
            rank = scipy.stats.spearmanr(shift[known], objects.loc[known, column])
            yield Measure(f"{name}/spearman_{column}", float(rank.statistic), n=int(known.sum()))
            yield Measure(f"{name}/spearman_{column}_p", float(rank.pvalue), n=int(known.sum()))
    for label, kind in _KINDS.items():
        chosen = shift[objects["label"].to_numpy() == label]
        if len(chosen):
            yield Measure(f"{name}/shift_{kind}", float(np.median(chosen)), n=len(chosen), unit="nMgy")


def _decide(quantity: str, p: float, correlated: bool, params: Params) -> Gate:
    cosmetic, material = params.ks_cosmetic_p, params.ks_material_p
    status: Status = "BORDERLINE"
    if p > cosmetic:
        status = "PASS"
    elif p < material and correlated:
        status = "GO"
    rule = (
        f"cosmetic (PASS) where the paired p > {cosmetic:g}; material (GO) where p < {material:g} and the shift "
        "correlates with PSF or depth; otherwise BORDERLINE, and scoring with the other annulus decides"
    )
    return Gate(f"annulus/{quantity}", status, p, np.nan, np.nan, material, rule)
