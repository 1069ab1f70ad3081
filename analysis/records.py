"""What every diagnostic returns: measured quantities and decisions, ready for the `diagnostics` and `gates` tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import pandas as pd

from lake.errors import invalid

Status = Literal["PASS", "WARN", "FAIL", "GO", "NO-GO", "BORDERLINE", "NOT MEASURED"]
"""PASS / FAIL of a requirement, WARN where it only informs, GO / NO-GO where a finding decides the next step,
BORDERLINE where the interval holds the threshold."""


@dataclass(frozen=True)
class Measure:
    """One measured quantity with its 95 % interval; the name carries its group: `recall/tier_A/p0.3`."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    unit: str = ""
    method: str = ""
    """How the value and its interval were formed, in words."""
    diagnostic: str = ""
    """The diagnostic it belongs to, where outcomes were merged."""

    def row(self) -> dict[str, Any]:
        """Plain values; NaN becomes None, as the tables store it."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Gate:
    """One decision: what was measured, against what, by which rule."""

    name: str
    status: Status
    value: float
    low: float
    high: float
    threshold: float
    rule: str
    """The rule in words, so that the decision can be repeated by hand."""

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise invalid("status", f"one of {', '.join(get_args(Status))}", self.status)

    def row(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Outcome:
    """Everything one diagnostic says."""

    diagnostic: str
    measures: tuple[Measure, ...] = ()
    gates: tuple[Gate, ...] = ()
    arrays: Mapping[str, Any] = field(default_factory=dict)
    """Curves for figures (never stored in the tables)."""

    def diagnostics_rows(self, run_id: str) -> list[dict[str, Any]]:
        """Rows of the `diagnostics` table, without lineage."""
        return [
            {"run_id": run_id, **replace(m, diagnostic=m.diagnostic or self.diagnostic).row()} for m in self.measures
        ]

    def gates_rows(self, run_id: str) -> list[dict[str, Any]]:
        """Rows of the `gates` table, without lineage."""
        return [{"run_id": run_id, **item.row()} for item in self.gates]

    def measure(self, name: str) -> Measure:
        """The measure of that name."""
        for item in self.measures:
            if item.name == name:
                return item
        raise invalid("name", f"one of {', '.join(m.name for m in self.measures)}", name)


def merge(diagnostic: str, outcomes: Iterable[Outcome]) -> Outcome:
    """One outcome from several: each measure remembers its diagnostic, and no name may occur twice."""
    parts: Sequence[Outcome] = tuple(outcomes)
    measures = tuple(replace(m, diagnostic=m.diagnostic or part.diagnostic) for part in parts for m in part.measures)
    gates = tuple(gate for part in parts for gate in part.gates)
    for names in ([m.name for m in measures], [gate.name for gate in gates]):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise invalid("outcomes", "free of repeated names", twice)
    arrays = {key: value for part in parts for key, value in part.arrays.items()}
    return Outcome(diagnostic, measures, gates, arrays)


def gate_below(name: str, measure: Measure, threshold: float, rule: str, miss: Status = "FAIL") -> Gate:
    """PASS where the quantity lies below the threshold; BORDERLINE where its interval holds the threshold."""
    return decide(name, measure, threshold, rule, _side(measure, threshold, wanted_above=False, miss=miss))


def gate_above(name: str, measure: Measure, threshold: float, rule: str, miss: Status = "FAIL") -> Gate:
    """PASS where the quantity reaches the threshold; BORDERLINE where its interval holds the threshold."""
    return decide(name, measure, threshold, rule, _side(measure, threshold, wanted_above=True, miss=miss))


def decide(name: str, measure: Measure, threshold: float, rule: str, status: Status) -> Gate:
    """A decision about one measure."""
    return Gate(name, status, measure.value, measure.low, measure.high, threshold, rule)


def not_measured(name: str, threshold: float, rule: str) -> Gate:
    """The gate of a diagnostic that had nothing to measure; the rule says why."""
    return Gate(name, "NOT MEASURED", math.nan, math.nan, math.nan, threshold, rule)


def seen_gate(name: str, seen: pd.Series, rule: str) -> Gate:
    """PASS if the model has seen none of the objects; NOT MEASURED if that is unknown for some of them."""
    if seen.empty:
        return not_measured(name, 0.0, f"{rule}; there is no such object")
    known = seen.astype("boolean")
    count, unknown = int(known.sum()), int(known.isna().sum())
    if unknown and not count:
        return not_measured(
            name, 0.0, f"{rule}; for {unknown:,} objects it is not known whether the model was trained on them"
        )
    return Gate(name, "FAIL" if count else "PASS", float(count), math.nan, math.nan, 0.0, rule)


def _side(measure: Measure, threshold: float, *, wanted_above: bool, miss: Status) -> Status:
    if math.isnan(measure.value):
        return "NOT MEASURED"
    if measure.low < threshold < measure.high:
        return "BORDERLINE"
    above = measure.value >= threshold
    return "PASS" if above == wanted_above else miss


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
