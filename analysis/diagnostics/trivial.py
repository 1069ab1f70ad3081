"""Diagnostic: what do simple measurements achieve? The baseline that a network must beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, Status, decide, not_measured, plotted, unmeasured
from analysis.statistics import roc
from analysis.statistics.bootstrap import resampled_weights
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.thresholds import REFUSED, fpr_name, refusal
from lake.errors import DataError

UNTOUCHED = True
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_ITERATIONS = 2000
_BEST, _BETTER, _FINDER, _FIGURE = "trivial/auc", "the better: ", "the finder", "trivial/areas"
FIGURES = {_FIGURE: Drawing("Classifiers on simple measurements, and the finder", "classifier", "AUC", reference=0.5)}
_COMPARED = ("trivial/network_gain", "trivial/recall_gain")
FITTED = "fitted on train, DeLong on test"
"""How classifiers of features are measured."""


class Params(DiagnosticParams):
    """The comparison with trivial features."""

    trivial_replicates: int = Field(2000, ge=1)
    """Resamples behind the interval of the gain over trivial features at each false-positive rate."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The network against the baseline, on the same test objects."""
    rows = subject.learned
    fprs = [p.target_fpr for p in subject.thresholds if p.status in ("measured", REFUSED) and np.isfinite(p.target_fpr)]
    label, split, score = (rows[name].to_numpy() for name in ("label", "split", "score"))
    if (lacking := lacking_class(label, split)) is not None:
        rule = "a higher AUC than that of the better classifier on trivial features"
        gates = {"beats_trivial_features": (0.0, rule)}
        return unmeasured("trivial", lacking, _BEST, gates, "What simple measurements achieve is not measured")
    found = baseline(subject.features, label, split, score, fprs, params.trivial_replicates, subject.seed)
    why = subject.untouched.refusal()
    return found if why is None else _refused(found, why)


def _refused(found: Outcome, why: str) -> Outcome:
    """The baseline alone: nothing of the network is measured."""
    measures = [
        Measure(one.name, np.nan, method=why) if one.name.startswith(_COMPARED) else one for one in found.measures
    ]
    gates = [not_measured(gate.name, gate.threshold, f"{gate.rule}; {why}") for gate in found.gates]
    said = (Finding(f"{_reached(measures)} The finder is not compared: {why}."),)
    points = tuple(point for point in found.points if point.label != _FINDER)
    return replace(found, measures=tuple(measures), gates=tuple(gates), findings=said, points=points)


def baseline(
    features: pd.DataFrame,
    labels: ArrayLike,
    split: ArrayLike,
    network_scores: ArrayLike,
    fprs: Sequence[float],
    replicates: int,
    seed: int,
) -> Outcome:
    """Logistic regression and small gradient boosting on `trivial/` features, fitted on train, measured on test.

    The network (`network_scores`: one per row; only test rows are read) is compared on the same objects with the
    stronger of the two baselines: by AUC, and by recall at each false-positive rate of `fprs` with `replicates`
    resamples. The lowest measurable rate decides together with the AUC.
    `arrays` hold `trivial_labels` and `trivial_scores` of the test objects.
    """
    from sklearn.ensemble import GradientBoostingClassifier  # imported here: parameters are read without it

    y, where = np.asarray(labels), np.asarray(split)
    train, test = where == "train", where == "test"
    require_classes(y, train, test)
    values = features[[name for name in features.columns if name.startswith("trivial/")]].to_numpy(float)
    models = {
        "logistic": logistic(),
        "boosting": GradientBoostingClassifier(n_estimators=100, max_depth=3, subsample=0.5, random_state=seed),
    }
    scores = {name: fit_score(model, values, y, train, test) for name, model in models.items()}
    y, network = y[test], np.asarray(network_scores, dtype=float)[test]
    measures = [roc.auc_measure(f"trivial/{name}/auc", y, found, FITTED) for name, found in scores.items()]
    best = max(scores, key=lambda name: roc.auc(y, scores[name]))
    measures.append(roc.auc_measure(_BEST, y, scores[best], f"{_BETTER}{best}"))
    gain, by_auc = _against(y, scores[best], network)
    at_rates = list(_gains(y, scores[best], network, fprs, replicates, np.random.default_rng(seed)))
    gates = [gate for _, gate in at_rates]
    measures += [gain, *(measure for measure, _ in at_rates)]
    arrays = {"trivial_labels": y, "trivial_scores": scores[best]}
    areas = (*measures[: len(scores)], Measure("", by_auc.value, by_auc.low, by_auc.high, len(y)))
    points = tuple(
        plotted(one, _FIGURE, "AUC", place, label)
        for place, (label, one) in enumerate(zip((*scores, _FINDER), areas, strict=True))
    )
    said = (Finding(f"{_reached(measures)} {_compared(gain, [one for one, _ in at_rates])}"),)
    return Outcome("trivial", tuple(measures), (_overall(by_auc, gates), *gates), arrays, said, points)


def _reached(measures: Sequence[Measure]) -> str:
    """What the better classifier reaches, in words."""
    best = next(one for one in measures if one.name == _BEST)
    how = best.method.removeprefix(_BETTER)
    return f"A classifier on flux, colours, size and core brightness ({how}) has AUC {_figures(best)}."


def _compared(gain: Measure, at_rates: Sequence[Measure]) -> str:
    """How much better the finder is, by AUC and at the lowest rate that is measured."""
    said = f"The finder's AUC differs from it by {_figures(gain, '+')}"
    known = [one for one in at_rates if not np.isnan(one.value)]
    rate = f", and its recall at {known[0].name.rpartition('/')[2]} by {_figures(known[0], '+')}" if known else ""
    return f"{said}{rate}."


def _figures(one: Measure, sign: str = "") -> str:
    value, low, high = (format(part, f"{sign}.3f") for part in (one.value, one.low, one.high))
    return value if np.isnan(one.low) else f"{value} [{low}, {high}]"


def _against(y: NDArray[np.int_], trivial: Floats, network: Floats) -> tuple[Measure, Gate]:
    test = roc.delong_paired(y, trivial, network, TABLE_LEVEL)
    own = roc.auc_measure("auc", y, network, "")
    gain = Measure("trivial/network_gain", test.difference, test.low, test.high, len(y), "", "paired DeLong")
    rule = "lower 95 % bound of the network's AUC above the AUC of the better classifier on trivial features"
    return gain, decide("beats_trivial_features", own, test.auc_a, rule, "PASS" if own.low > test.auc_a else "FAIL")


def _gains(
    y: NDArray[np.int_],
    trivial: Floats,
    network: Floats,
    fprs: Sequence[float],
    replicates: int,
    rng: np.random.Generator,
) -> Iterator[tuple[Measure, Gate]]:
    """Per rate, the gain in recall over the baseline, each at its own threshold on the same objects, and a gate.

    A rate at which the negatives give the baseline no threshold is not measured. A network whose own scores are tied
    there is compared: it finds nothing.
    """
    positives = int((y == 1).sum())
    for fpr in sorted(fprs):
        name, rule = fpr_name(fpr), f"recall at FPR {fpr:g} above that of trivial features; the interval excludes 0"
        measured_as, gate = f"trivial/recall_gain/{name}", f"beats_trivial_features/{name}"
        if why := refusal(trivial[y == 0], fpr):
            yield Measure(measured_as, np.nan, n=positives, method=why), not_measured(gate, 0.0, f"{rule}; {why}")
            continue
        (gain,) = _gains_at(fpr, y, trivial, network, np.ones((1, len(y))))
        draws = [_gains_at(fpr, y, trivial, network, some) for some in resampled_weights(y, None, replicates, rng)]
        tail = (1.0 - TABLE_LEVEL) / 2.0
        low, high = np.quantile(np.concatenate(draws), [tail, (1.0 + TABLE_LEVEL) / 2.0])
        if low == high:
            low = high = np.nan
        how = f"stratified bootstrap, {replicates} resamples, both thresholds rederived in each"
        measure = Measure(measured_as, float(gain), float(low), float(high), positives, "", how)
        status: Status = "PASS" if low > 0.0 else "BORDERLINE" if gain >= 0.0 else "FAIL"
        yield measure, decide(gate, measure, 0.0, rule, status)


def _gains_at(fpr: float, y: NDArray[np.int_], trivial: Floats, network: Floats, weights: Floats) -> Floats:
    """Per row of weights, recall of the network minus that of the baseline, each at its own threshold."""
    negative, positive = y == 0, y == 1
    allowed = int(np.floor(fpr * negative.sum() + 1e-9))
    recalls = []
    for scores in (trivial, network):
        order = np.argsort(-scores[negative], kind="stable")
        at = (np.cumsum(weights[:, negative][:, order], axis=1) > allowed).argmax(axis=1)
        hit = scores[positive][None, :] > scores[negative][order][at][:, None]
        recalls.append((weights[:, positive] * hit).sum(axis=1) / positive.sum())
    return recalls[1] - recalls[0]


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
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=_ITERATIONS))


def fit_score(model: Any, values: Floats, y: NDArray[np.int_], train: Bools, test: Bools) -> Floats:
    """Probabilities of the test rows from a model fitted on the training rows."""
    model.fit(values[train], y[train])
    return np.asarray(model.predict_proba(values[test])[:, 1], dtype=np.float64)


def lacking_class(label: NDArray[Any], split: NDArray[Any]) -> str | None:
    """Why classifiers of features cannot be fitted or tested; None where both classes are in both splits."""
    for part in ("train", "test"):
        for value, kind in ((1, "listed lens"), (0, "negative")):
            if not np.any((split == part) & (label == value)):
                return f"the {part} split has no {kind}"
    return None


def require_classes(y: NDArray[np.int_], *parts: Bools) -> None:
    """Raise a DataError if a part lacks one of the classes."""
    if any(len(np.unique(y[part])) < 2 for part in parts):
        raise DataError("the trivial baseline needs positives and negatives in both train and test")
