"""Operating points: thresholds at a false-positive rate, the rate really reached, recall there.

An object is selected where `score > threshold`. Only valid negatives rank: failed loads have no score and are left out
by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lake.errors import DataError, invalid
from lake.sky.split import LEAST_ABOVE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold derived from negatives, and the rate that it reaches on those same negatives."""

    threshold: float
    reached_fpr: float
    false_positives: int


def negatives_needed(fpr: float) -> int:
    """Negatives needed to have `LEAST_ABOVE` of them above the threshold at a false-positive rate."""
    return int(np.ceil(LEAST_ABOVE / fpr - 1e-9))


def not_measurable(negatives: int, fpr: float) -> str | None:
    """Why a sample cannot measure a false-positive rate; None if it can."""
    needed = negatives_needed(fpr)
    return f"not measurable with {negatives:,} negatives, needs {needed:,}" if negatives < needed else None


def tied(fpr: float) -> str:
    """That a false-positive rate cannot be set because scores repeat."""
    return f"not measurable: too many negatives share one score to let {fpr:g} of them through"


def refusal(negative_scores: ArrayLike, fpr: float) -> str | None:
    """Why a sample of negatives gives no threshold at a false-positive rate; None if it gives one.

    There are too few negatives, or too many of them share a score: with saturated scores, or scores of few values,
    fewer than ten negatives are above the threshold, and the recall there is near 0 for any ranking.
    """
    scores = _finite(negative_scores)
    few = not_measurable(len(scores), fpr)
    return few or (None if threshold_at_fpr(scores, fpr).false_positives >= LEAST_ABOVE else tied(fpr))


def fpr_name(fpr: float) -> str:
    """A false-positive rate as a name: `fpr1e-3`."""
    mantissa, exponent = f"{fpr:e}".split("e")
    return f"fpr{float(mantissa):g}e{int(exponent)}"


def probability_name(threshold: float) -> str:
    """Identifier of a fixed threshold: `p0.3`."""
    return f"p{threshold:g}"


def threshold_at_fpr(negative_scores: ArrayLike, fpr: float) -> OperatingPoint:
    """Lowest threshold that lets at most a share `fpr` of the negatives through."""
    scores = _finite(negative_scores)
    if not 0.0 < fpr < 1.0:
        raise invalid("fpr", "between 0 and 1 exclusive", fpr)
    allowed = int(np.floor(fpr * len(scores) + 1e-9))
    threshold = float(np.sort(scores)[::-1][allowed])
    above = int((scores > threshold).sum())
    return OperatingPoint(threshold, above / len(scores), above)


def recall_at(positive_scores: ArrayLike, threshold: float) -> tuple[int, int]:
    """Positives above the threshold, and positives."""
    scores = _finite(positive_scores)
    return int((scores > threshold).sum()), len(scores)


def fpr_at_tpr(positive_scores: ArrayLike, negative_scores: ArrayLike, tpr: float) -> tuple[float, float]:
    """False-positive rate at the highest threshold that keeps a share `tpr` of the positives, and that threshold."""
    positive, negative = np.sort(_finite(positive_scores))[::-1], _finite(negative_scores)
    if not 0.0 < tpr <= 1.0:
        raise invalid("tpr", "in (0, 1]", tpr)
    kept = int(np.ceil(tpr * len(positive) - 1e-9))
    threshold = float(np.nextafter(positive[kept - 1], -np.inf))
    return float((negative > threshold).mean()), threshold


def precision_at(positive_scores: ArrayLike, negative_scores: ArrayLike, threshold: float) -> tuple[int, int]:
    """Positives among the selected, and the selected, at the sample's own ratio of negatives to positives."""
    true = int((_finite(positive_scores) > threshold).sum())
    return true, true + int((_finite(negative_scores) > threshold).sum())


def _finite(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if len(values) == 0:
        raise DataError("no scores: an operating point needs at least one valid object")
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} scores are not finite: exclude failed objects")
    return values
