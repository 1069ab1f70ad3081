"""Diagnostic 7: how many listed lenses does the model find, and were they kept from training?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.intervals import TABLE_LEVEL, clopper_pearson
from analysis.operating import OperatingPoint
from analysis.records import Gate, Measure, Outcome


def real_lens_recall(lenses: pd.DataFrame, training_pixels: ArrayLike, thresholds: Sequence[OperatingPoint]) -> Outcome:
    """Recall by tier with Clopper-Pearson intervals.

    `lenses`: `tier`, `healpix_128`, `probability` (NaN: not scored, counted apart), perhaps `seen_in_training`.
    Lenses that share a HEALPix pixel with the training split, or were trained or selected on, are counted by the
    leakage guard and left out of the recall.
    """
    leaking = np.isin(lenses["healpix_128"].to_numpy(), np.asarray(training_pixels))
    unknown = lenses["healpix_128"].isna().to_numpy()
    if "seen_in_training" in lenses.columns:
        leaking = leaking | lenses["seen_in_training"].fillna(True).to_numpy(bool)
    leaking = leaking | unknown
    scored = lenses["probability"].notna().to_numpy()
    measures = [
        Measure("lens_recall/leaking", float(leaking.sum()), n=len(lenses), method="left out of every recall"),
        Measure("lens_recall/unscored", float((~scored).sum()), n=len(lenses), method="failed; in no denominator"),
        *_by_tier(lenses[scored & ~leaking], thresholds),
    ]
    rule = "no scored lens shares a HEALPix pixel with the training split or was trained or selected on"
    count = float((leaking & scored).sum())
    guard = Gate("lens_recall/leakage_guard", "PASS" if count == 0 else "FAIL", count, np.nan, np.nan, 0.0, rule)
    return Outcome("real_lens_recall", tuple(measures), (guard,))


def _by_tier(lenses: pd.DataFrame, thresholds: Sequence[OperatingPoint]) -> Iterator[Measure]:
    groups = {"all": lenses} | {f"tier_{tier}": group for tier, group in lenses.groupby("tier")}
    for point in thresholds:
        for name, group in groups.items():
            found, of = int((group["probability"] > point.threshold).sum()), len(group)
            if of == 0:
                yield Measure(f"lens_recall/{name}/{point.threshold_id}", np.nan, n=0, method="no lenses")
                continue
            low, high = clopper_pearson(found, of, TABLE_LEVEL)
            method = f"Clopper-Pearson; p > {point.threshold:.4f}"
            yield Measure(
                f"lens_recall/{name}/{point.threshold_id}", found / of, float(low[0]), float(high[0]), of, "", method
            )
