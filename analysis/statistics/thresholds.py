"""Named thresholds: fixed once on negatives of their own, measured on others, used everywhere by name.

`p0.3` is chosen beforehand; `fpr1e-3@val` is exceeded by the fraction 1e-3 of the validation negatives kept for
thresholds, which are neither hosts of injections nor test negatives. The rate it reaches is measured on the test
negatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike, NDArray

from analysis.config import EvaluateParams
from analysis.records import plain
from analysis.statistics import operating
from analysis.statistics.intervals import exact
from lake.errors import DataError

Floats = NDArray[np.float64]
Status = Literal["fixed", "measured", "not measurable", "not selective"]
SAMPLE = "val"
"""The sample that fixes thresholds: validation negatives kept for them."""
_NEGLIGIBLE = 1e-6
_OPTIONAL_COUNTS = ("above", "negatives_needed", "test_above")


@dataclass(frozen=True)
class Threshold:
    """A row of the table `thresholds`; NaN or None where a value does not apply."""

    threshold_id: str
    status: Status
    threshold: float
    """Selected above this probability; NaN where it is not measurable."""
    target_fpr: float
    negatives: int
    """Negatives of the sample that fixes thresholds."""
    above: int | None
    negatives_needed: int | None
    test_negatives: int
    test_above: int | None
    fpr_reached: float
    """Share of the test negatives above the threshold, with its Clopper-Pearson 95 % interval."""
    fpr_low: float
    fpr_high: float

    @property
    def measurable(self) -> bool:
        return self.status != "not measurable"

    @property
    def refusal(self) -> str:
        """Why there is no such threshold."""
        return operating.not_measurable(self.negatives, self.target_fpr) or operating.tied(self.target_fpr)


def threshold_name(fpr: float) -> str:
    """Identifier of a derived threshold with the sample that fixes it: `fpr1e-3@val`."""
    return f"{operating.fpr_name(fpr)}@{SAMPLE}"


def fix_thresholds(fixing: ArrayLike, testing: ArrayLike, params: EvaluateParams) -> list[Threshold]:
    """Every threshold of a finder, from the probabilities of two disjoint sets of negatives.

    A derived threshold with fewer than ten negatives above it, expected or left by ties, is an extreme of a small
    sample: it is refused.
    """
    own, other = (np.asarray(values, dtype=np.float64) for values in (fixing, testing))
    if not (np.isfinite(own).all() and np.isfinite(other).all()):
        raise DataError("some probabilities of negatives are not finite: exclude failed objects")
    chosen = [_fixed(value, own, other, params.selective_fpr_max) for value in params.probability_thresholds]
    return chosen + [_derived(fpr, own, other) for fpr in params.fpr_points]


def threshold_rows(thresholds: Iterable[Threshold], checkpoint_id: str, generation: str) -> list[dict[str, Any]]:
    """Rows of the table, without lineage; NaN becomes None."""
    shared = {"checkpoint_id": checkpoint_id, "generation": generation}
    return [plain({**shared, **asdict(one)}) for one in thresholds]


def from_rows(rows: pd.DataFrame) -> list[Threshold]:
    """Thresholds of one finder from the rows of the table, those chosen beforehand first, then by descending rate."""
    if rows["checkpoint_id"].nunique() > 1:
        finders = ", ".join(sorted(rows["checkpoint_id"].unique()))
        raise DataError(f"thresholds of different finders are mixed: {finders}")
    rated = rows.assign(rate=rows["target_fpr"].fillna(2.0))
    ordered = rated.sort_values(["rate", "threshold"], ascending=[False, True])
    return [_from_row(row) for row in ordered.to_dict("records")]


def bootstrap_thresholds(fixing: ArrayLike, target_fpr: float) -> tuple[Floats, Floats]:
    """Values and weights of the bootstrap distribution of a derived threshold, exact: no resampling is needed.

    The threshold is the r-th largest of n negatives. In a resample it is at least the j-th largest of the sample where
    r or more of the n draws fall on the j largest, a binomial probability (Efron 1982, section 10.2, for the median).
    """
    ordered = np.sort(np.asarray(fixing, dtype=np.float64))[::-1]
    n = len(ordered)
    rank = min(int(np.floor(target_fpr * n + 1e-9)) + 1, n)
    reached = scipy.stats.binom.sf(rank - 1, n, np.arange(n + 1) / n)
    weights = np.diff(reached)
    kept = weights > _NEGLIGIBLE
    return ordered[kept], weights[kept] / weights[kept].sum()


def _fixed(value: float, own: Floats, other: Floats, selective_fpr_max: float) -> Threshold:
    nan, above = float("nan"), int((own > value).sum())
    name = operating.probability_name(value)
    unjudged = Threshold(name, "fixed", value, nan, len(own), above, None, 0, None, nan, nan, nan)
    point = _judged(unjudged, other)
    return replace(point, status="not selective") if point.fpr_reached > selective_fpr_max else point


def _derived(fpr: float, own: Floats, other: Floats) -> Threshold:
    name, nan, needed = threshold_name(fpr), float("nan"), operating.negatives_needed(fpr)
    nothing = Threshold(name, "not measurable", nan, fpr, len(own), None, needed, len(other), None, nan, nan, nan)
    if len(own) < needed or operating.refusal(own, fpr):
        return nothing
    point = operating.threshold_at_fpr(own, fpr)
    found = replace(nothing, status="measured", threshold=point.threshold, above=point.false_positives)
    return _judged(replace(found, test_negatives=0), other)


def _judged(point: Threshold, other: Floats) -> Threshold:
    """The threshold with the rate that it reaches on other negatives; unknown if there are none."""
    if not len(other):
        return point
    above = int((other > point.threshold).sum())
    low, high = exact(above, len(other))
    point = replace(point, test_negatives=len(other), test_above=above)
    return replace(point, fpr_reached=above / len(other), fpr_low=low, fpr_high=high)


def _from_row(row: Mapping[Any, Any]) -> Threshold:
    kept = {field.name: row[field.name] for field in fields(Threshold)}
    counts = {name: None if pd.isna(kept[name]) else int(kept[name]) for name in _OPTIONAL_COUNTS}
    return Threshold(**{**kept, **counts})
