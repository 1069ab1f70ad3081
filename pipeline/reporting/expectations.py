"""Expectations with their results, as far as the lake holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any

import pandas as pd

from analysis.reporting.compare import INDISTINGUISHABLE, paired_auc_tests
from analysis.reporting.thresholds import marginal_row
from analysis.results.expectations import Figure, historical, judge
from analysis.results.untouched import untouched
from analysis.statistics.completeness import interval_of
from lake.root import DataRoot
from lake.store import cards, delta, expected, status
from lake.store.expected import Expectation

COMPLETENESS = "completeness/"
_AUC = "auc"
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
        self._made = {one.name for table in cards.tables(root) for one in cards.slices(root, table)}

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
        """The paired test of two AUCs, where the scores of both are there."""
        finders = [run.partition("-")[2] for run in (str(one.against), one.run)]
        stems = [cards.stem("scores", finder) for finder in finders]
        if one.measure != _AUC or not set(stems) <= self._made or set(stems) & set(self._off):
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
