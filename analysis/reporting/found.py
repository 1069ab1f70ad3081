"""What the diagnostics found: a sentence each, and their figures."""

from __future__ import annotations

import pandas as pd

from analysis.diagnostics import discovery
from analysis.figures.points import points_figure
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.sources import of_points
from analysis.reporting.views import Shown, TableView, frame_view

_COLUMNS = ["generation", "series", "x", "y", "low", "high", "n", "label"]


def finding_view(inputs: ReportInputs) -> TableView | None:
    """The finding of every diagnostic that has one: a row per diagnostic, a column per model."""
    models = {item.name: item.findings.set_index("diagnostic")["finding"] for item in inputs.generations}
    questions = discovery.titles()
    every = {name for found in models.values() for name in found.index}
    rows = [
        [question, *(found.get(name, "") for found in models.values())]
        for name, question in questions.items()
        if name in every
    ]
    return TableView("What the diagnostics found", ["question", *models], rows) if rows else None


def lens_view(inputs: ReportInputs) -> TableView | None:
    """Every listed test lens of the headline model, the missed ones first."""
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


def pictures(inputs: ReportInputs) -> list[Shown]:
    """The figures of the diagnostics, all models in one; a figure without points is left out."""
    shown = []
    for name, drawing in discovery.drawings().items():
        models = {item.name: item.points[item.points["figure"] == name] for item in inputs.generations}
        held = {model: points for model, points in models.items() if len(points)}
        if held:
            data = pd.concat([points.assign(generation=model) for model, points in held.items()])
            picture, file = points_figure(drawing, held), name.replace("/", "-")
            shown.append(Shown(picture, drawing.title, file, data[_COLUMNS], of_points(held, name)))
    return shown
