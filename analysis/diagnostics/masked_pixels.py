"""Diagnostic: are the stamps whole, or do they hold pixels that were not observed?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Measure, Outcome, Point, gate_below, not_measured, plotted
from analysis.statistics import intervals

_SHARES = "masked_pixels/cutouts"
FIGURES = {
    _SHARES: Drawing(
        "Cut-outs with more bad pixels than this", "bad pixels (%)", "cut-outs", percent=True, kind="lines"
    )
}
_LIMITS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2)


class Params(DiagnosticParams):
    """When cut-outs are bad."""

    max_bad_pixel_fraction: float = Field(0.05, ge=0, le=1)
    """A cut-out with more non-finite or zero pixels than this is bad."""
    max_bad_cutout_fraction: float = Field(0.05, ge=0, le=1)
    """More bad cut-outs than this fail the masked-pixel gate."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The masked pixels of all good cut-outs."""
    return masked_pixels(subject.cutouts["nan_fraction"], subject.cutouts["zero_fraction"], params)


def masked_pixels(nonfinite_fraction: ArrayLike, zero_fraction: ArrayLike, params: Params) -> Outcome:
    """Shares of non-finite and of zero pixels, one value per cut-out, and how many cut-outs are bad."""
    nonfinite, zero = np.asarray(nonfinite_fraction, dtype=float), np.asarray(zero_fraction, dtype=float)
    bad_limit, share_limit = params.max_bad_pixel_fraction, params.max_bad_cutout_fraction
    rule = f"at most {share_limit:.0%} of cut-outs have more than {bad_limit:.0%} non-finite or zero pixels"
    n = len(nonfinite)
    if n == 0:
        gate = not_measured("masked_pixels", share_limit, f"{rule}; no cut-outs")
        said = Finding("Masked pixels are not measured: there are no cut-outs.")
        return Outcome("masked_pixels", (), (gate,), findings=(said,))
    bad = _above(nonfinite + zero, bad_limit)
    share = intervals.share("masked/bad_cutout_fraction", bad, n, f"Clopper-Pearson; {rule}")
    measures = (
        Measure("masked/nonfinite_mean", float(nonfinite.mean()), n=n),
        Measure("masked/nonfinite_max", float(nonfinite.max()), n=n),
        Measure("masked/zero_mean", float(zero.mean()), n=n),
        Measure("masked/zero_max", float(zero.max()), n=n),
        share,
    )
    gate = gate_below("masked_pixels", share, share_limit, rule)
    reading = (
        "the stamps are whole" if gate.status == "PASS" else "leave the bad ones out, or find out why there are so many"
    )
    said = Finding(
        f"{bad:,} of {n:,} cut-outs ({100 * share.value:.2f} %) have more than {100 * bad_limit:g} % bad "
        f"pixels; on average {100 * measures[0].value:.3f} % of a stamp's pixels are not finite and "
        f"{100 * measures[2].value:.3f} % zero: {reading}."
    )
    points = tuple(_point(nonfinite + zero, limit) for limit in _LIMITS)
    return Outcome("masked_pixels", measures, (gate,), findings=(said,), points=points)


def _above(fraction: NDArray[np.float64], limit: float) -> int:
    """Cut-outs with a larger fraction; one whose fraction is not known is among them."""
    return len(fraction) - int((fraction <= limit).sum())


def _point(fraction: NDArray[np.float64], limit: float) -> Point:
    held = intervals.share("", _above(fraction, limit), len(fraction))
    return plotted(held, _SHARES, "good cut-outs", 100.0 * limit)
