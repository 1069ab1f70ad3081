"""The first section: one sentence, one figure, and what they depend on."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.figures.points import points_figure
from analysis.records import Drawing
from analysis.reporting.deciding import closure_words
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.performance import PROBE, grid_words
from analysis.reporting.sources import of_injections
from analysis.reporting.thresholds import UNKNOWN, marginal_row, over_lenses, points, reached, refused, shown
from analysis.reporting.views import Shown, TableView, Tag, measure, measured, percent
from analysis.results.injection_views import along, at_values, midpoints
from analysis.statistics.completeness import ALL, MARGINAL, interval_of

THETA_E = "lens_theta_e_arcsec"
_EVERY = "all magnitudes"
_KNOWN = (
    ("matched_recovery", "known lenses among injections like them", ""),
    ("transplants/injected_arcs", "real arcs against injected ones", " points"),
)
"""Gates that compare injections with real lenses, in words, and the unit of their figures."""


def first(inputs: ReportInputs) -> GenerationInputs:
    """The finder that the report is about first."""
    return next((item for item in inputs.generations if item.name == inputs.headline), inputs.generations[0])


def sentences(inputs: ReportInputs) -> list[str]:
    """The answer, then which way it errs where closure shows it."""
    item, threshold_id = first(inputs), inputs.params.headline_threshold_id
    row, point = marginal_row(item.completeness, threshold_id), points(item.thresholds).get(threshold_id)
    if row is None:
        return [f"{item.name}: no injection grid has been scored, so its completeness is not measured."]
    if (why := refused(point)) is not None:
        return [f"{item.name}: completeness at {threshold_id} is not shown, because the threshold is {why}."]
    low, high, _ = interval_of(row)
    over = over_lenses(row.get("unlisted_low"), row.get("unlisted_high")).strip(" {}")
    hosts, rate = int(row["hosts"]) if pd.notna(row["hosts"]) else 0, reached(point)
    rate = "that is not measured" if rate == UNKNOWN else f"of {rate.removeprefix('FPR').strip()}"
    said = (
        f"{item.name} finds {percent(row['completeness'], low, high)} of the lensed sources injected into {hosts:,} "
        f"{'galaxy' if hosts == 1 else 'galaxies'} of {inputs.survey_name}, at a false-positive rate {rate}"
    )
    range_ = f" (completeness {over} % over the declared numbers of unlisted lenses)" if over else ""
    return [f"{said}{range_}.", *[words for words in closure_words(inputs) if words.startswith(f"{item.name} ")]]


def figure(inputs: ReportInputs) -> Shown | None:
    """Completeness over Einstein radius by source magnitude; None without injections."""
    item, threshold_id = first(inputs), inputs.params.headline_threshold_id
    magnitude = inputs.imaging.source_columns[0]
    if not shown(item, threshold_id) or not {THETA_E, magnitude} <= set(item.injections.columns):
        return None
    rows = _curves(item, threshold_id, magnitude)
    drawing = Drawing(
        "Completeness over Einstein radius", "Einstein radius (arcsec)", "completeness", "lines", percent=True
    )
    row, point = item.completeness.iloc[0], points(item.thresholds)[threshold_id]
    caption = (
        f"Completeness of {item.name} over Einstein radius, for all injections and by unlensed source magnitude "
        f"({inputs.imaging.reference_band}). Threshold {threshold_id} ({reached(point)}), prior {row['prior']}, grid "
        f"{grid_words(row)}. Bars: host-clustered 95 % intervals at the threshold's value."
    )
    source = of_injections([item.name], (THETA_E, magnitude), threshold_id)
    return Shown(points_figure(drawing, {item.name: rows}), caption, "answer", rows, source)


def _curves(item: GenerationInputs, threshold_id: str, magnitude: str) -> pd.DataFrame:
    threshold = float(marginal_row(item.completeness, threshold_id)["threshold"])  # type: ignore[index]
    radii = item.injections[THETA_E]
    parts = []
    for name, (low, high) in {_EVERY: (-99.0, 999.0), **magnitude_bins(item)}.items():
        view = along(item.injections, {magnitude: [low, high], THETA_E: midpoints(radii)}, threshold)
        view = at_values(view, THETA_E, radii)
        ends = view["host_clustered_95_low"], view["host_clustered_95_high"]
        held = pd.DataFrame(
            {"x": view[f"{THETA_E}_low"], "y": view["completeness"], "low": ends[0], "high": ends[1], "n": view["n"]}
        )
        parts.append(held[held["n"] > 0].assign(series=name, label=""))
    return pd.concat(parts, ignore_index=True)


def magnitude_bins(item: GenerationInputs) -> dict[str, tuple[float, float]]:
    """Bins of unlensed source magnitude that completeness is counted in, by name (`23-24`), bright to faint."""
    rows = item.completeness[item.completeness["cell"] == MARGINAL]
    names = sorted(set(rows["source_mag_bin"].astype(str)) - {ALL})
    found = {}
    for name in names:
        low, _, high = name.partition("-")
        if high.replace(".", "", 1).isdigit():
            found[name] = (float(low), float(high))
    return found


def conditions(inputs: ReportInputs) -> TableView:
    """What the answer holds for, and whether to trust it."""
    item = first(inputs)
    rows = [*_identity(inputs, item), *_trust(item)]
    return TableView("What the answer depends on, and what was found about it", ("", "", ""), rows, style="conditions")


def _identity(inputs: ReportInputs, item: GenerationInputs) -> list[list[object]]:
    threshold_id = inputs.params.headline_threshold_id
    point = points(item.thresholds).get(threshold_id)
    rows: list[list[object]] = [["finder", "", f"{item.name} (checkpoint {item.checkpoint_id})"]]
    if point is not None:
        what = (
            "chosen beforehand" if pd.isna(point.target_fpr) else f"fixed on {point.negatives:,} validation negatives"
        )
        value = f"probability > {point.threshold:.4g}" if point.measurable else str(point.reason)
        rows += [["threshold", "", f"{threshold_id}: {value}, {what}"], ["false positives", "", reached(point)]]
    row = marginal_row(item.completeness, threshold_id)
    if row is not None:
        counted = f"{int(row['detected']):,} detected of {int(row['n']):,} scored; {int(row['failed']):,} failed"
        rows += [["injections", "", counted], ["grid", "", grid_words(row)], ["prior", "", str(row["prior"])]]
        facts = inputs.grids.get(str(row["grid_id"]), {})
        rows += [[key, "", value] for key, value in facts.items() if key not in ("prior", "injections per cell")]
    return rows


def _trust(item: GenerationInputs) -> list[list[object]]:
    """Verdicts on realism, closure, real lenses against injections, and contamination."""
    held = {gate["name"]: gate for gate in item.gates.to_dict("records")} if len(item.gates) else {}
    probe = measure(item.diagnostics, PROBE)
    value, how = measured(item.diagnostics, PROBE), "" if probe is None else str(probe["method"])
    words = value if how in ("", value) else f"{value}, {how}"
    rows: list[list[object]] = [["realism", _tag(held.get("realism/linear_probe")), f"AUC of a linear probe: {words}"]]
    links = [name for name in held if name.startswith("closure/")]
    for name in links:
        gate = held[name]
        rows.append([f"closure: {name.partition('/')[2]}", _tag(gate), _figures(gate)])
    if not links:
        rows.append(["closure", Tag("NOT MEASURED"), "known only where the true lenses are known"])
    for name, words, unit in _KNOWN:
        rows.append([words, _tag(held.get(name)), _compared(held.get(name), unit)])
    untouched = held.get("untouched_test_set")
    rows.append(["test galaxies untouched", _tag(untouched), "" if untouched is None else str(untouched["rule"])])
    return rows


def _tag(gate: dict[Any, Any] | None) -> Tag:
    return Tag("NOT MEASURED" if gate is None else str(gate["status"]))


def _compared(gate: dict[Any, Any] | None, unit: str) -> str:
    """Value and interval of a gate with its rule; the rule alone where nothing was measured."""
    if gate is None or pd.isna(gate["value"]):
        return "" if gate is None else str(gate["rule"])
    bounds = "" if pd.isna(gate["low"]) else f" [{gate['low']:.3g}, {gate['high']:.3g}]"
    return f"{gate['value']:.3g}{bounds}{unit}; {gate['rule']}"


def _figures(gate: dict[Any, Any]) -> str:
    if pd.isna(gate["value"]):
        return str(gate["rule"])
    value, low, high = (float("nan") if pd.isna(gate[key]) else float(gate[key]) for key in ("value", "low", "high"))
    bounds = "" if pd.isna(low) else f" [{low:+.3g}, {high:+.3g}]"
    return f"bias {value:+.3g}{bounds}, tolerance ±{float(gate['threshold']):.3g}"
