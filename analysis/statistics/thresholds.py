"""Thresholds and the rates they reach; named ones are fixed once, on one set of negatives, and measured on another.

An object is selected where `score > threshold`. `p0.3` is chosen beforehand; `fpr1e-3@val` is exceeded by the fraction
1e-3 of the validation negatives kept for thresholds, which are neither hosts of injections nor test negatives. The rate
it reaches is measured on the test negatives. Failed objects have no score: the caller leaves them out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from analysis.config import EvaluateParams
from analysis.records import plain
from analysis.statistics.intervals import exact
from analysis.statistics.unlisted import lenses_among, rate_range, without
from lake.errors import DataError, invalid
from lake.sky.split import LEAST_ABOVE

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Distribution = tuple[Floats, Floats]
"""Values of a threshold, and their weights."""
Ends = tuple[tuple[float, Distribution], tuple[float, Distribution]]
"""Highest and lowest value of a derived threshold over the declared numbers of unlisted lenses, each with its
bootstrap distribution."""
REFUSED: Literal["refused"] = "refused"
Status = Literal["fixed", "measured", "not measurable", "not selective", "refused"]
SAMPLE = "val"
"""The sample that fixes thresholds: validation negatives kept for them."""
_NEGLIGIBLE = 1e-6
_OPTIONAL_COUNTS = ("above", "negatives_needed", "test_above", "lenses_low", "lenses_high", "test_lenses_high")


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
    lenses_low: int | None = None
    """Fewest and most unlisted lenses among the negatives that fix it; None: not declared."""
    lenses_high: int | None = None
    threshold_low: float = math.nan
    """Lowest and highest value of a derived threshold, if up to `lenses_high` of its negatives are lenses."""
    threshold_high: float = math.nan
    test_lenses_high: int | None = None
    """Most unlisted lenses among the test negatives."""
    fpr_unlisted_low: float = math.nan
    """Rate reached on the others, if up to `test_lenses_high` test negatives are lenses; 95 % bounds of its ends."""
    fpr_unlisted_high: float = math.nan
    fpr_unlisted_bound_low: float = math.nan
    fpr_unlisted_bound_high: float = math.nan
    reason: str | None = None
    """Why it is not measurable, or refused."""

    @property
    def lenses_may_fix_it(self) -> bool:
        """Whether as many unlisted lenses are declared among its negatives as are expected above it."""
        derived = self.status == "measured" and self.lenses_high is not None
        return derived and (self.lenses_high or 0) >= self.target_fpr * self.negatives

    @property
    def measurable(self) -> bool:
        return self.status not in ("not measurable", REFUSED)


THRESHOLD_COLUMNS = ("checkpoint_id", *(field.name for field in fields(Threshold)))
"""Columns of the table that a threshold is made of."""


def fpr_name(fpr: float) -> str:
    """A false-positive rate as a name: `fpr1e-3`."""
    mantissa, exponent = f"{fpr:e}".split("e")
    return f"fpr{float(mantissa):g}e{int(exponent)}"


def probability_name(threshold: float) -> str:
    """Identifier of a threshold chosen beforehand: `p0.3`."""
    return f"p{threshold:g}"


def too_few(negatives: int, fpr: float) -> str | None:
    """Why this number of negatives cannot measure a false-positive rate; None if it can."""
    needed = _needed(fpr)
    return f"not measurable with {negatives:,} negatives, needs {needed:,}" if negatives < needed else None


def refusal(negative_scores: ArrayLike, fpr: float) -> str | None:
    """Why a sample of negatives gives no threshold at a false-positive rate; None if it gives one.

    There are too few negatives, or too many of them share a score: with saturated scores, or scores of few values,
    fewer than ten negatives are above the threshold, and the recall there is near 0 for any ranking.
    """
    if (few := too_few(np.size(negative_scores), fpr)) is not None:
        return few
    return None if threshold_at_fpr(negative_scores, fpr)[1] >= LEAST_ABOVE else _tied(fpr)


def threshold_at_fpr(negative_scores: ArrayLike, fpr: float) -> tuple[float, int]:
    """Lowest threshold that at most a share `fpr` of the negatives exceeds, and how many exceed it."""
    scores = _finite(negative_scores)
    if not 0.0 < fpr < 1.0:
        raise invalid("fpr", "between 0 and 1 exclusive", fpr)
    allowed = int(np.floor(fpr * len(scores) + 1e-9))
    threshold = float(np.sort(scores)[::-1][allowed])
    return threshold, int((scores > threshold).sum())


def fpr_at_tpr(positive_scores: ArrayLike, negative_scores: ArrayLike, tpr: float) -> float:
    """False-positive rate at the highest threshold that keeps a share `tpr` of the positives."""
    positive, negative = np.sort(_finite(positive_scores))[::-1], _finite(negative_scores)
    if not 0.0 < tpr <= 1.0:
        raise invalid("tpr", "in (0, 1]", tpr)
    kept = int(np.ceil(tpr * len(positive) - 1e-9))
    return float((negative > np.nextafter(positive[kept - 1], -np.inf)).mean())


def above(scores: ArrayLike, threshold: float) -> tuple[int, int]:
    """How many scores are above the threshold, and how many there are."""
    values = _finite(scores)
    return int((values > threshold).sum()), len(values)


def fix_thresholds(
    fixing: ArrayLike, testing: ArrayLike, params: EvaluateParams, refused: str | None = None
) -> list[Threshold]:
    """Every threshold of a finder, from the probabilities of two disjoint sets of negatives.

    A derived threshold with fewer than ten negatives above it, expected or left by ties, is an extreme of a small
    sample: it is not measurable. `refused`: why no rate may be measured on the test negatives; every threshold that has
    none is then refused.
    """
    own, other = (np.asarray(values, dtype=np.float64) for values in (fixing, testing))
    if not (np.isfinite(own).all() and np.isfinite(other).all()):
        raise DataError("some probabilities of negatives are not finite: exclude failed objects")
    chosen = [_fixed(value, own, other, params.selective_fpr_max) for value in params.probability_thresholds]
    found = chosen + [_derived(fpr, own, other) for fpr in params.fpr_points]
    if refused is not None:
        return [_refused(point, refused) if point.measurable else point for point in found]
    declared = params.unlisted_lenses_per_negative
    return found if declared is None else [_over_lenses(point, own, declared) for point in found]


def why_not(thresholds: Iterable[Threshold], threshold_id: str) -> str:
    """Why nothing is measured at a threshold: `p0.5 is refused: ...`."""
    reason = next((one.reason for one in thresholds if one.threshold_id == threshold_id), None)
    return f"{threshold_id} is {reason or 'not measurable'}"


def threshold_rows(thresholds: Iterable[Threshold], checkpoint_id: str, generation: str) -> list[dict[str, Any]]:
    """Rows of the table, without lineage; NaN becomes None."""
    shared = {"checkpoint_id": checkpoint_id, "generation": generation}
    return [plain({**shared, **asdict(one)}) for one in thresholds]


def from_rows(rows: pd.DataFrame) -> list[Threshold]:
    """Thresholds of one finder from the rows of the table, those chosen beforehand first, then by descending rate."""
    return from_records(rows.to_dict("records"))


def from_records(rows: Iterable[Mapping[Any, Any]]) -> list[Threshold]:
    """The same from rows with NaN or None where there is no value."""
    ordered = sorted(rows, key=_place)
    if len(finders := sorted({row["checkpoint_id"] for row in ordered})) > 1:
        raise DataError(f"thresholds of different finders are mixed: {', '.join(finders)}")
    return [
        Threshold(**{field.name: _plain(field.name, row[field.name]) for field in fields(Threshold)}) for row in ordered
    ]


def _plain(name: str, value: Any) -> Any:
    """A value of a row: None where a count or a reason is absent, NaN where another number is."""
    optional = name in (*_OPTIONAL_COUNTS, "reason")
    if _absent(value):
        return None if optional else math.nan
    return value if not optional else str(value) if name == "reason" else int(value)


def _absent(value: Any) -> bool:
    return value is None or value != value


def _place(row: Mapping[Any, Any]) -> tuple[float, bool, float]:
    """What rows are sorted by; thresholds that could not be measured come last among those of a rate."""
    rate, threshold = row["target_fpr"], row["threshold"]
    unknown = _absent(threshold)
    return -2.0 if _absent(rate) else -rate, unknown, 0.0 if unknown else threshold


def bootstrap_thresholds(fixing: ArrayLike, target_fpr: float) -> Distribution:
    """Values and weights of the bootstrap distribution of a derived threshold, exact: no resampling is needed.

    The threshold is the r-th largest of n negatives. In a resample it is at least the j-th largest of the sample where
    r or more of the n draws fall on the j largest, a binomial probability (Efron 1982, section 10.2, for the median).
    """
    ordered = np.sort(np.asarray(fixing, dtype=np.float64))[::-1]
    n = len(ordered)
    rank = min(int(np.floor(target_fpr * n + 1e-9)) + 1, n)
    reached = scipy.special.betainc(rank, n - rank + 1, np.arange(n + 1) / n)  # binomial, as an incomplete beta
    weights = np.diff(reached)
    kept = weights > _NEGLIGIBLE
    return ordered[kept], weights[kept] / weights[kept].sum()


def unlisted_ends(fixing: ArrayLike, point: Threshold) -> Ends | None:
    """The ends of a derived threshold's range; None if none is declared, or the threshold was chosen beforehand."""
    if point.status != "measured" or point.lenses_high is None:
        return None
    high, low = (bootstrap_thresholds(part, point.target_fpr) for part in without(fixing, point.lenses_high))
    return (point.threshold_high, high), (point.threshold_low, low)


def _refused(point: Threshold, reason: str) -> Threshold:
    """The threshold without its value and rate."""
    nan = math.nan
    point = replace(point, threshold=nan, above=None, test_above=None, fpr_reached=nan, fpr_low=nan, fpr_high=nan)
    return replace(point, status=REFUSED, reason=reason)


def _over_lenses(point: Threshold, own: Floats, declared: tuple[float, float]) -> Threshold:
    """The threshold with its range, and that of the rate it reaches, over the declared numbers of unlisted lenses."""
    fewest, most = lenses_among(len(own), declared)
    _, among_test = lenses_among(point.test_negatives, declared)
    found = replace(point, lenses_low=fewest, lenses_high=most, test_lenses_high=among_test)
    if point.status == "measured":
        high, low = (threshold_at_fpr(part, point.target_fpr)[0] for part in without(own, most))
        found = replace(found, threshold_low=low, threshold_high=high)
    if point.test_above is None:
        return found
    rate = rate_range(point.test_above, point.test_negatives, among_test)
    return replace(found, **{f"fpr_unlisted_{name}": value for name, value in asdict(rate).items()})


def _fixed(value: float, own: Floats, other: Floats, selective_fpr_max: float) -> Threshold:
    nan, count = float("nan"), int((own > value).sum())
    name = probability_name(value)
    point = _judged(Threshold(name, "fixed", value, nan, len(own), count, None, 0, None, nan, nan, nan), other)
    return replace(point, status="not selective") if point.fpr_reached > selective_fpr_max else point


def _derived(fpr: float, own: Floats, other: Floats) -> Threshold:
    name, nan, needed = f"{fpr_name(fpr)}@{SAMPLE}", float("nan"), _needed(fpr)
    nothing = Threshold(name, "not measurable", nan, fpr, len(own), None, needed, len(other), None, nan, nan, nan)
    if (why := refusal(own, fpr)) is not None:
        return replace(nothing, reason=why)
    threshold, count = threshold_at_fpr(own, fpr)
    return _judged(replace(nothing, status="measured", threshold=threshold, above=count, test_negatives=0), other)


def _judged(point: Threshold, other: Floats) -> Threshold:
    """The threshold with the rate that it reaches on other negatives; unknown if there are none."""
    if not len(other):
        return point
    hit, of = above(other, point.threshold)
    low, high = exact(hit, of)
    return replace(point, test_negatives=of, test_above=hit, fpr_reached=hit / of, fpr_low=low, fpr_high=high)


def _needed(fpr: float) -> int:
    """Negatives of which `LEAST_ABOVE` exceed the threshold at a false-positive rate."""
    return int(np.ceil(LEAST_ABOVE / fpr - 1e-9))


def _tied(fpr: float) -> str:
    return f"not measurable: too many negatives share one score to let {fpr:g} of them through"


def _finite(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if len(values) == 0:
        raise DataError("no scores: a threshold needs at least one valid object")
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} scores are not finite: exclude failed objects")
    return values
