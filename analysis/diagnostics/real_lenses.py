"""Diagnostic: how many listed lenses does the finder find, by tier, and were they kept from training?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Measure, Outcome, Point, plotted, seen_gate
from analysis.results.untouched import FEWEST
from analysis.statistics.intervals import jeffreys_share, share
from analysis.statistics.thresholds import REFUSED, Threshold

_BY_TIER = "real_lenses/recall_by_tier"
_JEFFREYS = "/jeffreys"
FIGURES = {
    _BY_TIER: Drawing(
        "Recall of listed lenses by tier, Clopper-Pearson 95 % intervals", "threshold", "recall", percent=True
    )
}


def diagnose(subject: Subject, params: DiagnosticParams) -> Outcome:
    """The listed lenses of the test split."""
    objects = subject.objects
    training = objects.loc[objects["split"] == "train", "healpix_128"].unique()
    lenses = objects[(objects["label"] == 1) & (objects["split"] == "test")]
    return real_lens_recall(lenses, training, subject.thresholds)


def real_lens_recall(lenses: pd.DataFrame, training_pixels: ArrayLike, thresholds: Sequence[Threshold]) -> Outcome:
    """Recall by tier with Clopper-Pearson intervals, and again with Jeffreys intervals (`.../jeffreys`).

    `lenses`: `tier`, `healpix_128`, `probability` (NaN: not scored, counted apart), perhaps `seen_in_training`.
    Lenses that share a HEALPix pixel with the training split, or were trained or selected on, are counted by the
    leakage guard and excluded from the recall; if it is not known what the finder was trained on, the guard says so.
    """
    pixels = lenses["healpix_128"]
    shared = pd.Series(np.isin(pixels.to_numpy(), np.asarray(training_pixels)) | pixels.isna().to_numpy())
    seen = shared.astype("boolean")
    if "seen_in_training" in lenses.columns:
        seen = seen | lenses["seen_in_training"].astype("boolean").reset_index(drop=True)
    leaking = seen.fillna(False).to_numpy(bool)
    scored = lenses["probability"].notna().to_numpy()
    recalls = list(_by_tier(lenses[scored & ~leaking], thresholds))
    if leaking.any() and (scored & ~leaking).sum() < FEWEST:
        counts = f"{leaking.sum():,} of {len(lenses):,} test lenses"
        why = f"{REFUSED}: {counts} were trained or selected on, or share a pixel with the training split"
        recalls = [Measure(each.name, np.nan, method=why) for each in recalls]
    measures = (
        Measure("lens_recall/leaking", float(leaking.sum()), n=len(lenses), method="left out of every recall"),
        Measure("lens_recall/unscored", float((~scored).sum()), n=len(lenses), method="failed; in no denominator"),
        *recalls,
    )
    rule = "no scored lens shares a HEALPix pixel with the training split or was trained or selected on"
    guard = seen_gate("lens_recall/leakage_guard", seen[scored], rule)
    findings = (_finding(recalls, thresholds, int(leaking.sum()), int(seen.isna().sum())),)
    return Outcome("real_lenses", measures, (guard,), findings=findings, points=tuple(_points(recalls)))


def _by_tier(lenses: pd.DataFrame, thresholds: Sequence[Threshold]) -> Iterator[Measure]:
    groups = {"all": lenses} | {f"tier_{tier}": group for tier, group in lenses.groupby("tier")}
    for point in thresholds:
        for name, group in groups.items():
            what = f"lens_recall/{name}/{point.threshold_id}"
            if not point.measurable:
                yield Measure(what, np.nan, n=0, method=point.reason or "")
                continue
            found, how = int((group["probability"] > point.threshold).sum()), f"p > {point.threshold:.4f}"
            yield share(what, found, len(group), f"Clopper-Pearson; {how}", empty="no lenses")
            yield jeffreys_share(f"{what}{_JEFFREYS}", found, len(group), f"Jeffreys; {how}")


def _points(recalls: Sequence[Measure]) -> Iterator[Point]:
    """The recalls with a value, thresholds from left to right."""
    exact = [each for each in recalls if not each.name.endswith(_JEFFREYS) and np.isfinite(each.value)]
    places = {at: x for x, at in enumerate(dict.fromkeys(each.name.split("/")[2] for each in exact))}
    for each in exact:
        _, group, at = each.name.split("/")
        yield plotted(each, _BY_TIER, group.replace("tier_", "Tier "), float(places[at]), at)


def _finding(recalls: Sequence[Measure], thresholds: Sequence[Threshold], leaking: int, unknown: int) -> Finding:
    """The recall of each tier at the first threshold that has one."""
    at = next((point.threshold_id for point in thresholds if point.measurable), None)
    shown = [one for one in recalls if at and one.name.endswith(f"/{at}") and np.isfinite(one.value)]
    if not shown:
        why = next((one.method for one in recalls if one.method), "no lens of the test split has a score")
        return Finding(f"The recall of listed lenses is not measured: {why}.")
    parts = [
        f"{100 * one.value:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}] of {one.n:,} "
        f"{one.name.split('/')[1].replace('tier_', 'Tier ').replace('all', 'listed')} lenses"
        for one in shown
    ]
    left_out = f"; {leaking:,} that leaked from training are left out" if leaking else "; none leaked from training"
    if unknown:
        left_out += f" as far as is known: of {unknown:,} it is not known whether the finder was trained on them"
    return Finding(f"At {at} the finder finds {', '.join(parts)} (Clopper-Pearson){left_out}.")
