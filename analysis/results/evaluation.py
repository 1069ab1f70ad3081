"""The measures of one finder's scores on one split."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.config import EvaluateParams
from analysis.records import Gate, Measure, Outcome, Point, seen_gate
from analysis.results.ranking import ranking
from analysis.results.untouched import BOTH, LENS, NEGATIVE, Untouched, untouched
from analysis.statistics import calibration as cal
from analysis.statistics import roc
from analysis.statistics.intervals import TABLE_LEVEL, share
from analysis.statistics.thresholds import (
    Threshold,
    above,
    probability_name,
)
from analysis.statistics.unlisted import rate_ends
from lake.errors import DataError
from lake.sky.imaging import Imaging
from lake.sky.photometry import depth_mag_from_psfdepth

_FEWEST_PIXELS = 10
"""HEALPix pixels below which a bootstrap of pixels says nothing."""
STRATA = ("type_bin", "nobs_z_bin", "psf_bin", "depth_bin", "pool", "confuser_category", "tier")


def evaluate(
    objects: pd.DataFrame, thresholds: Sequence[Threshold], params: EvaluateParams, rng: np.random.Generator
) -> Outcome:
    """Measure one finder on one split, at thresholds fixed on other objects.

    `objects`: one row per valid scored cut-out with `label` (0/1), `score` (logit), `probability`; optionally
    `seen_in_training` and any of `STRATA`. Only those that the finder is not known to have trained or selected on are
    measured; where too few are left, a measure has no value and the reason as its method. With `healpix_128` of every
    object, intervals of the ranking figures are given for whole pixels too.
    """
    needed = {"label", "score", "probability"} - set(objects.columns)
    if needed:
        raise DataError(f"evaluation needs the columns {', '.join(sorted(needed))}")
    held = untouched(objects)
    measured = held.objects
    scores = measured["score"].to_numpy(float)
    ranked, calibrated = _of_both_classes(measured, params, rng)
    measures = [
        *ranked,
        *_at_thresholds(measured, thresholds),
        *calibrated,
        *(
            measure
            for column in STRATA
            if column in measured.columns
            for value, group in measured.groupby(column, observed=True)
            for measure in _stratum(f"stratum/{column}/{value}", group, params)
        ),
    ]
    rule = "no scored object was trained or selected on by the finder or an ancestor"
    known = "seen_in_training" in objects.columns
    gates = (seen_gate("untouched_test_set", objects["seen_in_training"], rule),) if known else ()
    points = () if held.refusal() else reliability_points(measured, measured["probability"], params, "calibration")
    kept = tuple(_unless_refused(each, held) for each in measures)
    return Outcome("evaluation", kept, (*gates, _logits_gate(scores)), points=tuple(points))


def _of_both_classes(
    objects: pd.DataFrame, params: EvaluateParams, rng: np.random.Generator
) -> tuple[Iterable[Measure], Iterable[Measure]]:
    """How well objects are ranked, and how well calibrated; without values if all are of one class."""
    labels, n = objects["label"].to_numpy(), len(objects)
    lenses = int((labels == 1).sum())
    if 0 < lenses < n:
        ranked = ranking(labels, objects["score"].to_numpy(float), _pixels(objects), params, rng)
        return ranked, calibration_measures(labels, objects["probability"].to_numpy(float), params, "calibration")
    why = f"not measurable with {lenses:,} lenses and {n - lenses:,} negatives, needs both"
    counts = (Measure("positives", float(lenses), n=n), Measure("negatives", float(n - lenses), n=n))
    return (Measure("auc", math.nan, n=n, method=why), *counts), (
        Measure("calibration/ece", math.nan, n=n, method=why),
    )


def _pixels(objects: pd.DataFrame) -> np.ndarray | None:
    """HEALPix pixels, where the position of every object is known and there are several."""
    pixels = objects.get("healpix_128")
    return None if pixels is None or pixels.isna().any() or pixels.nunique() < _FEWEST_PIXELS else pixels.to_numpy()


def _logits_gate(scores: np.ndarray) -> Gate:
    """WARN where every score may be a probability: taken as logits, such scores are probabilities of 0.5 to 0.73."""
    inside = float(((scores >= 0.0) & (scores <= 1.0)).mean())
    rule = (
        "share of scores within [0, 1] below 1: if all are, they may be probabilities that are declared as logits "
        '(then declare output = "probabilities", and audit again)'
    )
    return Gate("scores_are_logits", "WARN" if inside == 1.0 else "PASS", inside, math.nan, math.nan, 1.0, rule)


def _unless_refused(measure: Measure, held: Untouched) -> Measure:
    """The measure, without its value where the objects it needs are refused."""
    why = held.refusal(_needed(measure.name))
    return measure if why is None else Measure(measure.name, math.nan, n=0, method=why)


def _needed(name: str) -> tuple[int, ...]:
    """Labels of the objects that a measure needs."""
    parts = name.split("/")
    if parts[0] == "threshold" or {"positives", "negatives"} & set(parts):
        return ()
    return (LENS,) if "recall" in parts else (NEGATIVE,) if "fpr" in parts else BOTH


def with_bins(objects: pd.DataFrame, imaging: Imaging, quantiles: int) -> pd.DataFrame:
    """Add `psf_bin` (arcsec) and `depth_bin` (5-sigma mag) of the reference band: bins of equal numbers."""
    size, depth = (objects[f"{kind}_{imaging.reference_band}"].to_numpy(float) for kind in ("psfsize", "psfdepth"))
    return objects.assign(
        psf_bin=_quantile_bins(size, quantiles), depth_bin=_quantile_bins(depth_mag_from_psfdepth(depth), quantiles)
    )


def _quantile_bins(values: np.ndarray, quantiles: int) -> np.ndarray:
    """Names `low-high` of bins of equal numbers; None where the value is missing."""
    names = np.full(len(values), None, dtype=object)
    known = np.isfinite(values)
    if known.any():
        edges = np.unique(np.quantile(values[known], np.linspace(0.0, 1.0, quantiles + 1)))
        index = np.clip(np.searchsorted(edges, values[known], side="right") - 1, 0, max(len(edges) - 2, 0))
        ends = np.append(edges, edges[-1])
        names[known] = [f"{ends[i]:.2f}-{ends[i + 1]:.2f}" for i in index]
    return names


def _at_thresholds(objects: pd.DataFrame, thresholds: Sequence[Threshold]) -> Iterator[Measure]:
    positive = objects.loc[objects["label"] == 1]
    negative = objects.loc[objects["label"] == 0, "probability"]
    groups = {"recall": positive}
    if "tier" in positive.columns:
        groups |= {f"recall/tier_{tier!s}": group for tier, group in positive.groupby("tier")}
    for point in thresholds:
        name = point.threshold_id
        if not point.measurable:
            for what in ("threshold", "fpr", "precision", *groups):
                yield Measure(f"{what}/{name}", math.nan, n=point.negatives, method=point.reason or "")
            continue
        how = "on the probability, selected above"
        yield Measure(f"threshold/{name}", point.threshold, n=point.negatives, method=how)
        yield share(f"fpr/{name}", point.test_above or 0, point.test_negatives)
        yield from _rate_over_lenses(point)
        true, false = (int((part > point.threshold).sum()) for part in (positive["probability"], negative))
        yield share(f"precision/{name}", true, true + false)
        for what, group in groups.items():
            counts = above(group["probability"], point.threshold) if len(group) else (0, 0)
            yield share(f"{what}/{name}", *counts)


def _rate_over_lenses(point: Threshold) -> Iterator[Measure]:
    if point.test_lenses_high is None or not point.test_negatives:
        return
    how = f"if up to {point.test_lenses_high:,} of {point.test_negatives:,} negatives are unlisted lenses"
    ends = rate_ends(point.test_above or 0, point.test_negatives, point.test_lenses_high)
    for end, counts in zip(("low", "high"), ends, strict=True):
        yield share(f"fpr/{point.threshold_id}/unlisted_{end}", *counts, how)


def calibration_measures(y: np.ndarray, p: np.ndarray, params: EvaluateParams, prefix: str) -> Iterator[Measure]:
    """How well probabilities (object,) of labels (object,) are calibrated; names begin with the prefix."""
    n, bins = len(y), _bins(params)
    (brier, skill), (nll, nll_skill), (slope, intercept) = cal.brier(y, p), cal.log_loss(y, p), cal.cox(y, p)
    saturated = float(np.mean((p < params.saturated_below) | (p > params.saturated_above)))
    curve = cal.reliability(y, p, params.calibration_bins, TABLE_LEVEL)
    adaptive = cal.adaptive_reliability(y, p, params.calibration_bins, TABLE_LEVEL)
    values = {
        "ece": (cal.calibration_error(curve, curve.count), bins),
        "mce": (cal.maximum_error(curve, curve.count), bins),
        "ece_adaptive": (cal.calibration_error(adaptive, adaptive.count), "bins of equal numbers"),
        "ece_positive_class": (cal.calibration_error(curve, curve.positives), f"{bins}, weighted by positives"),
        "mce_positive_class": (cal.maximum_error(curve, curve.positives), f"{bins} that hold a positive"),
        "brier": (brier, ""),
        "brier_skill": (skill, "against the base rate"),
        "log_loss": (nll, "nats per object"),
        "log_loss_skill": (nll_skill, "against the base rate"),
        "cox_slope": (slope, "1 is calibrated, below 1 overconfident"),
        "cox_intercept": (intercept, "0 is calibrated"),
        "expected_over_observed": (float(p.sum() / y.sum()) if y.sum() else math.nan, "sum of p over positives"),
        "saturated_share": (saturated, f"p < {params.saturated_below:g} or > {params.saturated_above:g}"),
    }
    for name, (value, method) in values.items():
        yield Measure(f"{prefix}/{name}", value, n=n, method=method)
    looked_at = p > params.positive_region_above
    if looked_at.any():
        inside = cal.reliability(y[looked_at], p[looked_at], params.calibration_bins, TABLE_LEVEL)
        name = f"{prefix}/ece_above_{params.positive_region_above:g}"
        yield Measure(name, cal.calibration_error(inside, inside.count), n=int(looked_at.sum()), method=bins)


def reliability_points(
    objects: pd.DataFrame, probabilities: ArrayLike, params: EvaluateParams, prefix: str
) -> Iterator[Point]:
    """The reliability curve of all objects, figure ``<prefix>/reliability``, and one of each stratum with enough
    lenses and negatives, figure ``<prefix>/reliability/<column>``, in a third as many bins: the share of lenses at the
    mean probability of each bin that is not empty."""
    y, p = objects["label"].to_numpy(), np.asarray(probabilities, dtype=np.float64)
    figure, few = f"{prefix}/reliability", max(params.calibration_bins // 3, 2)
    groups = [(figure, "all", np.full(len(y), True), params.calibration_bins)]
    groups += [(f"{figure}/{column}", value, rows, few) for column, value, rows in _strata(objects, params)]
    for figure, series, rows, bins in groups:
        curve = cal.reliability(y[rows], p[rows], bins, TABLE_LEVEL)
        for x, share_, low, high, n in zip(
            curve.predicted, curve.observed, curve.low, curve.high, curve.count, strict=True
        ):
            if n:
                yield Point(figure, series, float(x), float(share_), float(low), float(high), int(n))


def stratum_errors(
    objects: pd.DataFrame, probabilities: ArrayLike, params: EvaluateParams, kind: str
) -> Iterator[Measure]:
    """ECE and MCE of probabilities (object,) in each stratum with enough lenses and negatives, named like
    ``stratum/<column>/<value>/<kind>/ece``."""
    y, p = objects["label"].to_numpy(), np.asarray(probabilities, dtype=np.float64)
    for column, value, rows in _strata(objects, params):
        curve = cal.reliability(y[rows], p[rows], params.calibration_bins, TABLE_LEVEL)
        for name, error in (("ece", cal.calibration_error), ("mce", cal.maximum_error)):
            where = f"stratum/{column}/{value}/{kind}/{name}"
            yield Measure(where, error(curve, curve.count), n=int(rows.sum()), method=_bins(params))


def _strata(objects: pd.DataFrame, params: EvaluateParams) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Column, value and rows of every stratum that has enough lenses and negatives."""
    labels = objects["label"].to_numpy()
    for column in [name for name in STRATA if name in objects.columns]:
        values = objects[column].to_numpy()
        for value in sorted(objects[column].dropna().unique()):
            rows = values == value
            if min((labels[rows] == label).sum() for label in (1, 0)) >= params.min_stratum_positives:
                yield column, str(value), rows


def _bins(params: EvaluateParams) -> str:
    return f"{params.calibration_bins} equal-width bins"


def _stratum(name: str, group: pd.DataFrame, params: EvaluateParams) -> Iterator[Measure]:
    positives = int((group["label"] == 1).sum())
    negatives = len(group) - positives
    yield Measure(f"{name}/positives", float(positives), n=len(group))
    yield Measure(f"{name}/negatives", float(negatives), n=len(group))
    if min(positives, negatives) >= params.min_stratum_positives:
        yield roc.auc_measure(f"{name}/auc", group["label"], group["score"])
        y, p = group["label"].to_numpy(float), group["probability"].to_numpy(float)
        yield from calibration_measures(y, p, params, f"{name}/calibration")
    for threshold in params.probability_thresholds:
        for label, what in ((1, "recall"), (0, "fpr")):
            chosen = group.loc[group["label"] == label, "probability"]
            if len(chosen):
                yield share(f"{name}/{what}/{probability_name(threshold)}", *above(chosen, threshold))
