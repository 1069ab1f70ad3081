"""Diagnostic: what would wrong labels do to recall, false-positive rate and calibration?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import (
    Drawing,
    Finding,
    Gate,
    Measure,
    Outcome,
    Point,
    Status,
    gate_within,
    not_measured,
    plotted,
    unmeasured,
)
from analysis.results.untouched import FEWEST
from analysis.statistics.calibration import equal_width, mean_gap
from analysis.statistics.intervals import TABLE_LEVEL
from lake.config import LensShares

UNTOUCHED = True
Floats = NDArray[np.float64]
Labels = NDArray[np.int_]
_PICTURES = {"recall": "label_noise/recall", "fpr": "label_noise/fpr"}
_SPREAD = "95 % ranges of the simulations"
FIGURES = {
    _PICTURES["recall"]: Drawing(
        "Recall with labels as listed, and simulated", "threshold", "recall", percent=True, spread=_SPREAD
    ),
    _PICTURES["fpr"]: Drawing(
        "False-positive rate with labels as listed, and simulated",
        "threshold",
        "false-positive rate",
        percent=True,
        spread=_SPREAD,
    ),
}
LISTED, TRUE = "as_labelled", "truth"
ASSUMPTIONS = ("random", "by_score")
_SCORE_BINS = 10
_LEAST_CHANCE = 1e-4
"""No label is taken to be more certain, right or wrong, because densities of scores are known from few objects."""
_CALIBRATION_BINS = 10
_WORDS = {LISTED: "as labelled", "random": "wrong at random", "by_score": "wrong by score", TRUE: "truth"}


class Params(DiagnosticParams):
    """How many labels may be wrong."""

    label_tier_b_false: LensShares = (0.05, 0.15)
    """Fewest and most of Tier B that are no lenses (the reference: about 10 %)."""
    label_unlisted_per_negative: LensShares = (10 / 446_893, 50 / 446_893)
    """Fewest and most unlisted lenses per negative (the reference: 10 to 50 among 446,893)."""
    label_replicates: int = Field(500, ge=50)
    """Simulated sets of labels for each assumption."""
    label_thresholds: tuple[float, ...] = Field((0.3, 0.5, 0.7), min_length=1)
    """Probabilities above which recall and false-positive rate are measured."""
    label_recall_tolerance: float = Field(0.05, gt=0)
    """Largest change of recall at the middle threshold that counts as none."""

    @field_validator("label_tier_b_false", "label_unlisted_per_negative")
    @classmethod
    def _below_half(cls, shares: tuple[float, float]) -> tuple[float, float]:
        """Labels that are wrong more often than right say nothing about scores."""
        if not shares[1] < 0.5:
            raise ValueError("must end below 0.5")
        return shares


@dataclass(frozen=True)
class Scored:
    """Objects with a score."""

    probability: Floats
    labels: Labels
    tier_b: NDArray[np.bool_]


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The untouched test objects, with the truth where the survey is simulated."""
    held = subject.untouched
    if (why := held.refusal()) is not None:
        return _nothing(why, params)
    objects, truth = held.objects, None
    if subject.true_lenses is not None:
        truth = objects["galaxy_id"].isin(subject.true_lenses).to_numpy().astype(int)
    return label_noise(objects, truth, params, subject.seed)


def label_noise(objects: pd.DataFrame, truth: Labels | None, params: Params, seed: int) -> Outcome:
    """Figures as labelled, and with labels simulated under two assumptions; `truth` (object) is 1 for a lens.

    `objects`: `label`, `tier`, `probability`. In each simulation a share of Tier B drawn from its declared range is no
    lens, and a share of the negatives from theirs are lenses; their numbers are binomial. `random`: any of them,
    whatever its score. `by_score`: the false ones score like negatives, and the unlisted lenses like listed ones. The
    truth lies between if some of the unlisted lenses are too faint to be seen.
    """
    scored = Scored(
        objects["probability"].to_numpy(float),
        objects["label"].to_numpy(int),
        ((objects["label"] == 1) & (objects["tier"] == "B")).to_numpy(),
    )
    negatives = int((scored.labels == 0).sum())
    if min(int(scored.tier_b.sum()), negatives) < FEWEST:
        counts = f"{int(scored.tier_b.sum()):,} lenses of Tier B and {negatives:,} negatives"
        return _nothing(f"{counts}, fewer than {FEWEST}", params)
    figures, rng = _Figures(scored.probability, params), np.random.default_rng(seed)
    listed = figures(scored.labels)
    simulated = {each: _simulated(scored, figures, each, params, rng) for each in ASSUMPTIONS}
    known = None if truth is None else figures(truth)
    measures = list(_measures(listed, simulated, known, len(objects)))
    change = _change(listed, simulated, params, int((scored.labels == 1).sum()))
    gates = (_gate(change, params), _checked(simulated, known, params))
    said = _finding(measures, change, known is not None, gates[1], params)
    points = tuple(_points(measures, params))
    return Outcome("label_noise", (change, *measures), gates, findings=(said,), points=points)


class _Figures:
    """Recall and false-positive rate at each threshold, calibration error, expected over observed, of sets of labels.

    What does not depend on labels is counted once.
    """

    def __init__(self, probability: Floats, params: Params) -> None:
        self.names, self.expected = [f"p{each:g}" for each in params.label_thresholds], probability.sum()
        bins = equal_width(probability, _CALIBRATION_BINS)
        above = probability[:, None] > np.array(params.label_thresholds)
        self.columns = np.hstack([above, bins[:, None] == np.arange(_CALIBRATION_BINS)]).astype(np.float64)
        self.objects = self.columns.sum(axis=0)
        self.predicted = np.bincount(bins, probability, minlength=_CALIBRATION_BINS)
        self.at_least_one = np.maximum(self.objects[len(self.names) :], 1.0)  # an empty bin has no gap

    def __call__(self, labels: Labels) -> dict[str, float]:
        lens = labels == 1
        lenses, held, cut = int(lens.sum()), lens @ self.columns, len(self.names)
        found: dict[str, float] = {}
        for name, hit, above in zip(self.names, held, self.objects, strict=False):
            found[f"recall/{name}"] = float(hit / lenses) if lenses else np.nan
            found[f"fpr/{name}"] = float((above - hit) / (len(lens) - lenses)) if lenses < len(lens) else np.nan
        found["ece"] = mean_gap(np.abs(held[cut:] - self.predicted) / self.at_least_one, self.objects[cut:])
        found["expected_over_observed"] = float(self.expected / lenses) if lenses else np.nan
        return found


def _simulated(
    scored: Scored, figures: _Figures, assumption: str, params: Params, rng: np.random.Generator
) -> pd.DataFrame:
    """Figures of every simulation, a row each."""
    parts = np.flatnonzero(scored.tier_b), np.flatnonzero(scored.labels == 0)
    bins = _bins(*(scored.probability[part] for part in parts))
    ranges = params.label_tier_b_false, params.label_unlisted_per_negative
    rows = []
    for _ in range(params.label_replicates):
        shares = [rng.uniform(low, high) for low, high in ranges]
        chances = _posterior(bins, shares) if assumption == "by_score" else [np.full(len(part), 0.5) for part in parts]
        labels = scored.labels.copy()
        for part, share, chance in zip(parts, shares, chances, strict=True):
            count, likely = int(rng.binomial(len(part), share)), np.clip(chance, _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)
            odds = likely / (1.0 - likely)  # drawn without replacement, odds give nearly these chances, chances do not
            wrong = rng.choice(part, count, replace=False, p=odds / odds.sum())
            labels[wrong] = 1 - labels[wrong]
        rows.append(figures(labels))
    return pd.DataFrame(rows)


def _bins(listed: Floats, others: Floats) -> tuple[Labels, Labels]:
    """Bin of each probability, between the quantiles of both samples."""
    at = np.linspace(0.0, 1.0, _SCORE_BINS + 1)[1:-1]
    edges = np.unique(np.concatenate([np.quantile(each, at) for each in (listed, others)]))
    return np.searchsorted(edges, listed), np.searchsorted(edges, others)


def _posterior(bins: tuple[Labels, Labels], shares: Sequence[float]) -> list[Floats]:
    """Chance that each label is wrong: of Tier B that it is no lens, of a negative that it is one.

    With a share f of Tier B false and u of the negatives lenses, the densities of scores are h = (1 - f) L + f N and
    g = (1 - u) N + u L, with those of lenses L and of others N. Solved for L and N in each bin, Bayes' rule gives the
    chances f N / h and u L / g.
    """
    (listed, others), (false, unlisted) = bins, shares
    size = int(max(listed.max(), others.max())) + 1
    h, g = ((np.bincount(each, minlength=size) + 0.5) / (len(each) + 0.5 * size) for each in bins)
    scale = 1.0 - false - unlisted
    lens = np.maximum((1.0 - unlisted) * h - false * g, 0.0) / scale
    other = np.maximum((1.0 - false) * g - unlisted * h, 0.0) / scale
    return [np.minimum(false * other / h, 1.0)[listed], np.minimum(unlisted * lens / g, 1.0)[others]]


def _measures(
    listed: Mapping[str, float], simulated: Mapping[str, pd.DataFrame], known: Mapping[str, float] | None, n: int
) -> Iterator[Measure]:
    for name, value in listed.items():
        yield Measure(f"label_noise/{name}/{LISTED}", value, n=n, method="the labels of the list")
        for assumption, rows in simulated.items():
            how = f"labels {_WORDS[assumption]}; mean and 95 % range of {len(rows):,} simulations"
            yield Measure(f"label_noise/{name}/{assumption}", float(rows[name].mean()), *_ends(rows[name]), n, "", how)
        if known is not None:
            yield Measure(f"label_noise/{name}/{TRUE}", known[name], n=n, method="the truth of the simulated survey")


def _ends(values: pd.Series) -> tuple[float, float]:
    tail = (1.0 - TABLE_LEVEL) / 2.0
    low, high = np.nanquantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def _middle(params: Params) -> str:
    return f"p{sorted(params.label_thresholds)[len(params.label_thresholds) // 2]:g}"


def _change(listed: Mapping[str, float], simulated: Mapping[str, pd.DataFrame], params: Params, n: int) -> Measure:
    """Change of recall at the middle threshold: the larger mean of both assumptions, and the range over both."""
    name = f"recall/{_middle(params)}"
    moved = {each: rows[name] - listed[name] for each, rows in simulated.items()}
    largest = max((float(each.mean()) for each in moved.values()), key=abs)
    ends = [_ends(each) for each in moved.values()]
    how = "simulated minus listed labels; the larger mean, and the 95 % range, over both assumptions"
    bounds = min(low for low, _ in ends), max(high for _, high in ends)
    return Measure(f"label_noise/recall_change/{_middle(params)}", largest, *bounds, n, "", how)


def _gate(change: Measure, params: Params) -> Gate:
    limit = params.label_recall_tolerance
    rule = f"wrong labels change recall at {_middle(params)} by at most {limit:g}: PASS if the whole 95 % range does"
    return gate_within("label_noise/recall", change, limit, rule, "WARN")


def _checked(simulated: Mapping[str, pd.DataFrame], known: Mapping[str, float] | None, params: Params) -> Gate:
    """Whether the simulation holds the truth."""
    rule = (
        "figures whose true value lies outside the simulated 95 % range over both assumptions: PASS if at most one "
        "does, BORDERLINE if two do (one in twenty does by chance)"
    )
    if known is None:
        return not_measured("label_noise/truth", 1.0, f"{rule}; which labels are wrong is not known")
    outside = 0
    for name, value in known.items():
        ends = [_ends(rows[name]) for rows in simulated.values()]
        outside += not min(low for low, _ in ends) <= value <= max(high for _, high in ends)
    status: Status = "PASS" if outside < 2 else "BORDERLINE" if outside == 2 else "FAIL"
    return Gate("label_noise/truth", status, float(outside), np.nan, np.nan, 1.0, rule)


def _points(measures: Sequence[Measure], params: Params) -> Iterator[Point]:
    held = {each.name: each for each in measures}
    for what, figure in _PICTURES.items():
        for series in (LISTED, *ASSUMPTIONS, TRUE):
            for x, threshold in enumerate(params.label_thresholds):
                each = held.get(f"label_noise/{what}/p{threshold:g}/{series}")
                if each is not None:
                    yield plotted(each, figure, _WORDS[series], float(x), f"p{threshold:g}")


def _finding(measures: Sequence[Measure], change: Measure, known: bool, checked: Gate, params: Params) -> Finding:
    held, at = {one.name: one for one in measures}, _middle(params)
    recall, fpr, likely = (
        100.0 * held[f"label_noise/{name}"].value
        for name in (f"recall/{at}/{LISTED}", f"fpr/{at}/{LISTED}", f"fpr/{at}/by_score")
    )
    (few, most), (least, top) = params.label_tier_b_false, params.label_unlisted_per_negative
    truth = "which labels are wrong is not known here"
    if known:
        figures = sum(name.endswith(f"/{TRUE}") for name in held)
        truth = (
            f"with true labels recall is {100 * held[f'label_noise/recall/{at}/{TRUE}'].value:.1f} %, and the "
            f"simulated ranges hold the truth in {figures - checked.value:.0f} of {figures} figures"
        )
    return Finding(
        f"If {100 * few:.0f} to {100 * most:.0f} % of Tier B are no lenses, and {100 * least:.2g} to "
        f"{100 * top:.2g} % of the negatives are lenses, recall at {at} ({recall:.1f} % as labelled) changes by "
        f"{100 * change.low:+.1f} to {100 * change.high:+.1f} points (95 % range of the simulations), and the "
        f"false-positive rate from {fpr:.2f} to {likely:.2f} % if labels are wrong by score; {truth}."
    )


def _nothing(why: str, params: Params) -> Outcome:
    measure = f"label_noise/recall_change/{_middle(params)}"
    gates = {
        "label_noise/recall": (0.05, "recall under wrong labels"),
        "label_noise/truth": (1.0, "true figures within the simulated ranges"),
    }
    return unmeasured("label_noise", why, measure, gates, "The effect of wrong labels is not simulated")
