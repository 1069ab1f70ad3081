"""Calibrated probabilities of one finder: fitted on a fold of their own, measured on the test split.

The fold is the validation split without the negatives that host injections and without what the finder trained on.
Where no lens was kept for it (sets of cut-outs), the test lenses are divided into parts, each calibrated without its
own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.config import EvaluateParams
from analysis.records import Measure
from analysis.results.evaluation import calibration_measures
from analysis.results.untouched import FEWEST, negatives_for, trained, untouched
from analysis.statistics.calibrators import METHODS, Calibrator, fitted, shifted
from lake.errors import DataError
from lake.sky.split import THRESHOLD

_PARTS = 5
KEPT = "validation lenses and the negatives that fix thresholds"
CROSSED = f"test lenses ({_PARTS} parts, each measured without its own) and the negatives that fix thresholds"


@dataclass(frozen=True)
class Calibrated:
    """What is stored, and what is measured."""

    rows: tuple[dict[str, object], ...]
    """Of the table `calibrations`, without checkpoint and generation."""
    measures: tuple[Measure, ...]


def calibrated(scores: pd.DataFrame, params: EvaluateParams) -> Calibrated:
    """Every calibrator of a finder, from its rows of `scores`."""
    fold, name = _fold(scores)
    tested = untouched(scores[scores["split"] == "test"])
    rows, measures = [], list[Measure]()
    for method in METHODS:
        made, why = _made(method, fold)
        rows.append(_row(method, name, fold, made, params.sky_lens_share, why))
        refused = tested.refusal()
        if made is None or refused:
            measures.append(Measure(f"calibrated/{method}/log_loss", math.nan, n=0, method=why or str(refused)))
            continue
        try:
            measures += _measured(method, made, fold, tested.objects, name == CROSSED, params)
        except DataError as error:  # of a part of the fold
            measures.append(Measure(f"calibrated/{method}/log_loss", math.nan, n=0, method=str(error)))
    return Calibrated(tuple(rows), tuple(measures))


def _fold(scores: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    lenses = scores[(scores["label"] == 1).to_numpy() & ~trained(scores)]
    kept = lenses[lenses["split"] == "val"]
    name = KEPT if len(kept) else CROSSED
    chosen = kept if len(kept) else lenses[lenses["split"] == "test"]
    return pd.concat([chosen, negatives_for(scores, THRESHOLD)]), name


def _made(method: str, fold: pd.DataFrame) -> tuple[Calibrator | None, str]:
    counts = [int((fold["label"] == label).sum()) for label in (1, 0)]
    if min(counts) < FEWEST:
        return None, f"not measurable with {counts[0]:,} lenses and {counts[1]:,} negatives, needs {FEWEST} of each"
    try:
        return fitted(method, fold["label"], fold["score"]), ""
    except DataError as error:
        return None, str(error)


def _row(
    method: str, name: str, fold: pd.DataFrame, made: Calibrator | None, sky: float | None, why: str
) -> dict[str, object]:
    steps = None
    if made is not None and made.logits:
        steps = json.dumps(list(zip(made.logits, made.probabilities, strict=True)))
    numbers = {key: getattr(made, key) for key in "abc"} if made is not None and not made.logits else {}
    return {
        "method": method,
        "fold": name,
        "lenses": int((fold["label"] == 1).sum()),
        "negatives": int((fold["label"] == 0).sum()),
        "holds_at": None if made is None else made.share,
        "sky_share": sky,
        **{key: numbers.get(key) for key in "abc"},
        "steps": steps,
        "reason": why or None,
    }


def _measured(
    method: str, made: Calibrator, fold: pd.DataFrame, tested: pd.DataFrame, crossed: bool, params: EvaluateParams
) -> Iterator[Measure]:
    """On the test split, at its own fraction of lenses."""
    y, s = tested["label"].to_numpy(float), tested["score"].to_numpy(float)
    p = _without_own(method, fold, tested) if crossed else shifted(made.apply(s), made.share, float(y.mean()))
    yield from calibration_measures(y, p, params, f"calibrated/{method}")


def _without_own(method: str, fold: pd.DataFrame, tested: pd.DataFrame) -> NDArray[np.float64]:
    """Probabilities of test objects, each by the calibrator of a fold without the lenses of its part."""
    share, p = float((tested["label"] == 1).mean()), np.full(len(tested), math.nan)
    lenses = np.flatnonzero(fold["label"] == 1)
    part_of = dict(zip(fold["galaxy_id"].to_numpy()[lenses], np.arange(len(lenses)) % _PARTS, strict=True))
    part = np.array([part_of.get(name, place % _PARTS) for place, name in enumerate(tested["galaxy_id"])])
    out = np.array([part_of.get(name, -1) for name in fold["galaxy_id"]])
    for number in range(_PARTS):
        rest, here = fold[out != number], part == number
        made = fitted(method, rest["label"], rest["score"])
        p[here] = shifted(made.apply(tested["score"].to_numpy(float)[here]), made.share, share)
    return p
