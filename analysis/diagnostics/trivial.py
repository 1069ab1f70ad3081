"""Diagnostic: what simple measurements achieve, the baseline that a network must beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Gate, Measure, Outcome, Status, decide, not_measured
from analysis.statistics import roc
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.operating import fpr_name, not_measurable, threshold_at_fpr, tied
from lake.errors import DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_ITERATIONS = 2000
_CELLS = 4_000_000
"""Weights of resamples held at once (32 MB)."""


class Params(DiagnosticParams):
    """The comparison with trivial features."""

    trivial_replicates: int = Field(2000, ge=1)
    """Resamples behind the interval of the gain over trivial features at each false-positive rate."""


@dataclass(frozen=True)
class Rivalry:
    """Where a network is compared with the baseline, besides by AUC."""

    fprs: tuple[float, ...]
    """False-positive rates of the run's thresholds."""
    replicates: int
    """Resamples behind the interval of the gain."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The network against the baseline, on the same test objects."""
    rows, fprs = subject.learned, tuple(p.target_fpr for p in subject.thresholds if p.status == "measured")
    label, split, score = (rows[name].to_numpy() for name in ("label", "split", "score"))
    return baseline(subject.features, label, split, subject.seed, score, Rivalry(fprs, params.trivial_replicates))


def baseline(
    features: pd.DataFrame,
    labels: ArrayLike,
    split: ArrayLike,
    seed: int,
    network_scores: ArrayLike,
    rivalry: Rivalry,
) -> Outcome:
    """Logistic regression and small gradient boosting on `trivial/` features, fitted on train, measured on test.

    The network (`network_scores`: one per row; only test rows are read) is compared on the same objects. The
    stronger of the two baselines is used: by AUC, and at each false-positive rate of `rivalry`, of which the lowest
    measurable one decides together with the AUC.
    `arrays` hold `trivial_labels` and `trivial_scores` of the test objects.
    """
    y, where = np.asarray(labels), np.asarray(split)
    columns = [name for name in features.columns if name.startswith("trivial/")]
    train, test = where == "train", where == "test"
    require_classes(y, train, test)
    values = features[columns].to_numpy(float)
    models = {
        "logistic": logistic(),
        "boosting": GradientBoostingClassifier(n_estimators=100, max_depth=3, subsample=0.5, random_state=seed),
    }
    scores = {name: fit_score(model, values, y, train, test) for name, model in models.items()}
    measures = [auc_of(f"trivial/{name}/auc", y[test], found) for name, found in scores.items()]
    best = max(scores, key=lambda name: roc.auc(y[test], scores[name]))
    found = roc.delong(y[test], scores[best], TABLE_LEVEL)
    measures.append(Measure("trivial/auc", found.auc, found.low, found.high, len(y[test]), "", f"the better: {best}"))
    network = np.asarray(network_scores, dtype=float)[test]
    extra, by_auc = _against(y[test], scores[best], network)
    gains = list(_gains(y[test], scores[best], network, rivalry, np.random.default_rng(seed)))
    measures += [extra, *(measure for measure, _ in gains)]
    gates = (_overall(by_auc, [gate for _, gate in gains]), *(gate for _, gate in gains))
    arrays = {"trivial_labels": y[test], "trivial_scores": scores[best]}
    return Outcome("trivial_baseline", tuple(measures), gates, arrays)


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


def logistic() -> Any:
    """Logistic regression on scaled features, balanced classes."""
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=_ITERATIONS))


def fit_score(model: Any, values: Floats, y: NDArray[np.int_], train: Bools, test: Bools) -> Floats:
    """Probabilities of the test rows from a model fitted on the training rows."""
    model.fit(values[train], y[train])
    return np.asarray(model.predict_proba(values[test])[:, 1], dtype=np.float64)


def auc_of(name: str, y: NDArray[np.int_], scores: Floats) -> Measure:
    """The AUC of test scores as a measure."""
    area = roc.delong(y, scores, TABLE_LEVEL)
    return Measure(name, area.auc, area.low, area.high, len(y), "", "fitted on train, DeLong on test")


def require_classes(y: NDArray[np.int_], *parts: NDArray[np.bool_]) -> None:
    """Refuse parts that do not hold both classes."""
    for part in parts:
        if len(np.unique(y[part])) < 2:
            raise DataError("the trivial baseline needs positives and negatives in both train and test")
