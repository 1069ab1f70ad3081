"""Diagnostic: how many pixels of the cut-outs are masked?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Measure, Outcome, gate_below, not_measured
from analysis.statistics import intervals


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
        return Outcome("masked_pixels", (), (not_measured("masked_pixels", share_limit, f"{rule}; no cut-outs"),))
    bad = n - int(((nonfinite + zero) <= bad_limit).sum())  # a cut-out whose share is not known is bad
    share = intervals.share("masked/bad_cutout_fraction", bad, n, f"Clopper-Pearson; {rule}")
    measures = (
        Measure("masked/nonfinite_mean", float(nonfinite.mean()), n=n),
        Measure("masked/nonfinite_max", float(nonfinite.max()), n=n),
        Measure("masked/zero_mean", float(zero.mean()), n=n),
        Measure("masked/zero_max", float(zero.max()), n=n),
        share,
    )
    return Outcome("masked_pixels", measures, (gate_below("masked_pixels", share, share_limit, rule),))
