"""The measures of how well a model ranks lenses above negatives, on one split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from analysis.config import EvaluateParams
from analysis.records import Measure
from analysis.statistics import roc
from analysis.statistics.bootstrap import PRECISION, RankingReplicates, resample_ranking
from analysis.statistics.intervals import TABLE_LEVEL, share
from analysis.statistics.thresholds import above, fpr_at_tpr, fpr_name, refusal, threshold_at_fpr, too_few
from analysis.statistics.uncertain import fpr_interval, tpr_interval
from analysis.statistics.unlisted import lenses_among, without

Valued = tuple[float, float, float]
"""A value and its interval."""
_JOINT = "limits of effective counts, mixed over the bootstrap distribution of the threshold"
_FALSE_POSITIVES = (0, 10)
"""Numbers of negatives selected at which the literature gives a recall: TPR0 and TPR10."""


def ranking(
    labels: np.ndarray,
    scores: np.ndarray,
    pixels: np.ndarray | None,
    params: EvaluateParams,
    rng: np.random.Generator,
) -> Iterator[Measure]:
    """Of labels and scores (object,); `pixels` (HEALPix, NESTED) are the units of a second set of intervals."""
    area = roc.delong(labels, scores, TABLE_LEVEL)
    n = len(labels)
    yield Measure("auc", area.auc, area.low, area.high, n, "", f"DeLong, {area.interval}")
    yield Measure("auc/standard_error", area.standard_error, n=n, method="DeLong")
    yield Measure("positives", float(area.positives), n=n)
    yield Measure("negatives", float(area.negatives), n=n)
    yield from _at_rates(labels, scores, params)
    yield from _at_counts(labels, scores)
    draws = resample_ranking(labels, scores, params.partial_auc_fprs, params.bootstrap_replicates, rng)
    how = f"stratified bootstrap, BCa, {params.bootstrap_replicates} resamples"
    yield from _precision(labels, draws, how)
    yield from _partial_areas(labels, scores, params, draws, how)
    if pixels is not None:
        yield from _by_pixel(labels, scores, pixels, params, rng)


def _at_counts(labels: np.ndarray, scores: np.ndarray) -> Iterator[Measure]:
    """TPR0 and TPR10: they depend on the number of negatives, and the negatives' own scatter is not in the interval."""
    positives, negatives = scores[labels == 1], np.sort(scores[labels == 0])[::-1]
    for count in _FALSE_POSITIVES:
        how = f"above all but {count} of {len(negatives):,} negatives; the interval takes that threshold as exact"
        if count < len(negatives):
            yield share(f"tpr_at_false_positives/{count}", *above(positives, float(negatives[count])), how)


def _precision(labels: np.ndarray, draws: RankingReplicates, how: str) -> Iterator[Measure]:
    """The area under the curve of precision and recall, which holds at the split's own share of lenses."""
    n, value = len(labels), float(draws.whole[draws.names.index(PRECISION)])
    rate = f"at a lens share of {np.mean(labels):.2e}; {how}"
    yield Measure(PRECISION, value, *draws.accelerated(PRECISION, TABLE_LEVEL), n, "", rate)


def _by_pixel(
    labels: np.ndarray, scores: np.ndarray, pixels: np.ndarray, params: EvaluateParams, rng: np.random.Generator
) -> Iterator[Measure]:
    """The same figures with whole HEALPix pixels resampled: neighbours share seeing, depth and reduction."""
    limits = tuple(limit for limit in params.partial_auc_fprs if not too_few(int((labels == 0).sum()), limit))
    draws = resample_ranking(labels, scores, limits, params.bootstrap_replicates, rng, clusters=pixels)
    how = f"bootstrap of {len(np.unique(pixels)):,} HEALPix pixels, BCa, {params.bootstrap_replicates} resamples"
    for name, value in zip(draws.names, draws.whole, strict=True):
        title = name if isinstance(name, str) else f"partial_auc/{fpr_name(name)[3:]}/mcclish"
        yield Measure(f"by_pixel/{title}", float(value), *draws.accelerated(name, TABLE_LEVEL), len(labels), "", how)


def _at_rates(labels: np.ndarray, scores: np.ndarray, params: EvaluateParams) -> Iterator[Measure]:
    """The ROC at the requested rates; its thresholds are those of this sample and have no names."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    for fpr in params.fpr_points:
        name = f"tpr_at_fpr/{fpr:g}"
        if why := refusal(negatives, fpr):
            yield Measure(name, math.nan, n=len(positives), method=why)
            continue

        def recalled(others: np.ndarray, rate: float = fpr) -> Valued:
            hit, of = above(positives, threshold_at_fpr(others, rate)[0])
            return hit / of, *tpr_interval(positives, others, rate, TABLE_LEVEL)

        passed = threshold_at_fpr(negatives, fpr)[1]
        how = f"{_JOINT}; FPR of the curve at that point {passed / len(negatives):.2e}"
        yield Measure(name, *recalled(negatives), len(positives), "", how)
        yield from _over_lenses(name, negatives, len(positives), params, recalled)

    def passing(others: np.ndarray) -> Valued:
        interval = fpr_interval(positives, others, params.tpr_point, TABLE_LEVEL)
        return fpr_at_tpr(positives, others, params.tpr_point), *interval

    name = f"fpr_at_tpr/{params.tpr_point:g}"
    yield Measure(name, *passing(negatives), len(negatives), "", _JOINT)
    yield from _over_lenses(name, negatives, len(negatives), params, passing)


def _over_lenses(
    name: str, negatives: np.ndarray, n: int, params: EvaluateParams, valued: Callable[[np.ndarray], Valued]
) -> Iterator[Measure]:
    """A figure at both ends of the declared range of unlisted lenses among the negatives."""
    if params.unlisted_lenses_per_negative is None:
        return
    most = lenses_among(len(negatives), params.unlisted_lenses_per_negative)[1]
    how = f"if up to {most:,} of {len(negatives):,} negatives are unlisted lenses"
    ends = sorted(valued(part) for part in without(negatives, most))
    for end, found in zip(("low", "high"), ends, strict=True):
        yield Measure(f"{name}/unlisted_{end}", *found, n, "", how)


def _partial_areas(
    labels: np.ndarray, scores: np.ndarray, params: EvaluateParams, draws: RankingReplicates, how: str
) -> Iterator[Measure]:
    positives, negatives = scores[labels == 1], scores[labels == 0]
    for limit in params.partial_auc_fprs:
        name = f"partial_auc/{fpr_name(limit)[3:]}"
        if why := too_few(len(negatives), limit):
            for kind in ("mcclish", "raw"):
                yield Measure(f"{name}/{kind}", math.nan, n=len(labels), method=why)
            continue
        part = roc.partial_auc(labels, scores, limit)
        low, high = draws.accelerated(limit, TABLE_LEVEL)
        yield Measure(f"{name}/mcclish", part.standardised, low, high, len(labels), "", f"McClish 1989; {how}")
        yield Measure(f"{name}/raw", part.raw, n=len(labels), method="area up to that FPR")

        def standardised(others: np.ndarray, limit: float = limit) -> Valued:
            classes = np.repeat([1, 0], [len(positives), len(others)])
            return roc.partial_auc(classes, np.r_[positives, others], limit).standardised, math.nan, math.nan

        yield from _over_lenses(f"{name}/mcclish", negatives, len(labels), params, standardised)
