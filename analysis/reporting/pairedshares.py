"""Recall, false-positive rate and completeness of each pair of finders at one threshold, on the same objects."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.reporting.compare import INDISTINGUISHABLE, Fixing, fixing_of
from analysis.reporting.thresholds import points, refused
from analysis.results.untouched import LENS, NEGATIVE, Untouched
from analysis.statistics.paired import FEWEST_UNITS, Cuts, PairedShares, paired_shares
from lake.errors import DataError, not_one_of

RECALL, FPR, COMPLETENESS = "recall", "fpr", "completeness"
_LABELS = {RECALL: LENS, FPR: NEGATIVE}


@dataclass(frozen=True)
class Compared:
    """What one finder was measured on."""

    tested: Untouched
    """Test objects: `galaxy_id`, `label`, `tier`, `probability`"""
    fixing: pd.DataFrame
    """`galaxy_id` and `probability` of the negatives that fixed its derived thresholds"""
    thresholds: pd.DataFrame
    """Rows of `thresholds`"""
    injections: pd.DataFrame
    """`grid_id`, `injection_id`, `galaxy_id` (host), `status`, `probability`; empty without a grid that counts"""


def paired_share_tests(finders: Mapping[str, Compared], pixels: pd.Series, threshold_id: str) -> pd.DataFrame:
    """One row per pair and quantity (`recall`, `recall/tier_A`, ..., `fpr`, `completeness`): b minus a.

    Each finder is at its own value of the threshold. ``pixels``: HEALPix pixel by `galaxy_id`, of objects and hosts.
    Where there is no figure the reason is the verdict; a difference below two standard errors is indistinguishable.
    """
    known = dict.fromkeys(name for one in finders.values() for name in points(one.thresholds))
    if known and threshold_id not in known:
        raise not_one_of("threshold", list(known), threshold_id)
    rows = []
    for a, b in itertools.combinations(finders, 2):
        for quantity, held in _samples(finders[a], finders[b]).items():
            found = _compared({a: finders[a], b: finders[b]}, quantity, held, pixels, threshold_id)
            rows.append({"a": a, "b": b, "quantity": quantity, "threshold_id": threshold_id, **found})
    return pd.DataFrame(rows)


def _samples(a: Compared, b: Compared) -> dict[str, pd.DataFrame]:
    """Objects and injections that both finders scored, by quantity: `galaxy_id`, `probability_a`, `probability_b`."""
    second = b.tested.objects[["galaxy_id", "label", "probability"]]
    both = a.tested.objects.merge(second, on="galaxy_id", suffixes=("_a", "_b"), validate="one_to_one")
    if (both["label_a"] != both["label_b"]).any():
        raise DataError("two finders disagree on the label of a galaxy: they were scored on different manifests")
    lenses = both[both["label_a"] == LENS]
    tiers = {f"{RECALL}/tier_{tier}": rows for tier, rows in lenses.groupby("tier")}
    return {RECALL: lenses, **tiers, FPR: both[both["label_a"] == NEGATIVE], COMPLETENESS: _injections(a, b)}


def _injections(a: Compared, b: Compared) -> pd.DataFrame:
    """Injections that both scored; none if their grids differ."""
    if a.injections.empty or b.injections.empty or set(a.injections["grid_id"]) != set(b.injections["grid_id"]):
        return pd.DataFrame(columns=["galaxy_id", "probability_a", "probability_b"])
    first, second = (one.injections[one.injections["status"] == "scored"] for one in (a, b))
    right = second[["injection_id", "probability"]]
    return first.merge(right, on="injection_id", suffixes=("_a", "_b"), validate="one_to_one")


def _compared(
    pair: Mapping[str, Compared], quantity: str, held: pd.DataFrame, pixels: pd.Series, threshold_id: str
) -> dict[str, object]:
    label = _LABELS.get(quantity.partition("/")[0])
    refusals = {name: _refusal(one, label, threshold_id) for name, one in pair.items()}
    why = [f"{name}: {reason}" for name, reason in refusals.items() if reason]
    if why or held.empty:
        return {"n": len(held), "verdict": "; ".join(why) or "nothing that both scored"}
    a, b = pair.values()
    cuts = points(a.thresholds)[threshold_id].threshold, points(b.thresholds)[threshold_id].threshold
    fixing = fixing_of(a.thresholds, a.fixing, b.fixing, threshold_id)
    placed = pixels.reindex(held["galaxy_id"]).to_numpy()
    units = np.where(pd.isna(placed), held["galaxy_id"], placed.astype(str))
    found = paired_shares(held["probability_a"], held["probability_b"], cuts, units, _redrawn(fixing))
    return _row(found, list(pair))


def _redrawn(fixing: Fixing | None) -> Callable[[np.random.Generator], Cuts] | None:
    """Both thresholds from a resample of the negatives that fix them; None for a threshold chosen beforehand."""
    if fixing is None:
        return None
    count = len(fixing.probability_a)
    return lambda rng: fixing.thresholds(rng.integers(count, size=count))


def _refusal(one: Compared, label: int | None, threshold_id: str) -> str | None:
    """Why a finder has no figure: its threshold is not measurable (for completeness: not shown), or its test objects of
    this label are refused."""
    point = points(one.thresholds).get(threshold_id)
    if point is None:
        return f"has no threshold {threshold_id}"
    if label is None:
        return refused(point)
    return one.tested.refusal((label,)) if point.measurable else point.reason


def _row(found: PairedShares, names: Sequence[str]) -> dict[str, object]:
    higher = f"{names[1] if found.difference > 0 else names[0]} higher"
    verdict = INDISTINGUISHABLE if found.indistinguishable else higher
    if found.units < FEWEST_UNITS:
        verdict = f"not measurable with {found.units} pixels, needs {FEWEST_UNITS}"
    return {
        "n": found.n,
        "pixels": found.units,
        "only_a": found.only_a,
        "only_b": found.only_b,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "standard_error": found.standard_error,
        "mcnemar_p": found.mcnemar_p,
        "verdict": verdict,
    }
