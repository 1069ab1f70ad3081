"""What a finder trained or selected on is in no figure: only untouched objects are measured, the others are counted.

A figure is refused where that leaves fewer than ten lenses, or negatives, of those it needs. Where it is not known what
a finder was trained on (a user's own, without a list), nothing is left out, and the gates are not measured: see
:func:`unjudged`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.config import EvaluateParams
from analysis.records import Finding, Measure, Outcome, not_measured
from analysis.statistics.thresholds import REFUSED, Threshold, fix_thresholds
from lake.sky.split import HOST, TEST, THRESHOLD

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 10
"""Untouched lenses, or negatives, below which their figures are refused."""
NEGATIVE, LENS = 0, 1
BOTH = (NEGATIVE, LENS)
_NAMES = {NEGATIVE: "negatives", LENS: "lenses"}
_UNKNOWN = "not known what the finder was trained on"


@dataclass(frozen=True)
class Untouched:
    """The test objects that are measured."""

    objects: pd.DataFrame
    """Those that the finder is not known to have trained or selected on; all objects of a class that is refused."""
    seen: Mapping[int, int]
    """By label, the number of objects that it trained or selected on."""
    total: Mapping[int, int]
    """By label, the number of all objects."""

    def refusal(self, labels: Collection[int] = BOTH) -> str | None:
        """Why figures that need objects of these labels are refused; None if they are not."""
        short = [label for label in labels if refusal(self.seen[label], self.total[label], _NAMES[label])]
        if not short:
            return None
        seen, total = (sum(counts[label] for label in short) for counts in (self.seen, self.total))
        return _refused(seen, total, f"test {_NAMES[short[0]] if len(short) == 1 else 'galaxies'}")

    def of(self, label: int) -> pd.DataFrame:
        """The objects of a label; none where their figures are refused."""
        wanted = self.objects[self.objects["label"] == label]
        return wanted.iloc[:0] if self.refusal((label,)) else wanted

    @property
    def words(self) -> str | None:
        """What is left out or refused; None if nothing is."""
        seen, total = sum(self.seen.values()), sum(self.total.values())
        left_out = f"{seen:,} of {total:,} test galaxies, trained or selected on, are left out"
        return self.refusal() or (left_out if seen else None)


def new_to(objects: pd.DataFrame) -> pd.DataFrame:
    """Objects (perhaps with `seen_in_training`) that the finder is not known to have trained or selected on."""
    return objects[~_marked(objects, "seen_in_training")]


def refusal(seen: int, total: int, objects: str) -> str | None:
    """Why a figure is refused that needs objects of which so many were trained or selected on; None if it is not."""
    return _refused(seen, total, objects) if seen and total - seen < FEWEST else None


def _refused(seen: int, total: int, objects: str) -> str:
    return f"{REFUSED}: {seen:,} of {total:,} {objects} were trained or selected on"


def unknown(objects: pd.DataFrame) -> str | None:
    """Why nothing is judged on these objects: it is not known of each whether the finder has seen it; None if it is."""
    lost = "seen_in_training" in objects.columns and objects["seen_in_training"].isna().any()
    return f"it is {_UNKNOWN}" if lost else None


def unjudged(outcome: Outcome, why: str | None) -> Outcome:
    """The outcome with its figures but no gate measured, and the reason in its findings; as it is where there is no
    reason, or no gate is measured."""
    if why is None or all(gate.status == "NOT MEASURED" for gate in outcome.gates):
        return outcome
    gates = tuple(
        gate if gate.status == "NOT MEASURED" else not_measured(gate.name, gate.threshold, f"{gate.rule}; {why}")
        for gate in outcome.gates
    )
    findings = tuple(Finding(f"{each.text} This is not judged: {why}.", each.diagnostic) for each in outcome.findings)
    return replace(outcome, gates=gates, findings=findings)


def untouched(tested: pd.DataFrame) -> Untouched:
    """The part of the test objects (`label`, perhaps `seen_in_training`) that is measured."""
    label, seen = tested["label"].to_numpy(), _marked(tested, "seen_in_training")
    held = Untouched(
        tested,
        {each: int((seen & (label == each)).sum()) for each in BOTH},
        {each: int((label == each).sum()) for each in BOTH},
    )
    refused = [each for each in BOTH if held.refusal((each,))]
    return Untouched(tested[~seen | np.isin(label, refused)], held.seen, held.total)


def negatives_for(scores: pd.DataFrame, use: str) -> pd.DataFrame:
    """Negatives of one use that the finder did not train on; those that test, it did not select on either."""
    column = "seen_in_training" if use == TEST else "trained_on"
    return scores[(scores["negative_use"] == use).to_numpy(bool) & ~_marked(scores, column)]


def fixing(scores: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Probabilities of the negatives that fix thresholds: `negatives_for` of columns that are arrays."""
    trained = np.equal(scores["trained_on"], True).astype(bool)
    return np.asarray(scores["probability"][(scores["negative_use"] == THRESHOLD) & ~trained], dtype=np.float64)


def fixed_thresholds(scores: pd.DataFrame, params: EvaluateParams) -> list[Threshold]:
    """Every threshold of a finder from its rows of `scores`.

    Negatives that it trained on fix none. Where the rate of a threshold on test negatives is refused, so is the
    threshold, and with it every completeness.
    """
    tested = scores[scores["negative_use"] == TEST]
    fixing, testing = (np.sort(negatives_for(scores, use)["probability"].to_numpy(float)) for use in (THRESHOLD, TEST))
    return fix_thresholds(fixing, testing, params, untouched(tested).refusal((NEGATIVE,)))


def trained(scores: pd.DataFrame) -> NDArray[np.bool_]:
    """Which objects the finder is known to have trained on."""
    return _marked(scores, "trained_on")


def exposure(scores: pd.DataFrame) -> Iterator[Measure]:
    """How many test galaxies, negatives that fix thresholds and hosts the finder trained, or only selected, on."""
    groups = {"test_galaxies": scores["split"] == "test"}
    groups |= {"threshold_negatives": scores["negative_use"] == THRESHOLD, "hosts": scores["negative_use"] == HOST}
    for name, chosen in groups.items():
        rows = scores[chosen]
        trained, seen = (_marked(rows, column) for column in ("trained_on", "seen_in_training"))
        known = bool(rows["seen_in_training"].notna().all())
        fates = {"trained_on": (trained, "left out"), "selected_on": (seen & ~trained, _FATES.get(name, "kept"))}
        for what, (hit, fate) in fates.items():
            value, method = (float(hit.sum()), fate) if known else (np.nan, _UNKNOWN)
            yield Measure(f"exposure/{name}/{what}", value, n=len(rows), method=method)


_FATES = {"test_galaxies": "left out"}


def _marked(rows: pd.DataFrame, column: str) -> NDArray[np.bool_]:
    """Where a column is true; nowhere where it is missing or null."""
    if column not in rows.columns:
        return np.zeros(len(rows), dtype=bool)
    return rows[column].astype("boolean").fillna(False).to_numpy(bool)
