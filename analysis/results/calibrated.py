"""Calibrated probabilities of one finder: fitted on a fold of their own, measured on the test split.

The fold is the validation split without the negatives that host injections and without what the finder trained on.
Where no lens was kept for it (sets of cut-outs), the test lenses are divided into parts, each calibrated without its
own.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.config import EvaluateParams
from analysis.records import Measure, Point
from analysis.results.evaluation import STRATA, calibration_measures, reliability_points, stratum_errors
from analysis.results.untouched import FEWEST, negatives_for, trained, untouched
from analysis.statistics.calibrators import METHODS, Calibrator, fitted, shifted
from lake.errors import DataError
from lake.sky.split import THRESHOLD

_PARTS = 5
KEPT = "validation lenses and the negatives that fix thresholds"
CROSSED = f"test lenses ({_PARTS} parts, each measured without its own) and the negatives that fix thresholds"

PROBABILITIES = ("calibrated", "holds_at", "sky_probability", "sky_share")
"""Columns of calibrated probabilities."""


@dataclass(frozen=True)
class Calibrated:
    """What is stored, and what is measured."""

    rows: tuple[dict[str, object], ...]
    """Of the table `calibrations`, without checkpoint and generation."""
    measures: tuple[Measure, ...]
    points: tuple[Point, ...]
    """Reliability curves on the test split, of all objects and by stratum."""


def calibrated(scores: pd.DataFrame, params: EvaluateParams, strata: pd.DataFrame | None = None) -> Calibrated:
    """Every calibrator of a finder, from its rows of `scores`.

    ``strata``: `galaxy_id` and any of `evaluation.STRATA` of the test objects.
    """
    fold, name = _fold(scores)
    test = scores[scores["split"] == "test"]
    if strata is not None:
        held = ["galaxy_id", *(column for column in STRATA if column in strata.columns)]
        test = test.merge(strata[held], on="galaxy_id", how="left", validate="one_to_one")
    tested = untouched(test)
    rows, measures, points = [], list[Measure](), list[Point]()
    for method in METHODS:
        made, why = _made(method, fold)
        rows.append(_row(method, name, fold, made, params.sky_lens_share, why))
        refused = tested.refusal()
        if made is None or refused:
            measures.append(Measure(f"calibrated/{method}/log_loss", math.nan, n=0, method=why or str(refused)))
            continue
        try:
            p = _on_test(method, made, fold, tested.objects, name == CROSSED)
        except DataError as error:  # of a part of the fold
            measures.append(Measure(f"calibrated/{method}/log_loss", math.nan, n=0, method=str(error)))
            continue
        y, where = tested.objects["label"].to_numpy(float), f"calibrated/{method}"
        measures += calibration_measures(y, p, params, where)
        measures += stratum_errors(tested.objects, p, params, where)
        points += reliability_points(tested.objects, p, params, where)
    return Calibrated(tuple(rows), tuple(measures), tuple(points))


def probabilities(logits: ArrayLike, rows: pd.DataFrame, checkpoint_id: str, method: str) -> pd.DataFrame:
    """Calibrated probabilities (object) of logits by a stored calibrator of one finder, and where they hold.

    ``rows``: its rows of `calibrations`. Columns: `calibrated` and the fraction of lenses `holds_at` which it holds;
    `sky_probability` and the declared `sky_share`. NaN where there is no calibrator of this checkpoint, or no logit.
    """
    s = np.asarray(logits, dtype=np.float64)
    found = pd.DataFrame(np.full((len(s), len(PROBABILITIES)), math.nan), columns=list(PROBABILITIES))
    of_method = rows[(rows["method"] == method) & (rows["checkpoint_id"] == checkpoint_id)] if len(rows) else rows
    made = of_method[of_method["holds_at"].notna()] if len(of_method) else of_method
    if len(made):
        row = made.iloc[0]
        known = np.isfinite(s)
        values = _restored(row).apply(s[known])
        found.loc[known, "calibrated"], found["holds_at"] = values, row["holds_at"]
        if pd.notna(row["sky_share"]):
            found.loc[known, "sky_probability"] = shifted(values, row["holds_at"], row["sky_share"])
            found["sky_share"] = row["sky_share"]
    return found


def _restored(row: pd.Series) -> Calibrator:
    """The calibrator of a row of `calibrations`."""
    steps = json.loads(row["steps"]) if pd.notna(row["steps"]) else []
    logits, values = zip(*steps, strict=True) if steps else ((), ())
    a, b, c = (float(row[key]) for key in "abc")
    return Calibrator(str(row["method"]), int(row["lenses"]), int(row["negatives"]), a, b, c, logits, values)


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


def _on_test(
    method: str, made: Calibrator, fold: pd.DataFrame, tested: pd.DataFrame, crossed: bool
) -> NDArray[np.float64]:
    """Probabilities of the test objects, at their own fraction of lenses."""
    if crossed:
        return _without_own(method, fold, tested)
    share = float((tested["label"] == 1).mean())
    return shifted(made.apply(tested["score"].to_numpy(float)), made.share, share)


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
