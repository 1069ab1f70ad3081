"""Operating points: thresholds at a false-positive rate, the rate really reached, recall there.

An object is selected where `score > threshold`. Only valid negatives rank: failed loads have no score and are left out
by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.intervals import clopper_pearson
from lake.errors import DataError, invalid

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold derived from negatives."""

    threshold_id: str
    """`p0.3` for a fixed probability, `fpr1e-3` for a derived threshold."""
    threshold: float
    target_fpr: float
    """NaN for a fixed threshold."""
    reached_fpr: float
    fpr_low: float
    fpr_high: float
    """Clopper-Pearson bounds of the rate reached."""
    false_positives: int
    negatives: int
    negatives_needed: int
    """Negatives that would put ten above the threshold; fewer, and the threshold is an extreme of a small sample."""

    @property
    def resolved(self) -> bool:
        """Whether at least one negative stands above the threshold, so that the rate was measured, not bounded."""
        return self.false_positives > 0


def fpr_name(fpr: float) -> str:
    """Identifier of a derived threshold: `fpr1e-3`."""
    mantissa, exponent = f"{fpr:e}".split("e")
    return f"fpr{float(mantissa):g}e{int(exponent)}"


def probability_name(threshold: float) -> str:
    """Identifier of a fixed threshold: `p0.3`."""
    return f"p{threshold:g}"


def threshold_at_fpr(negative_scores: ArrayLike, fpr: float, level: float) -> OperatingPoint:
    """Lowest threshold that lets at most a share `fpr` of the negatives through."""
    scores = _finite(negative_scores)
    if not 0.0 < fpr < 1.0:
        raise invalid("fpr", "between 0 and 1 exclusive", fpr)
    allowed = int(np.floor(fpr * len(scores) + 1e-9))
    threshold = float(np.sort(scores)[::-1][allowed])
    return _point(fpr_name(fpr), threshold, fpr, scores, level)


def fixed_threshold(negative_scores: ArrayLike, threshold: float, level: float) -> OperatingPoint:
    """The false-positive rate of a threshold chosen beforehand."""
    return _point(probability_name(threshold), threshold, float("nan"), _finite(negative_scores), level)


def operating_points(
    negative_scores: ArrayLike, fprs: tuple[float, ...], probabilities: tuple[float, ...], level: float
) -> list[OperatingPoint]:
    """Every threshold a run reports: the fixed ones, then those at each false-positive rate."""
    scores = _finite(negative_scores)
    fixed = [fixed_threshold(scores, value, level) for value in probabilities]
    return fixed + [threshold_at_fpr(scores, value, level) for value in fprs]


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


def _point(name: str, threshold: float, target: float, negatives: Floats, level: float) -> OperatingPoint:
    above = int((negatives > threshold).sum())
    low, high = clopper_pearson(above, len(negatives), level)
    reached = above / len(negatives)
    rate = target if np.isfinite(target) else max(reached, 1.0 / len(negatives))
    needed = int(np.ceil(10.0 / rate - 1e-9))
    return OperatingPoint(
        name, threshold, target, reached, float(low[0]), float(high[0]), above, len(negatives), needed
    )


def _finite(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if len(values) == 0:
        raise DataError("no scores: an operating point needs at least one valid object")
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} scores are not finite: leave failed objects out")
    return values
