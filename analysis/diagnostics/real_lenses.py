"""Diagnostic: how many listed lenses does the model find, and were they kept from training?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Measure, Outcome, seen_gate
from analysis.results.untouched import FEWEST
from analysis.statistics.intervals import share
from analysis.statistics.thresholds import REFUSED, Threshold


def diagnose(subject: Subject, params: DiagnosticParams) -> Outcome:
    """The listed lenses of the test split."""
    objects = subject.objects
    training = objects.loc[objects["split"] == "train", "healpix_128"].unique()
    lenses = objects[(objects["label"] == 1) & (objects["split"] == "test")]
    return real_lens_recall(lenses, training, subject.thresholds)


def real_lens_recall(lenses: pd.DataFrame, training_pixels: ArrayLike, thresholds: Sequence[Threshold]) -> Outcome:
    """Recall by tier with Clopper-Pearson intervals.

    `lenses`: `tier`, `healpix_128`, `probability` (NaN: not scored, counted apart), perhaps `seen_in_training`.
    Lenses that share a HEALPix pixel with the training split, or were trained or selected on, are counted by the
    leakage guard and excluded from the recall; if it is not known what the model was trained on, the guard says so.
    """
    pixels = lenses["healpix_128"]
    shared = pd.Series(np.isin(pixels.to_numpy(), np.asarray(training_pixels)) | pixels.isna().to_numpy())
    seen = shared.astype("boolean")
    if "seen_in_training" in lenses.columns:
        seen = seen | lenses["seen_in_training"].astype("boolean").reset_index(drop=True)
    leaking = seen.fillna(False).to_numpy(bool)
    scored = lenses["probability"].notna().to_numpy()
    measures = [
        Measure("lens_recall/leaking", float(leaking.sum()), n=len(lenses), method="left out of every recall"),
        Measure("lens_recall/unscored", float((~scored).sum()), n=len(lenses), method="failed; in no denominator"),
        *_by_tier(lenses[scored & ~leaking], thresholds),
    ]
    if leaking.any() and (scored & ~leaking).sum() < FEWEST:
        counts = f"{leaking.sum():,} of {len(lenses):,} test lenses"
        why = f"{REFUSED}: {counts} were trained or selected on, or share a pixel with the training split"
        measures[2:] = [Measure(each.name, np.nan, method=why) for each in measures[2:]]
    rule = "no scored lens shares a HEALPix pixel with the training split or was trained or selected on"
    guard = seen_gate("lens_recall/leakage_guard", seen[scored], rule)
    return Outcome("real_lenses", tuple(measures), (guard,))


def _by_tier(lenses: pd.DataFrame, thresholds: Sequence[Threshold]) -> Iterator[Measure]:
    groups = {"all": lenses} | {f"tier_{tier}": group for tier, group in lenses.groupby("tier")}
    for point in thresholds:
        for name, group in groups.items():
            if not point.measurable:
                yield Measure(f"lens_recall/{name}/{point.threshold_id}", np.nan, n=0, method=point.reason or "")
                continue
            found, how = int((group["probability"] > point.threshold).sum()), f"p > {point.threshold:.4f}"
            what, method = f"lens_recall/{name}/{point.threshold_id}", f"Clopper-Pearson; {how}"
            yield share(what, found, len(group), method, empty="no lenses")
