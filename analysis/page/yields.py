"""Section on purity and yield: lenses of a declared population and contaminants, per square degree."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.thresholds import points, rate
from analysis.reporting.views import TableView
from analysis.results.purity import Sky, purity

_WHOLE = 100.0
ASSUMED = (
    "Expected lenses: the declared number per square degree, times the share of their lens galaxies in the pool, times "
    "completeness under the population's own radii and magnitudes; other parameters as in the grid's prior. Lenses "
    "that no injection represents count as missed in the low and central number, as found in the high one. "
    "Contaminants: galaxies of the pool above the threshold, from test negatives drawn at random within strata of type "
    "and exposures, weighted to the pool (Fay & Feuer 1997, 95 %); unlisted lenses among them count as contaminants. "
    "The range of purity combines the ends of both. This is what a first pass returns, before anybody looks at the "
    "candidates."
)


def view(inputs: ReportInputs) -> TableView | None:
    """One row per finder and threshold; None where no population is declared."""
    rows: list[list[str]] = []
    for item in inputs.generations:
        if item.expected.empty:
            continue
        if "refused" in item.expected:
            rows.append([item.name, "—", "—", str(item.expected["refused"].iloc[0]), "—", "—", "—"])
            continue
        rows += _rows(inputs, item)
    headers = (
        "finder", "threshold", "FPR reached", "lenses found per square degree", "contaminants per square degree",
        "purity", "of the population covered",
    )  # fmt: skip
    caption = f"Expected yield for the population {inputs.params.population}: central value and range"
    return TableView(caption, headers, rows) if rows else None


def _rows(inputs: ReportInputs, item: GenerationInputs) -> list[list[str]]:
    named = points(item.thresholds)
    sky = Sky(inputs.pool, inputs.area_deg2)
    if item.refusal or inputs.pool.empty or not {*sky.strata, "pool"} <= set(item.scores.columns):
        why = item.refusal or "strata of the test objects are not known"
        return [[item.name, "—", "—", "—", f"not measured: {why}", "—", "—"]]
    found = purity(item.expected, item.scores, sky, named)
    covered = item.expected.set_index("threshold_id")["support"]
    return [
        [
            item.name,
            row["threshold_id"],
            rate(item, row["threshold_id"]),
            _ranged(row, "lenses"),
            _ranged(row, "contaminants"),
            _ranged(row, "purity"),
            f"{100 * covered[row['threshold_id']]:.0f} %",
        ]
        for row in found.to_dict("records")
    ]


def _ranged(row: dict[Any, Any], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return "not measured: galaxies of a stratum were not tested"
    said = [f"{each:,.0f}" if each >= _WHOLE else f"{each:.2g}" for each in (value, low, high)]
    return f"{said[0]} ({said[1]} to {said[2]})"
