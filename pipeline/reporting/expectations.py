"""Expectations with their results, as far as the lake holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

import pandas as pd

from analysis.comparisons.differences import Measured, paired
from analysis.reporting.compare import INDISTINGUISHABLE, fixing_of, paired_auc_tests, paired_completeness
from analysis.reporting.thresholds import marginal_row, points
from analysis.results.expectations import Figure, historical, judge
from analysis.results.untouched import negatives_for, untouched
from analysis.statistics.completeness import equally_weighted, interval_of
from lake.root import DataRoot
from lake.sky.split import THRESHOLD
from lake.store import cards, delta, expected, status
from lake.store.expected import Expectation

COMPLETENESS = "completeness/"
_AUC = "auc"
_NONE = pd.DataFrame()
COLUMNS = ("run", "expectation", "registered", "result", "outcome", "test", "why")


def rows(root: DataRoot) -> pd.DataFrame:
    """One row per registered expectation, then the reference system's: what was expected, the result, the outcome."""
    lookup = Figures(root)
    found = [row(one, lookup, one.date) for one in expected.records(root)]
    found += [row(one, lookup, "by the reference system") for one in historical()]
    return pd.DataFrame(found, columns=list(COLUMNS))


def row(one: Expectation, lookup: Figures, registered: str) -> Mapping[str, str]:
    """One expectation with its result."""
    figure, why_not = lookup.figure(one)
    outcome: str = judge(one, figure)
    if figure is not None and one.date and figure.made and figure.made < one.date:
        outcome = f"registered after the result: does not count ({outcome})"
    result = why_not if figure is None else _words(figure)
    test = one.test or ("" if figure is None else figure.how)
    values = (one.run, one.words, registered, result, outcome, test, one.note)
    return dict(zip(COLUMNS, values, strict=True))


class Figures:
    """Figures of runs, read from the tables once."""

    def __init__(self, root: DataRoot) -> None:
        self._root, self._off = root, status.invalid_results(root)
        self._made = {one.name for one in cards.all_slices(root)}

    def figure(self, one: Expectation) -> tuple[Figure | None, str]:
        """The figure that an expectation is about; without one, why."""
        own, why = self._of(one.run, one.measure)
        if own is None or one.against is None:
            return own, why
        other, why = self._of(one.against, one.measure)
        if other is None:
            return None, why
        return self._paired(one, own) or own.minus(other), ""

    def _of(self, run: str, measure: str) -> tuple[Figure | None, str]:
        finder = run.partition("-")[2]
        in_grid = measure.startswith(COMPLETENESS)
        table, part = ("completeness", finder) if in_grid else ("diagnostics", run)
        stem = cards.stem(table, part)
        if stem not in self._made:
            return None, f"{run} has not run"
        if stem in self._off:
            return None, self._off[stem].text
        held = delta.read(self._root, table, slices=[part]).to_pandas()
        found = _marginal(held, measure) if in_grid else _measured(held, measure)
        return found, "" if found is not None else f"{run} did not measure {measure}"

    def _paired(self, one: Expectation, own: Figure) -> Figure | None:
        """The difference on what both finders were measured on, where that is there."""
        finders = [run.partition("-")[2] for run in (str(one.against), one.run)]
        if one.measure == _AUC:
            return self._aucs(finders, own)
        if one.measure.startswith(COMPLETENESS):
            return self._completeness(finders, own, one.measure.removeprefix(COMPLETENESS))
        if not self._there("thresholds", finders):
            return None
        other, this = (self._measured_on(finder) for finder in finders)
        found = paired(one.measure, this, other)
        if found is None:
            return None
        return replace(own, value=found.value, low=found.low, high=found.high, how=found.how)

    def _there(self, table: str, finders: Sequence[str]) -> bool:
        """Whether rows of all these finders are there, and count."""
        stems = {cards.stem(table, finder) for finder in finders}
        return stems <= self._made and not stems & set(self._off)

    def _rows(self, table: str, finder: str) -> pd.DataFrame:
        """Rows of one finder; none where they are not there or do not count."""
        return delta.read(self._root, table, slices=[finder]).to_pandas() if self._there(table, [finder]) else _NONE

    def _measured_on(self, finder: str) -> Measured:
        known = points(self._rows("thresholds", finder)).values()
        values = {point.threshold_id: point.threshold for point in known if point.measurable}
        return Measured(self._objects(finder), self._rows("trials", finder), values)

    def _objects(self, finder: str) -> pd.DataFrame:
        """The untouched test objects of one finder, with their tiers."""
        held = self._rows("scores", finder)
        if held.empty:
            return held
        tested = untouched(held[held["split"] == "test"]).objects
        tiers = delta.read(self._root, "manifest", ["galaxy_id", "tier"], slices=held["manifest_id"].unique().tolist())
        return tested.merge(tiers.to_pandas().drop_duplicates("galaxy_id"), on="galaxy_id", how="left")

    def _completeness(self, finders: Sequence[str], own: Figure, at: str) -> Figure | None:
        """On the same injections, hosts as clusters; None where the grids differ."""
        needed = ("injections", "injection_scores", "completeness", "thresholds", "scores")
        if not all(self._there(table, finders) for table in needed):
            return None
        first, second = (self._injections(finder) for finder in finders)
        rows = [marginal_row(equally_weighted(self._rows("completeness", finder)), at) for finder in finders]
        if rows[0] is None or rows[1] is None or set(first["grid_id"]) != set(second["grid_id"]):
            return None
        one, other = (negatives_for(self._rows("scores", finder), THRESHOLD) for finder in finders)
        fixing = fixing_of(self._rows("thresholds", finders[0]), one, other, at)
        test = paired_completeness(first, second, rows[0]["threshold"], rows[1]["threshold"], fixing)
        how = f"paired on {test.n:,} injections, hosts as clusters"
        return replace(own, value=test.difference, low=test.low, high=test.high, how=how)

    def _injections(self, finder: str) -> pd.DataFrame:
        columns = ["injection_id", "status", "probability"]
        drawn = self._rows("injections", finder)[["grid_id", "injection_id", "galaxy_id"]]
        return drawn.merge(self._rows("injection_scores", finder)[columns], on="injection_id")

    def _aucs(self, finders: Sequence[str], own: Figure) -> Figure | None:
        """The paired test of two AUCs, where the scores of both are there."""
        if not self._there("scores", finders):
            return None
        scores = {}
        for finder in finders:
            held = delta.read(self._root, "scores", slices=[finder]).to_pandas()
            scores[finder] = untouched(held[held["split"] == "test"]).objects
        (test,) = paired_auc_tests(scores).to_dict("records")
        how = "paired DeLong test"
        if test["verdict"] == INDISTINGUISHABLE:
            how += f": {INDISTINGUISHABLE}, below two standard errors"
        return replace(own, value=test["difference"], low=test["low"], high=test["high"], how=how)


def _measured(rows: pd.DataFrame, measure: str) -> Figure | None:
    found = rows[rows["name"] == measure].dropna(subset=["value"])
    return _figure(found.iloc[0], "value", ("low", "high")) if len(found) else None


def _marginal(rows: pd.DataFrame, measure: str) -> Figure | None:
    found = marginal_row(rows, measure.removeprefix(COMPLETENESS))
    if found is None or pd.isna(found["completeness"]):
        return None
    low, high, _ = interval_of(found)
    return Figure(float(found["completeness"]), low, high, _made(found))


def _figure(row: Any, value: str, ends: tuple[str, str]) -> Figure:
    low, high = (float("nan") if pd.isna(row[end]) else float(row[end]) for end in ends)
    return Figure(float(row[value]), low, high, _made(row))


def _made(row: Any) -> str:
    return str(row["extracted_at"].astimezone(UTC).isoformat(timespec="seconds"))


def _words(figure: Figure) -> str:
    if pd.isna(figure.low):
        return f"{figure.value:.4f}, without an interval"
    return f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]"
