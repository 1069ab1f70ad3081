"""Every two finders compared, as one matrix for ranking and one for completeness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import TypeVar

import pandas as pd

from analysis.reporting.compare import INDISTINGUISHABLE, paired_auc_tests
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.performance import compared
from analysis.reporting.thresholds import headline
from analysis.reporting.views import TableView, measured
from analysis.statistics.paired import PairedShares

Test = TypeVar("Test")
_SAME = "indistinguishable"


def matrices(inputs: ReportInputs) -> list[TableView]:
    """Differences of every two finders, row minus column, on the same objects; nothing for a single finder."""
    if len(inputs.generations) < 2:
        return []
    return [_aucs(inputs), _completeness(inputs)]


def _aucs(inputs: ReportInputs) -> TableView:
    refused = {item.name: item.refusal for item in inputs.generations if item.refusal}
    tests = paired_auc_tests({item.name: item.scores for item in inputs.generations}, refused)
    held = {(row["a"], row["b"]): row for row in tests.to_dict("records")}

    def cell(row: GenerationInputs, column: GenerationInputs) -> str:
        if row.name == column.name:
            return measured(row.diagnostics, "auc")
        test, sign = _of(held, row.name, column.name)
        if pd.isna(test.get("difference", float("nan"))):
            return str(test["verdict"])
        ends = sorted(sign * test[end] for end in ("low", "high"))
        mark = f" {_SAME}" if test["verdict"] == INDISTINGUISHABLE else ""
        return f"{sign * test['difference']:+.4f} [{ends[0]:+.4f},\u00a0{ends[1]:+.4f}]{mark}"

    caption = (
        "AUC of every two finders on the same test objects: row minus column with the 95 % interval of the paired "
        "DeLong test; on the diagonal their own. Below two standard errors: indistinguishable, whatever the sign."
    )
    return _matrix(caption, inputs, cell)


def _completeness(inputs: ReportInputs) -> TableView:
    threshold_id = inputs.params.headline_threshold_id
    pairs = {(a.name, b.name): compared(a, b, threshold_id) for a, b in combinations(inputs.generations, 2)}

    def cell(row: GenerationInputs, column: GenerationInputs) -> str:
        if row.name == column.name:
            return headline(row, threshold_id)
        test, sign = _of(pairs, row.name, column.name)
        return "not measured" if test is None else _change(test, sign)

    caption = (
        f"Completeness of every two finders on the same injections at {threshold_id}, each at its own "
        "threshold of that name: row minus column in points, intervals by host with the uncertainty of "
        "derived thresholds."
    )
    return _matrix(caption, inputs, cell)


def _of(pairs: Mapping[tuple[str, str], Test], row: str, column: str) -> tuple[Test, float]:
    """The comparison of two finders, whose difference is second minus first, and the sign for row minus column."""
    return (pairs[column, row], 1.0) if (column, row) in pairs else (pairs[row, column], -1.0)


def _change(test: PairedShares, sign: float) -> str:
    ends = sorted(100 * sign * end for end in (test.low, test.high))
    bounds = "" if pd.isna(test.low) else f" [{ends[0]:+.1f},\u00a0{ends[1]:+.1f}]"
    mark = f" {_SAME}" if test.indistinguishable else ""
    return f"{100 * sign * test.difference:+.1f}{bounds}{mark}"


def _matrix(caption: str, inputs: ReportInputs, cell: Callable[[GenerationInputs, GenerationInputs], str]) -> TableView:
    every = inputs.generations
    rows = [[row.name, *(cell(row, column) for column in every)] for row in every]
    return TableView(caption, ("", *(item.name for item in every)), rows)
