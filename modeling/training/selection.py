"""Validation metrics that decide which epoch is kept; the test split is not used here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lake.errors import DataError
from lake.sky.split import LEAST_ABOVE
from modeling.sections import LoopParams

Array = NDArray[np.float64]


def auc(logits: Array, labels: Array) -> float:
    """Area under the ROC curve, ties count half (Mann-Whitney)."""
    lenses, negatives = logits[labels > 0.5], np.sort(logits[labels <= 0.5])
    if not len(lenses) or not len(negatives):
        raise DataError(f"an AUC needs lenses and negatives, got {len(lenses)} and {len(negatives)}")
    below, not_above = (np.searchsorted(negatives, lenses, side) for side in ("left", "right"))
    return float((below + not_above).sum() / 2 / (len(lenses) * len(negatives)))


def tpr_at_fpr(logits: Array, labels: Array, fpr: float) -> float:
    """Share of lenses above the lowest threshold that at most a share ``fpr`` of negatives exceeds."""
    negatives = np.sort(logits[labels <= 0.5])[::-1]
    threshold = negatives[min(int(fpr * len(negatives)), len(negatives) - 1)]
    return float((logits[labels > 0.5] > threshold).mean())


def measured_tpr(logits: Array, labels: Array, fpr: float) -> float | None:
    """True-positive rate at ``fpr``; None if fewer than ten negatives are expected above the threshold."""
    expected = fpr * int((labels <= 0.5).sum())
    return tpr_at_fpr(logits, labels, fpr) if expected >= LEAST_ABOVE - 1e-9 else None


def saturated_fraction(logits: Array) -> float:
    """Share of probabilities below 0.01 or above 0.99."""
    return float((np.abs(logits) > np.log(99.0)).mean())


def selection_metric(logits: Array, labels: Array, params: LoopParams) -> float:
    """The configured metric; larger is better."""
    if params.selection == "auc":
        return auc(logits, labels)
    return tpr_at_fpr(logits, labels, params.selection_fpr)
