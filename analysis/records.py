"""The results of a diagnostic, as rows of tables: measures, gates, its finding in words, points of its figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from lake.errors import invalid

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["PASS", "WARN", "FAIL", "GO", "NO-GO", "BORDERLINE", "NOT MEASURED"]
"""PASS / FAIL of a requirement, WARN where it only informs, GO / NO-GO where a finding decides the next step,
BORDERLINE where the interval contains the threshold."""
UNMEASURED = "not measurable: "
"""Begins the method of a measure without a value; the reason follows."""


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


@dataclass(frozen=True)
class Finding:
    """What a diagnostic found, in words with its figures, and what it means."""

    text: str
    diagnostic: str = ""
    """The diagnostic it belongs to, where outcomes were merged."""


@dataclass(frozen=True)
class Point:
    """One point of a figure."""

    figure: str
    """The figure, a name that begins with its diagnostic: `bright_arcs/detected`."""
    series: str
    """Points of one series are drawn alike, and named in the legend."""
    x: float
    """For categories 0, 1, 2, ..., with a `label`."""
    y: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    """Objects it was measured on."""
    label: str = ""


@dataclass(frozen=True)
class Drawing:
    """How the points of a figure are drawn."""

    title: str
    x: str
    """Quantity and unit of the axis."""
    y: str
    kind: Literal["points", "lines", "bars", "scatter"] = "points"
    """Points and lines carry their intervals; a scatter has many points and none."""
    log_x: bool = False
    log_y: bool = False
    percent: bool = False
    """Whether y is a share, shown in per cent."""
    reference: float | None = None
    """Where a line is drawn across: the threshold of a gate."""
    spread: str = "95 % intervals"
    """What the error bars are."""
    apart: bool = False
    """Whether each model has its own axes, because their coordinates cannot be compared."""


@dataclass(frozen=True)
class Gate:
    """One decision: the measured value, its threshold and the rule."""

    name: str
    status: Status
    value: float
    low: float
    high: float
    threshold: float
    rule: str
    """The rule in words: enough to repeat the decision by hand."""

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise invalid("status", f"one of {', '.join(get_args(Status))}", self.status)


Named = TypeVar("Named", Measure, Finding)


@dataclass(frozen=True)
class Outcome:
    """All that one diagnostic has to say."""

    diagnostic: str
    measures: tuple[Measure, ...] = ()
    gates: tuple[Gate, ...] = ()
    arrays: Mapping[str, Any] = field(default_factory=dict)
    """Curves for figures (never stored in the tables)."""
    findings: tuple[Finding, ...] = ()
    points: tuple[Point, ...] = ()

    def diagnostics_rows(self, run_id: str) -> list[dict[str, Any]]:
        """Rows of the `diagnostics` table, without lineage."""
        return [plain({"run_id": run_id, **asdict(item)}) for item in self._named(self.measures)]

    def _named(self, items: tuple[Named, ...]) -> tuple[Named, ...]:
        """Measures or findings with the diagnostic that each belongs to."""
        return tuple(replace(item, diagnostic=item.diagnostic or self.diagnostic) for item in items)

    def gates_rows(self, run_id: str) -> list[dict[str, Any]]:
        """Rows of the `gates` table, without lineage."""
        return [plain({"run_id": run_id, **asdict(item)}) for item in self.gates]

    def findings_rows(self, run_id: str) -> list[dict[str, Any]]:
        """Rows of the `findings` table, without lineage."""
        found = self._named(self.findings)
        return [{"run_id": run_id, "diagnostic": item.diagnostic, "finding": item.text} for item in found]

    def points_rows(self, run_id: str) -> list[dict[str, Any]]:
        """Rows of the `figure_points` table, without lineage: the points of a series in their order."""
        placed: Counter[tuple[str, str]] = Counter()
        rows = []
        for item in self.points:
            place = placed[item.figure, item.series]
            rows.append(plain({"run_id": run_id, **asdict(item), "position": place}))
            placed[item.figure, item.series] += 1
        return rows


def plotted(measure: Measure, figure: str, series: str, x: float, label: str = "") -> Point:
    """A measure as a point of a figure, with its interval."""
    return Point(figure, series, x, measure.value, measure.low, measure.high, measure.n, label)


def merge(diagnostic: str, outcomes: Iterable[Outcome]) -> Outcome:
    """One outcome from several: each measure remembers its diagnostic, and no name may occur twice."""
    parts = tuple(outcomes)
    measures = tuple(measure for part in parts for measure in part._named(part.measures))
    gates = tuple(gate for part in parts for gate in part.gates)
    findings = tuple(finding for part in parts for finding in part._named(part.findings))
    points = tuple(point for part in parts for point in part.points)
    for names in ([m.name for m in measures], [g.name for g in gates], [f.diagnostic for f in findings]):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise invalid("outcomes", "free of repeated names", twice)
    arrays = {key: value for part in parts for key, value in part.arrays.items()}
    return Outcome(diagnostic, measures, gates, arrays, findings, points)


def gate_below(name: str, measure: Measure, threshold: float, rule: str, miss: Status = "FAIL") -> Gate:
    """PASS where the quantity is below the threshold, BORDERLINE where its interval contains the threshold.

    Without a value or an interval it is NOT MEASURED. For a quantity that never has an interval use :func:`decide`.
    """
    status: Status = "PASS" if measure.value < threshold else miss
    if any(math.isnan(bound) for bound in (measure.value, measure.low, measure.high)):
        status = "NOT MEASURED"
    elif measure.low < threshold < measure.high:
        status = "BORDERLINE"
    return decide(name, measure, threshold, rule, status)


def gate_within(name: str, measure: Measure, limit: float, rule: str, miss: Status = "FAIL") -> Gate:
    """PASS where the whole interval lies within plus or minus the limit, ``miss`` where none of it does, else
    BORDERLINE; NOT MEASURED without a value or an interval."""
    status: Status = "BORDERLINE"
    if any(math.isnan(bound) for bound in (measure.value, measure.low, measure.high)):
        status = "NOT MEASURED"
    elif -limit <= measure.low and measure.high <= limit:
        status = "PASS"
    elif measure.low > limit or measure.high < -limit:
        status = miss
    return decide(name, measure, limit, rule, status)


def decide(name: str, measure: Measure, threshold: float, rule: str, status: Status) -> Gate:
    """A decision about one measure."""
    return Gate(name, status, measure.value, measure.low, measure.high, threshold, rule)


def not_measured(name: str, threshold: float, rule: str) -> Gate:
    """The gate of a quantity that could not be measured; the rule says why."""
    return Gate(name, "NOT MEASURED", math.nan, math.nan, math.nan, threshold, rule)


def missing(name: str, why: str, n: int = 0, unit: str = "") -> Measure:
    """A measure without a value, with the reason, which may be that of another such measure."""
    return Measure(name, math.nan, n=n, unit=unit, method=f"{UNMEASURED}{why.removeprefix(UNMEASURED)}")


def reason(measure: Measure) -> str:
    """Why a measure has no value."""
    return measure.method.removeprefix(UNMEASURED)


def unmeasured(diagnostic: str, why: str, measure: str, gates: Mapping[str, tuple[float, str]], said: str) -> Outcome:
    """The outcome of a diagnostic that cannot be measured: its main measure without a value, its gates (threshold and
    rule by name) not measured, and the finding `said`, each with the reason."""
    held = tuple(not_measured(name, threshold, f"{rule}; {why}") for name, (threshold, rule) in gates.items())
    return Outcome(diagnostic, (missing(measure, why),), held, findings=(Finding(f"{said}: {why}."),))


def seen_gate(name: str, seen: pd.Series, rule: str) -> Gate:
    """PASS if the model has seen none of the objects; NOT MEASURED if that is unknown for some of them."""
    if seen.empty:
        return not_measured(name, 0.0, f"{rule}; there is no such object")
    known = seen.astype("boolean")
    count, unknown = int(known.sum()), int(known.isna().sum())
    if unknown and not count:
        why = f"for {unknown:,} objects it is not known whether the model was trained on them"
        return not_measured(name, 0.0, f"{rule}; {why}")
    return Gate(name, "FAIL" if count else "PASS", float(count), math.nan, math.nan, 0.0, rule)


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with None for NaN, as tables store it."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
