"""A completeness in words: with its interval and the false-positive rate of its threshold, or the reason for none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.views import TableView, number, percent
from analysis.statistics.completeness import ALL, MARGINAL, interval_of
from analysis.statistics.thresholds import Threshold, from_rows

NO_GRID = "no grid"
UNKNOWN = "FPR not measured"
INTERVALS = (
    "95 % intervals: host-clustered with the threshold's own uncertainty (t), host-clustered (h) or Jeffreys (j); in "
    "braces, ranges from none to the most unlisted lenses that are declared among the negatives"
)


def points(thresholds: pd.DataFrame) -> Mapping[str, Threshold]:
    """The thresholds of one finder by name."""
    return {point.threshold_id: point for point in from_rows(thresholds)} if len(thresholds) else {}


def marginal_row(completeness: pd.DataFrame, threshold_id: str, source_mag_bin: str = ALL) -> pd.Series | None:
    """The marginal of one threshold and magnitude bin, or None."""
    if completeness.empty:
        return None
    chosen = (completeness["cell"] == MARGINAL) & (completeness["threshold_id"] == threshold_id)
    found = completeness[chosen & (completeness["source_mag_bin"] == source_mag_bin)]
    return found.iloc[0] if len(found) else None


def best_interval(row: pd.Series) -> str:
    """A completeness with its most complete interval and the interval's mark, and its range over unlisted lenses."""
    low, high, mark = interval_of(row)
    over = over_lenses(row.get("unlisted_low"), row.get("unlisted_high"))
    return f"{percent(row['completeness'], low, high)}\u00a0{mark}".rstrip("\u00a0") + over


def reached(point: Threshold | None) -> str:
    """The false-positive rate that a threshold reaches on test negatives: `FPR 4.9 % [3.4, 6.9] {2.5-5.1}`; in braces
    its range over the declared numbers of unlisted lenses."""
    if point is None or not point.measurable or pd.isna(point.fpr_reached):
        return UNKNOWN
    over = over_lenses(point.fpr_unlisted_low, point.fpr_unlisted_high)
    return f"FPR\u00a0{percent(point.fpr_reached, point.fpr_low, point.fpr_high)}{over}"


def over_lenses(low: float | None, high: float | None) -> str:
    """A range over unlisted lenses, in per cent and braces: ` {39.6–58.1}`; empty where none is declared."""
    return "" if pd.isna(low) or pd.isna(high) else f" {{{100 * low:.1f}–{100 * high:.1f}}}"


def refused(point: Threshold | None) -> str | None:
    """Why no completeness is shown at a threshold; None if one is."""
    if point is None:
        return None
    if not point.measurable:
        return point.reason
    return f"not selective ({reached(point)})" if point.status == "not selective" else None


def completeness_words(row: pd.Series | None, point: Threshold | None) -> str:
    """A completeness with the rate of its threshold, or the reason for none."""
    return refused(point) or (NO_GRID if row is None else f"{best_interval(row)} at {reached(point)}")


def shown(item: GenerationInputs, threshold_id: str) -> bool:
    """Whether completeness is plotted at a threshold."""
    return marginal_row(item.completeness, threshold_id) is not None and not refused(_point(item, threshold_id))


def headline(item: GenerationInputs, threshold_id: str) -> str:
    """The marginal completeness of one finder at one threshold, in words."""
    return completeness_words(marginal_row(item.completeness, threshold_id), _point(item, threshold_id))


def rate(item: GenerationInputs, threshold_id: str) -> str:
    """The false-positive rate of one of a finder's thresholds, in words."""
    return reached(_point(item, threshold_id))


def rates(items: Iterable[GenerationInputs], threshold_id: str) -> str:
    """The rates of several finders."""
    return "; ".join(f"{item.name} {rate(item, threshold_id)}" for item in items)


def threshold_view(inputs: ReportInputs) -> TableView:
    """Every threshold of every finder: what fixed it, and the rate it reaches."""
    rows = []
    for item in inputs.generations:
        for point in points(item.thresholds).values():
            target = "chosen beforehand" if pd.isna(point.target_fpr) else f"FPR {point.target_fpr:g}"
            above = "—" if point.above is None else f"{point.above:,} of {point.negatives:,}"
            value = number(point.threshold, 5) if point.measurable else str(point.reason)
            if not pd.isna(point.threshold_low):
                value += f" {{{number(point.threshold_low, 5)}–{number(point.threshold_high, 5)}}}"
            reach = reached(point).removeprefix("FPR\u00a0") if point.measurable else "—"
            lenses = "not declared" if point.lenses_high is None else f"{point.lenses_low:,}–{point.lenses_high:,}"
            tested = f"{point.test_negatives:,}"
            rows.append([item.name, point.threshold_id, target, value, above, lenses, reach, tested])
    headers = (
        "finder", "threshold", "asked for", "probability >", "above, of the negatives that fix thresholds",
        "unlisted lenses among these", "FPR reached on test negatives", "test negatives",
    )  # fmt: skip
    caption = (
        "Thresholds. Those named @val are fixed on validation negatives kept for this purpose, which are neither hosts "
        "of injections nor test negatives; Clopper-Pearson 95 % intervals. A threshold with fewer than ten negatives "
        "expected above it is not measurable. In braces: ranges over the declared numbers of unlisted lenses among the "
        "negatives, from none of the most of them selected to all."
    )
    return TableView(caption, headers, rows)


def _point(item: GenerationInputs, threshold_id: str) -> Threshold | None:
    return points(item.thresholds).get(threshold_id)
