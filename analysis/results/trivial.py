"""What simple measurements achieve: the baseline a network must beat, and the shortcuts a data set must not offer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.config import DiagnoseParams
from analysis.records import Gate, Measure, Outcome, Status, decide, gate_below, not_measured
from analysis.statistics import roc
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.operating import fpr_name, not_measurable, threshold_at_fpr, tied
from lake.errors import DataError
from lake.sky.imaging import Imaging

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_ITERATIONS = 2000
_CELLS = 4_000_000
"""Weights of resamples held at once (32 MB)."""


@dataclass(frozen=True)
class Rivalry:
    """Where a network is compared with the baseline, besides by AUC."""

    fprs: tuple[float, ...]
    """False-positive rates of the run's thresholds."""
    replicates: int
    """Resamples behind the interval of the gain."""


def baseline(
    features: pd.DataFrame,
    labels: ArrayLike,
    split: ArrayLike,
    seed: int,
    network_scores: ArrayLike | None = None,
    rivalry: Rivalry = Rivalry((), 1),
) -> Outcome:
    """Logistic regression and small gradient boosting on `trivial/` features, fitted on train, measured on test.

    With `network_scores` (one per row; only test rows are read) the network is compared on the same objects. The
    stronger of the two baselines is used: by AUC, and at each false-positive rate of `rivalry`, of which the lowest
    measurable one decides together with the AUC.
    `arrays["trivial_scores"]` holds its test scores.
    """
    y, where = np.asarray(labels), np.asarray(split)
    columns = [name for name in features.columns if name.startswith("trivial/")]
    train, test = where == "train", where == "test"
    _require_classes(y, train, test)
    values = features[columns].to_numpy(float)
    models = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=_ITERATIONS)),
        "boosting": GradientBoostingClassifier(n_estimators=100, max_depth=3, subsample=0.5, random_state=seed),
    }
    scores = {name: _fit_score(model, values, y, train, test) for name, model in models.items()}
    measures = [_auc(f"trivial/{name}/auc", y[test], found) for name, found in scores.items()]
    best = max(scores, key=lambda name: roc.auc(y[test], scores[name]))
    found = roc.delong(y[test], scores[best], TABLE_LEVEL)
    measures.append(Measure("trivial/auc", found.auc, found.low, found.high, len(y[test]), "", f"the better: {best}"))
    gates: list[Gate] = []
    if network_scores is not None:
        network = np.asarray(network_scores, dtype=float)[test]
        extra, by_auc = _against(y[test], scores[best], network)
        gains = list(_gains(y[test], scores[best], network, rivalry, np.random.default_rng(seed)))
        measures += [extra, *(measure for measure, _ in gains)]
        gates = [_overall(by_auc, [gate for _, gate in gains]), *(gate for _, gate in gains)]
    return Outcome("trivial_baseline", tuple(measures), tuple(gates), {"trivial_scores": scores[best]})


def shortcuts(
    features: pd.DataFrame, labels: ArrayLike, split: ArrayLike, imaging: Imaging, params: DiagnoseParams
) -> Outcome:
    """The shortcut gates: core brightness, core-only AUC, radial-profile AUC, Cohen d of normalisation statistics.

    Real lens galaxies are brighter than random ones, so a WARN on survey data says what the network may lean on;
    on simulated training sets with matched hosts it is a fault of the set.
    """
    y, where = np.asarray(labels), np.asarray(split)
    train, test = where == "train", where == "test"
    _require_classes(y, train, test)
    core = features[[f"trivial/core_mean_{band}" for band in imaging.bands]].to_numpy(float)
    profile = features[[name for name in features.columns if name.startswith("profile/")]].to_numpy(float)
    gates, measures = [], []
    for name, values, limit in (
        ("core_only", core, params.core_auc_max),
        ("radial_profile", profile, params.profile_auc_max),
    ):
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=_ITERATIONS))
        measure = _auc(f"shortcut/{name}_auc", y[test], _fit_score(model, np.arcsinh(values * 100), y, train, test))
        seen = name.removesuffix("_only").replace("_", " ")
        rule = f"AUC of a logistic classifier given only the {seen} < {limit:g}"
        measures.append(measure)
        gates.append(gate_below(f"shortcut/{name}", measure, limit, rule, miss="WARN"))
    more, more_gates = _class_differences(features, y, imaging, params)
    return Outcome("shortcuts", (*measures, *more), (*gates, *more_gates))


def cohen_d(a: Floats, b: Floats) -> float:
    """Difference of the means over the pooled standard deviation."""
    pooled = ((len(a) - 1) * np.var(a, ddof=1) + (len(b) - 1) * np.var(b, ddof=1)) / (len(a) + len(b) - 2)
    return float((np.mean(a) - np.mean(b)) / np.sqrt(pooled)) if pooled > 0 else 0.0


def _class_differences(
    features: pd.DataFrame, y: NDArray[np.int_], imaging: Imaging, params: DiagnoseParams
) -> tuple[list[Measure], list[Gate]]:
    band = imaging.reference_band
    core = features[f"trivial/core_mean_{band}"].to_numpy(float)
    positive, negative = core[y == 1].mean(), core[y == 0].mean()
    ratio = Measure(
        "shortcut/core_brightness_difference", abs(positive / negative - 1.0), n=len(y), method=f"{band} band, means"
    )
    limit = params.core_brightness_tolerance
    rule = f"|mean core of positives / negatives - 1| < {limit:g}"
    gates = [decide("shortcut/core_brightness", ratio, limit, rule, "PASS" if ratio.value < limit else "WARN")]
    names = [name for name in features.columns if name.startswith("annulus0/")]
    d = {name: cohen_d(features.loc[y == 1, name].to_numpy(), features.loc[y == 0, name].to_numpy()) for name in names}
    measures = [
        ratio,
        *(Measure(f"shortcut/cohen_d/{name.split('/')[1]}", value, n=len(y)) for name, value in d.items()),
    ]
    worst = max(d, key=lambda name: abs(d[name]))
    largest = Measure(worst, abs(d[worst]), n=len(y))
    rule = f"largest |Cohen d| of the annulus median and MAD between classes < {params.normalisation_d_max:g}"
    small = largest.value < params.normalisation_d_max
    gates.append(
        decide("shortcut/normalisation", largest, params.normalisation_d_max, rule, "PASS" if small else "WARN")
    )
    return measures, gates


def _against(y: NDArray[np.int_], trivial: Floats, network: Floats) -> tuple[Measure, Gate]:
    test = roc.delong_paired(y, trivial, network, TABLE_LEVEL)
    own = roc.delong(y, network, TABLE_LEVEL)
    gain = Measure("trivial/network_gain", test.difference, test.low, test.high, len(y), "", "paired DeLong")
    area = Measure("auc", own.auc, own.low, own.high, len(y))
    rule = "lower 95 % bound of the network's AUC above the AUC of the better classifier on trivial features"
    return gain, decide("beats_trivial_features", area, test.auc_a, rule, "PASS" if own.low > test.auc_a else "FAIL")


def _gains(
    y: NDArray[np.int_], trivial: Floats, network: Floats, rivalry: Rivalry, rng: np.random.Generator
) -> Iterator[tuple[Measure, Gate]]:
    """Per rate, the gain in recall over the baseline, each at its own threshold on the same objects, and a gate."""
    positives = int((y == 1).sum())
    for fpr in sorted(rivalry.fprs):
        name, rule = fpr_name(fpr), f"recall at FPR {fpr:g} above that of trivial features; the interval excludes 0"
        if refusal := _no_rate(y, trivial, fpr):
            short = f"{rule}; {refusal}"
            nothing = Measure(f"trivial/recall_gain/{name}", np.nan, n=positives, method=refusal)
            yield nothing, not_measured(f"beats_trivial_features/{name}", 0.0, short)
            continue
        gain = gain_at_fpr(y, trivial, network, fpr)
        draws = _resampled_gains(y, trivial, network, fpr, rivalry.replicates, rng)
        low, high = np.quantile(draws, [(1.0 - TABLE_LEVEL) / 2.0, (1.0 + TABLE_LEVEL) / 2.0])
        if low == high:
            low = high = np.nan
        how = f"stratified bootstrap, {rivalry.replicates} resamples, both thresholds rederived in each"
        measure = Measure(f"trivial/recall_gain/{name}", gain, float(low), float(high), positives, "", how)
        status: Status = "PASS" if low > 0.0 else "BORDERLINE" if gain >= 0.0 else "FAIL"
        yield measure, decide(f"beats_trivial_features/{name}", measure, 0.0, rule, status)


def _no_rate(y: NDArray[np.int_], trivial: Floats, fpr: float) -> str | None:
    """Why there is no recall at a rate to beat: too few negatives, or ties that leave the baseline no threshold.

    A network whose own ties leave it none is compared: it finds nothing at that rate.
    """
    negatives = trivial[y == 0]
    return not_measurable(len(negatives), fpr) or tied(threshold_at_fpr(negatives, fpr))


def gain_at_fpr(labels: NDArray[np.int_], trivial: Floats, network: Floats, fpr: float) -> float:
    """Recall of the network minus that of the baseline, each at its own threshold."""
    found = []
    for scores in (trivial, network):
        threshold = threshold_at_fpr(scores[labels == 0], fpr).threshold
        found.append(float((scores[labels == 1] > threshold).mean()))
    return found[1] - found[0]


def _resampled_gains(
    y: NDArray[np.int_], trivial: Floats, network: Floats, fpr: float, replicates: int, rng: np.random.Generator
) -> Floats:
    negative, positive = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    allowed, step = int(np.floor(fpr * len(negative) + 1e-9)), max(1, _CELLS // len(y))
    gains = []
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        weights = [
            rng.multinomial(len(part), np.full(len(part), 1.0 / len(part)), rows) for part in (negative, positive)
        ]
        recalls = []
        for scores in (trivial, network):
            order = np.argsort(-scores[negative], kind="stable")
            at = (np.cumsum(weights[0][:, order], axis=1) > allowed).argmax(axis=1)
            thresholds = scores[negative][order][at]
            hit = scores[positive][None, :] > thresholds[:, None]
            recalls.append((weights[1] * hit).sum(axis=1) / len(positive))
        gains.append(recalls[1] - recalls[0])
    return np.concatenate(gains)


def _overall(by_auc: Gate, at_rates: Sequence[Gate]) -> Gate:
    """PASS only if the network wins by AUC and at the lowest measurable rate; else the worse of the two."""
    order: tuple[Status, ...] = ("FAIL", "NOT MEASURED", "BORDERLINE", "PASS")
    measured = [gate for gate in at_rates if gate.status != "NOT MEASURED"]
    lowest: Status = measured[0].status if measured else "NOT MEASURED"
    said = f"{measured[0].name.split('/')[1]} {lowest}" if measured else "none"
    rule = f"{by_auc.rule} ({by_auc.status}), and a higher recall at the lowest measurable FPR ({said})"
    return replace(by_auc, status=min(by_auc.status, lowest, key=order.index), rule=rule)


def _fit_score(model: Any, values: Floats, y: NDArray[np.int_], train: Bools, test: Bools) -> Floats:
    model.fit(values[train], y[train])
    return np.asarray(model.predict_proba(values[test])[:, 1], dtype=np.float64)


def _auc(name: str, y: NDArray[np.int_], scores: Floats) -> Measure:
    area = roc.delong(y, scores, TABLE_LEVEL)
    return Measure(name, area.auc, area.low, area.high, len(y), "", "fitted on train, DeLong on test")


def _require_classes(y: NDArray[np.int_], *parts: NDArray[np.bool_]) -> None:
    for part in parts:
        if len(np.unique(y[part])) < 2:
            raise DataError("the trivial baseline needs positives and negatives in both train and test")
