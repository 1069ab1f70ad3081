"""Diagnostic: how much does the finder lose when stamps are normalised with another annulus?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Gate, Measure, Outcome, Point, Status, decide, plotted, unmeasured
from analysis.results.untouched import FEWEST
from analysis.statistics.intervals import TABLE_LEVEL, share
from analysis.statistics.paired import PairedBootstrap, Sample, not_narrower
from analysis.statistics.roc import delong_paired

UNTOUCHED = True
Floats = NDArray[np.float64]
Annulus = tuple[float, float]
LOSS = "annulus_scoring/auc_loss"
_WHAT = {1: "recall", 0: "fpr"}
_PICTURES = {"recall": "annulus_scoring/recall", "fpr": "annulus_scoring/fpr"}
FIGURES = {
    _PICTURES["recall"]: Drawing("Recall by annulus, on the same stamps", "threshold", "recall", percent=True),
    _PICTURES["fpr"]: Drawing(
        "False-positive rate by annulus, on the same stamps", "threshold", "false-positive rate", percent=True
    ),
}


class Params(DiagnosticParams):
    """Scoring with another annulus."""

    annulus_loss_max: float = Field(0.002, gt=0)
    """Fall in AUC above which the annulus is worth retraining for (GO)."""
    annulus_scored_per_class: int = Field(2000, ge=2)
    """Untouched test stamps of each label that are scored again."""
    annulus_replicates: int = Field(2000, ge=100)
    """Resamples of stamps behind the intervals of changed recall and false-positive rate."""
    annulus_thresholds: tuple[float, ...] = (0.3, 0.5, 0.7)
    """Probabilities above which recall and false-positive rate are compared."""


@dataclass(frozen=True)
class Rescoring:
    """The finder on the same stamps, normalised over other annuli."""

    native: Annulus
    """Inner and outer radius (pixels) of its own annulus."""
    largest: float
    """Largest outer radius (pixels) on the stamps that it takes."""
    score: Callable[[pd.DataFrame, Annulus], Floats]
    """Logits of rows of the manifest, normalised over an annulus."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The untouched test objects, scored with the annuli of the comparison."""
    found = subject.rescoring()
    if isinstance(found, str):
        return _nothing(found, params)
    held = subject.untouched
    if (why := held.refusal()) is not None:
        return _nothing(why, params)
    objects = subject.sampled(held.objects, params.annulus_scored_per_class)
    others = [
        annulus
        for annulus in params.comparison_annuli_pixels
        if annulus[1] <= found.largest and not np.allclose(annulus, found.native)
    ]
    if not others:
        return _nothing("no other annulus of the comparison lies on the stamps that the finder takes", params)
    counts = [int((objects["label"] == label).sum()) for label in (0, 1)]
    if min(counts) < FEWEST:
        return _nothing(f"{counts[1]:,} lenses and {counts[0]:,} negatives, fewer than {FEWEST} of a kind", params)
    scores = {found.native: objects["score"].to_numpy(float)}
    scores |= {annulus: found.score(objects, annulus) for annulus in others}
    if lost := int((~np.isfinite(list(scores.values()))).any(axis=0).sum()):
        return _nothing(f"{lost:,} of {len(objects):,} stamps have no finite score", params)
    return annulus_scoring(objects["label"].to_numpy(), found.native, scores, params, subject.seed)


def annulus_scoring(
    labels: NDArray[np.int_], native: Annulus, scores: dict[Annulus, Floats], params: Params, seed: int
) -> Outcome:
    """AUC, recall and false-positive rate of the same stamps with each annulus, and the changes from the native one.

    `scores` holds logits (stamp) by annulus. The difference of AUCs has DeLong's paired interval; those of recall and
    false-positive rate that of a bootstrap of stamps, no narrower than what no change in so many stamps allows.
    """
    measures = [*_rates(labels, scores, params)]
    rng = np.random.default_rng(seed)
    losses = {}
    for other in [annulus for annulus in scores if annulus != native]:
        compared = _compared(labels, (scores[native], scores[other]), f"annulus_scoring/{_name(other)}", params, rng)
        losses[other] = compared[0]
        measures += compared
    worst = max(losses, key=lambda each: losses[each].value)
    found = losses[worst]
    how = f"native {_name(native)} minus {_name(worst)} pixels, DeLong, paired"
    loss = Measure(LOSS, found.value, found.low, found.high, found.n, "", how)
    said = _finding(measures, loss, (native, worst), params)
    points = tuple(_points(measures, native, params))
    return Outcome("annulus_scoring", (loss, *measures), (_gate(loss, params),), findings=(said,), points=points)


def _rates(labels: NDArray[np.int_], scores: dict[Annulus, Floats], params: Params) -> Iterator[Measure]:
    for annulus, logits in scores.items():
        for threshold in params.annulus_thresholds:
            above = expit(logits) > threshold
            for label, what in _WHAT.items():
                hit, of = int(above[labels == label].sum()), int((labels == label).sum())
                yield share(f"annulus_scoring/{_name(annulus)}/{what}/p{threshold:g}", hit, of)


def _compared(
    labels: NDArray[np.int_], pair: tuple[Floats, Floats], name: str, params: Params, rng: np.random.Generator
) -> list[Measure]:
    """Loss of AUC first, then falls of recall and of false-positive rate."""
    test = delong_paired(labels, *pair, TABLE_LEVEL)
    found = [Measure(f"{name}/auc_loss", -test.difference, -test.high, -test.low, len(labels), "", "DeLong, paired")]
    for label, what in _WHAT.items():
        chosen = labels == label
        bootstrap = PairedBootstrap({"stamp": int(chosen.sum())}, params.annulus_replicates, rng)
        for threshold in params.annulus_thresholds:
            native, other = (bootstrap.recall(_hits(expit(logits[chosen]) > threshold)) for logits in pair)
            value, low, high = not_narrower(native.minus(other), int(chosen.sum()))
            how = "native minus other annulus; bootstrap of stamps, paired"
            at = f"{name}/{what}_fall/p{threshold:g}"
            found.append(Measure(at, value, low, high, int(chosen.sum()), "", how))
    return found


def _hits(above: NDArray[np.bool_]) -> Sample:
    n = len(above)
    return Sample(above.astype(np.float64), np.ones(n), {"stamp": np.arange(n)})


def _gate(loss: Measure, params: Params) -> Gate:
    limit = params.annulus_loss_max
    status: Status = "GO" if loss.low > limit else "NO-GO" if loss.high < limit else "BORDERLINE"
    rule = f"GO (retrain with the scaled annulus) if the AUC falls by more than {limit:g}, by its whole 95 % interval"
    return decide("annulus_scoring", loss, limit, rule, status)


def _points(measures: Sequence[Measure], native: Annulus, params: Params) -> Iterator[Point]:
    places = {f"p{threshold:g}": float(x) for x, threshold in enumerate(params.annulus_thresholds)}
    for each in measures:
        _, annulus, what, *at = each.name.split("/")
        if what in _PICTURES:
            own = " (native)" if annulus == _name(native) else ""
            yield plotted(each, _PICTURES[what], f"{annulus} px{own}", places[at[0]], at[0])


def _finding(measures: Sequence[Measure], loss: Measure, annuli: tuple[Annulus, Annulus], params: Params) -> Finding:
    held, (native, other) = {one.name: one for one in measures}, (_name(each) for each in annuli)
    at = f"p{params.annulus_thresholds[0]:g}"
    own, foreign = (held[f"annulus_scoring/{name}/recall/{at}"] for name in (native, other))
    return Finding(
        f"Normalised over {other} instead of {native} pixels, AUC changes by {-loss.value:+.4f} [{-loss.high:+.4f}, "
        f"{-loss.low:+.4f}] and recall at {at} from {100 * own.value:.1f} to {100 * foreign.value:.1f} % "
        f"({own.n:,} lenses, the same stamps): any network is expected to lose on stamps preprocessed in "
        "another way, so a loss is no evidence that retraining helps."
    )


def _name(annulus: Annulus) -> str:
    return f"{annulus[0]:g}-{annulus[1]:g}"


def _nothing(why: str, params: Params) -> Outcome:
    gates = {"annulus_scoring": (params.annulus_loss_max, "fall of AUC with another annulus")}
    return unmeasured("annulus_scoring", why, LOSS, gates, "Scoring with another annulus is not measured")
