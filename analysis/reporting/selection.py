"""Section on the selection function: completeness along the parameters of the injections, and other denominators."""

from __future__ import annotations

import pandas as pd

from analysis.figures.completeness import DEPTH, Axis, completeness_curves, heat_panels
from analysis.figures.style import Picture
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.thresholds import best_interval, marginal_row, points, rate, refused, shown
from analysis.reporting.views import TableView
from analysis.results.injection_views import along, at_values, host_false_positives, midpoints, quantile_edges

PARAMETERS = {
    "lens_theta_e_arcsec": "Einstein radius (arcsec)",
    "src_mag_r": "source r magnitude, unlensed",
    "src_beta_frac": "source offset / Einstein radius",
    "src_re_arcsec": "source half-light radius (arcsec)",
    "host_psf_fwhm_nea_r_arcsec": "r psfsize of the host (arcsec)",
    "host_depth_r_mag": "r depth of the host (5 sigma, mag)",
}
_BINS = 6
_GRIDDED = 15
"""A column with at most so many distinct values is gridded: each value is its own bin."""
_PLANE = ("lens_theta_e_arcsec", "src_beta_frac", "host_depth_r_mag")


def pictures(inputs: ReportInputs) -> list[tuple[str, Picture]]:
    """Curves along every parameter, and the plane of Einstein radius, source offset and depth, with their captions."""
    threshold_id = inputs.params.headline_threshold_id
    models = [i for i in inputs.generations if shown(i, threshold_id) and _threshold(i, threshold_id) is not None]
    found = _curves(models, threshold_id)
    return [
        *found,
        *(
            _plane(item, threshold_id)
            for item in models
            if item.name == inputs.headline and _varies(item.injections, _PLANE)
        ),
    ]


def denominator_view(inputs: ReportInputs) -> TableView:
    """Completeness of all injections, of those declared detectable, and the bare hosts above the threshold."""
    rows = []
    for item in inputs.generations:
        for threshold_id in item.completeness.get("threshold_id", pd.Series(dtype=str)).unique():
            threshold = _threshold(item, threshold_id)
            if threshold is None:
                continue
            reason = refused(points(item.thresholds).get(threshold_id))
            words = _denominators(item.injections, threshold)
            completeness = [reason, "—"] if reason else words[:2]
            rows.append([item.name, threshold_id, rate(item, threshold_id), *completeness, words[2]])
    headers = (
        "model",
        "threshold",
        "FPR reached",
        "all injections",
        "detectable injections",
        "bare hosts above the threshold",
    )
    caption = (
        "Other denominators. Detectable, a declared option and never the default: an arc pixel above 5 sigma of the "
        "sky, above 1.5 times the lens there, magnification of 5 or more (HOLISMOKES XI). Bare hosts: the same "
        "galaxies without an arc, each once."
    )
    return TableView(caption, headers, rows)


def _denominators(injections: pd.DataFrame, threshold: float) -> list[str]:
    every = {"probability": [-1.0, 2.0]}
    found = [best_interval(along(injections, every, threshold).iloc[0])]
    if "detectable" in injections.columns:
        row = along(injections, every, threshold, detectable_only=True).iloc[0]
        found.append(f"{best_interval(row)} of {int(row['n']):,}" if row["n"] else "none is detectable")
    else:
        found.append("not recorded")
    hosts = "host_probability" in injections.columns
    found.append(best_interval(host_false_positives(injections, threshold).iloc[0]) if hosts else "not recorded")
    return found


def _curves(models: list[GenerationInputs], threshold_id: str) -> list[tuple[str, Picture]]:
    views: dict[str, dict[str, pd.DataFrame]] = {}
    for column, label in PARAMETERS.items():
        if models and all(_varies(item.injections, (column,)) for item in models):
            values = models[0].injections[column]
            views[label] = {item.name: _along_one(item, column, values, threshold_id) for item in models}
    caption = (
        f"Completeness at threshold {threshold_id} ({_rates(models, threshold_id)}) as a function of each parameter of "
        "the injections, summed over all others. Bars: host-clustered 95 % intervals at the threshold's value; points "
        "of different models are offset horizontally."
    )
    title = f"Threshold {threshold_id}, summed over all other parameters"
    return [(caption, completeness_curves(views, title))] if views else []


def _along_one(item: GenerationInputs, column: str, values: pd.Series, threshold_id: str) -> pd.DataFrame:
    view = along(item.injections, {column: _edges(values)}, _threshold(item, threshold_id) or 0.0)
    return at_values(view, column, values) if values.nunique() <= _GRIDDED else view


def _plane(item: GenerationInputs, threshold_id: str) -> tuple[str, Picture]:
    rows, theta = item.injections, "lens_theta_e_arcsec"
    edges = {
        theta: _edges(rows[theta]),
        "src_beta_frac": quantile_edges(rows["src_beta_frac"], 4),
        "host_depth_r_mag": quantile_edges(rows["host_depth_r_mag"], 2),
    }
    cells = along(rows, edges, _threshold(item, threshold_id) or 0.0)
    if rows[theta].nunique() <= _GRIDDED:
        cells = at_values(cells, theta, rows[theta])
    x, y = (Axis(name, PARAMETERS[name]) for name in _PLANE[:2])
    caption = (
        f"{item.name}: completeness (%) at threshold {threshold_id} ({rate(item, threshold_id)}) over Einstein radius, "
        "source offset, depth."
    )
    title = f"{item.name}, {threshold_id} ({rate(item, threshold_id)})"
    return caption, heat_panels(cells, (x, y, Axis("host_depth_r_mag", DEPTH.label)), title)


def _rates(models: list[GenerationInputs], threshold_id: str) -> str:
    return "; ".join(f"{item.name} {rate(item, threshold_id)}" for item in models)


def _varies(rows: pd.DataFrame, columns: tuple[str, ...]) -> bool:
    return all(name in rows.columns and rows[name].nunique() > 1 for name in columns)


def _edges(values: pd.Series) -> list[float]:
    return midpoints(values) if values.nunique() <= _GRIDDED else quantile_edges(values, _BINS)


def _threshold(item: GenerationInputs, threshold_id: str) -> float | None:
    row = marginal_row(item.completeness, threshold_id)
    return None if row is None or item.injections.empty else float(row["threshold"])
