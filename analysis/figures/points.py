"""The figures of diagnostics, drawn from the rows of `figure_points`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from analysis.figures.style import COLOURS, GREY, Picture, canvas, svg
from analysis.records import Drawing

_APART = 0.08
"""Distance of series at one category, in categories."""
_COLUMNS = 3
"""Models side by side where each has its own axes."""
_DRAWN = ["x", "y", "low", "high", "label"]
_STROKE = 1e-3
"""Length of the stroke that stands for a point, over the width of its series: SVG leaves out strokes of no length."""
_UPRIGHT = 62
"""If labels have more characters than this in total, they are rotated: otherwise they would touch."""


def points_figure(drawing: Drawing, models: Mapping[str, pd.DataFrame]) -> Picture:
    """One figure of a diagnostic: per model rows `series`, `x`, `y`, `low`, `high`, `label` of `figure_points`.

    Several models share the axes; the legend names each series with its model, or the models alone where there is one
    series. A series has one colour. Rows that are the same for every model are drawn once, without a model's name.
    """
    groups = [{name: points} for name, points in models.items()] if drawing.apart else [models]
    columns = min(len(groups), _COLUMNS)
    rows = -(-len(groups) // columns)
    with canvas(7.2, 4.0 * rows if columns < _COLUMNS else 3.2 * rows) as figure:
        grid: list[Axes] = list(np.ravel(figure.subplots(rows, columns)))
        for axes, held in zip(grid, groups, strict=False):
            _axes(axes, drawing, held)
            if len(groups) > 1:
                axes.set_title(next(iter(held)))
        for axes in grid[len(groups) :]:
            axes.set_axis_off()
        _legend(figure)
        series = {name: None for points in models.values() for name in points["series"]}
        return svg(figure, f"{drawing.title}: {', '.join(series)}; {', '.join(models)}")


def _legend(figure: Figure) -> None:
    """Every series once, above the axes, where it covers no point; none for a single series."""
    held = [axes.get_legend_handles_labels() for axes in figure.axes]
    series = {label: handle for handles, labels in held for handle, label in zip(handles, labels, strict=True)}
    if len(series) > 1:
        figure.legend(series.values(), series, loc="outside upper center", ncols=min(len(series), 3), fontsize=8)


def _axes(axes: Axes, drawing: Drawing, models: Mapping[str, pd.DataFrame]) -> None:
    """The points of some models on the same axes."""
    drawn, categories = lines(models), _categories(models)
    for place, (colour, (name, rows)) in enumerate(zip(cycle(COLOURS), drawn, strict=False)):
        shift = (place - (len(drawn) - 1) / 2) * _APART if categories else 0.0
        _draw(axes, drawing, rows, name, colour, shift, len(drawn))
    if drawing.reference is not None:
        axes.axhline(drawing.reference, color=GREY, lw=1.0, ls="--")
    if categories:
        slanted: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        labels = [label.replace("_", " ") for label in categories.values()]
        axes.set_xticks(list(categories), labels, **(slanted if sum(map(len, labels)) > _UPRIGHT else {}))
    axes.set(xlabel=drawing.x, ylabel=drawing.y)
    if drawing.log_x:
        axes.set(xscale="log")
    if drawing.log_y:
        axes.set(yscale="log")
    if drawing.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def lines(models: Mapping[str, pd.DataFrame]) -> list[tuple[str, pd.DataFrame]]:
    """Rows of one curve with its name in the legend: each series of each model, or one for all if they are the same."""
    held = {model: dict(_by_series(points)) for model, points in models.items()}
    series = dict.fromkeys(name for rows in held.values() for name in rows)
    found = []
    for place, (model, parts) in enumerate(held.items()):
        for name, points in parts.items():
            alike = len(held) == 1 or all(_equal(points, others.get(name)) for others in held.values())
            if not alike or not place:
                own = model if len(series) == 1 else f"{name}, {model}"
                found.append((name if alike else own, points))
    return found


def _equal(one: pd.DataFrame, other: pd.DataFrame | None) -> bool:
    return other is not None and one[_DRAWN].reset_index(drop=True).equals(other[_DRAWN].reset_index(drop=True))


def _by_series(points: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(series), rows) for series, rows in points.groupby("series", sort=False)]


def _categories(models: Mapping[str, pd.DataFrame]) -> dict[float, str]:
    """Labels by place, where every point has one and equal places have equal labels."""
    rows = pd.concat(list(models.values()))[["x", "label"]].drop_duplicates()
    named = rows["label"].fillna("").ne("").all() and not rows["x"].duplicated().any()
    return dict(zip(rows["x"], rows["label"], strict=True)) if named and len(rows) else {}


def _draw(axes: Axes, drawing: Drawing, rows: pd.DataFrame, name: str, colour: str, shift: float, series: int) -> None:
    x, y = rows["x"].to_numpy(float) + shift, rows["y"].to_numpy(float)
    low, high = (np.where(rows[end].isna(), y, rows[end].astype(float)) for end in ("low", "high"))
    spread = np.clip([y - low, high - y], 0.0, None)
    if drawing.kind == "scatter":
        _dots(axes, x, y, colour, name)
    elif drawing.kind == "bars":
        axes.bar(x, y, 0.8 * (_APART if series > 1 else 1.0), color=colour, label=name, yerr=spread, ecolor=GREY)
    else:
        axes.errorbar(
            x, y, spread, color=colour, fmt="o-" if drawing.kind == "lines" else "o", ms=4, lw=1.3, label=name
        )


def _dots(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], colour: str, name: str) -> None:
    """Many points as one path of strokes hardly longer than nothing, whose round ends are dots: a third of the size of
    markers."""
    shift = np.array([_STROKE * max(float(np.ptp(x)), _STROKE), 0.0])
    places = np.stack([x, y], axis=1)
    ends = np.stack([places, places + shift], axis=1).reshape(-1, 2)
    path = Path(ends, np.tile([Path.MOVETO, Path.LINETO], len(x)))
    path.should_simplify = False
    axes.add_patch(PathPatch(path, fill=False, ec=colour, lw=3.0, alpha=0.6, capstyle="round"))
    axes.update_datalim(ends)
    axes.autoscale_view()
    axes.plot([], [], color=colour, ls="", marker="o", ms=3, label=name)
