"""Section on completeness over Einstein radius and source magnitude."""

from __future__ import annotations

import pandas as pd

from analysis.figures.completeness import Axis
from analysis.figures.surface import surface
from analysis.page.answer import THETA_E, first, magnitude_bins
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.sources import of_injections
from analysis.reporting.thresholds import best_interval, marginal_row, rate, shown
from analysis.reporting.views import Shown, TableView
from analysis.results.injection_views import along, at_values, midpoints, quantile_edges
from analysis.statistics.completeness import HOST_SUMS

_BINS = 5


def items(inputs: ReportInputs) -> list[Shown | TableView]:
    """The map with its uncertainty, and its numbers in a folded table; nothing without injections."""
    item, threshold_id = first(inputs), inputs.params.headline_threshold_id
    magnitude, band = inputs.imaging.source_columns[0], inputs.imaging.reference_band
    row = marginal_row(item.completeness, threshold_id)
    if row is None or not shown(item, threshold_id) or not {THETA_E, magnitude} <= set(item.injections.columns):
        return []
    radii, bins = item.injections[THETA_E], list(magnitude_bins(item).values())
    ends = sorted({end for each in bins for end in each}) or quantile_edges(item.injections[magnitude], _BINS)
    cells = along(item.injections, {THETA_E: midpoints(radii), magnitude: ends}, float(row["threshold"]))
    cells = at_values(cells, THETA_E, radii)
    at = f"{item.name}, {threshold_id} ({rate(item, threshold_id)})"
    x, y = Axis(THETA_E, "Einstein radius (arcsec)"), Axis(magnitude, f"source {band} magnitude, unlensed")
    caption = (
        f"Completeness over Einstein radius and source magnitude, and half the width of its 95 % interval: {at}. "
        "Intervals are host-clustered, at the threshold's value."
    )
    source = of_injections([item.name], (THETA_E, magnitude), threshold_id)
    data = cells.drop(columns=list(HOST_SUMS))
    return [Shown(surface(cells, x, y, at), caption, "radius-magnitude", data, source), _table(cells, magnitude, at)]


def _table(cells: pd.DataFrame, magnitude: str, at: str) -> TableView:
    radii = sorted(set(cells[f"{THETA_E}_low"]))
    rows = []
    for (low, high), part in cells.groupby([f"{magnitude}_low", f"{magnitude}_high"]):
        held = part.set_index(f"{THETA_E}_low")
        words = [
            "none" if not held.loc[radius, "n"] else f"{best_interval(held.loc[radius])}, n {held.loc[radius, 'n']:,}"
            for radius in radii
        ]
        rows.append([f"{low:g}-{high:g}", *words])
    headers = ("source magnitude", *(f'{radius:g}"' for radius in radii))
    return TableView(f"The numbers of this map: {at}", headers, rows, folded=True)
