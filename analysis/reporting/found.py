"""What the diagnostics found, in words and figures."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.diagnostics import discovery
from analysis.figures.points import lines, points_figure
from analysis.figures.style import COLOURS
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.sources import of_points
from analysis.reporting.views import Shown, TableView, frame_view

_COLUMNS = ["generation", "series", "x", "y", "low", "high", "n", "label"]


def findings(inputs: ReportInputs, diagnostic: str) -> Mapping[str, str]:
    """The finding of a diagnostic about each finder that it has one about."""
    held = {item.name: item.findings.loc[item.findings["diagnostic"] == diagnostic] for item in inputs.generations}
    return {model: str(rows["finding"].iloc[0]) for model, rows in held.items() if len(rows)}


def lens_view(inputs: ReportInputs) -> TableView | None:
    """Every listed test lens of the headline finder, the missed ones first."""
    item = next((each for each in inputs.generations if each.name == inputs.headline), None)
    if item is None or item.test_lenses.empty:
        return None
    band = inputs.imaging.reference_band
    held = item.test_lenses.sort_values("probability")
    missed = held["missed"].map({True: "missed", False: "found"}).fillna("not known")
    columns = {
        "lens": held["name"].fillna(held["galaxy_id"]),
        "Tier": held["tier"],
        "outcome": missed,
        "probability": held["probability"],
        "theta_E (arcsec)": held["theta_e_arcsec"],
        "rank among injections": held["matched_rank"],
        band: held[f"mag_{band}"],
        "seeing (arcsec)": held[f"psfsize_{band}"],
        "depth (mag)": held[f"depth_{band}_mag"],
        "lens redshift": held["z_lens"],
        "reference": held["reference"],
    }
    at = held["threshold_id"].dropna().unique()
    caption = f"Listed lenses of the test split, {item.name}, the least probable first; missed below {', '.join(at)}"
    return frame_view(caption, pd.DataFrame(columns))


def pictures(inputs: ReportInputs, diagnostic: str) -> list[Shown]:
    """The figures of a diagnostic, without those that have no points.

    Finders share a figure as long as its series have colours of their own; otherwise the headline is drawn, and the
    data hold all.
    """
    shown = []
    own = {name: each for name, each in discovery.drawings().items() if name.partition("/")[0] == diagnostic}
    for name, drawing in own.items():
        models = {item.name: item.points[item.points["figure"] == name] for item in inputs.generations}
        held = {model: points for model, points in models.items() if len(points)}
        if not held:
            continue
        one = inputs.headline if inputs.headline in held else next(iter(held))
        drawn = held if len(lines(held)) <= len(COLOURS) else {one: held[one]}
        caption = drawing.title if len(drawn) == len(held) else f"{drawing.title}: {one}; the data hold every finder"
        data = pd.concat([points.assign(generation=model) for model, points in held.items()])
        file = name.replace("/", "-")
        bars = f" Error bars: {drawing.spread}." if data["low"].notna().any() else ""
        caption = f"{caption}.{bars}"
        shown.append(Shown(points_figure(drawing, drawn), caption, file, data[_COLUMNS], of_points(held, name)))
    return shown
