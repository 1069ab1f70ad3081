"""Completeness over two parameters, with the uncertainty of every cell beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.figures.completeness import Axis
from analysis.figures.style import GREY, INK, TITLE_LINE_IN, TITLE_PT, Picture, canvas, svg, wrapped
from analysis.statistics.completeness import interval_of

_PERCENT = 100.0
_WIDTH, _HEIGHT = 0.62, 0.46
_NARROWEST_IN = 6.6
"""Width in which the names of both maps fit."""


def surface(cells: pd.DataFrame, x: Axis, y: Axis, title: str) -> Picture:
    """Two maps: completeness, and half the width of its most complete 95 % interval; rows of `injection_views.along`.

    Cells without injections are empty.
    """
    xs, ys = (_names(cells, axis) for axis in (x, y))
    share, half = (np.full((len(ys), len(xs)), np.nan) for _ in range(2))
    for _, cell in cells[cells["n"] > 0].iterrows():
        low, high, _ = interval_of(cell)
        place = list(ys).index(cell[f"{y.column}_low"]), list(xs).index(cell[f"{x.column}_low"])
        share[place], half[place] = cell["completeness"] * _PERCENT, (high - low) / 2.0 * _PERCENT
    width = max(2 * (_WIDTH * len(xs) + 1.6), _NARROWEST_IN)
    text = wrapped(title, width, TITLE_PT)
    with canvas(width, _HEIGHT * len(ys) + 1.5 + TITLE_LINE_IN * text.count("\n")) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, values, name, colours in (
            (left, share, "completeness (%)", "cividis"),
            (right, half, "half width of the 95 % interval (points)", "Oranges"),
        ):
            _map(axes, values, name, colours)
            axes.set_xticks(range(len(xs)), xs.values(), fontsize=8)
            axes.set(xlabel=x.label)
        left.set_yticks(range(len(ys)), ys.values(), fontsize=8)
        left.set(ylabel=y.label)
        figure.suptitle(text, fontsize=TITLE_PT)
        return svg(figure, f"Completeness over {x.label} and {y.label}, and its uncertainty. {title}")


def _names(cells: pd.DataFrame, axis: Axis) -> dict[float, str]:
    low, high = (cells[f"{axis.column}_{end}"].to_numpy(float) for end in ("low", "high"))
    return {float(a): f"{a:g}" if a == b else f"{a:.3g}-{b:.3g}" for a, b in sorted(set(zip(low, high, strict=True)))}


def _map(axes: Axes, values: NDArray[np.float64], name: str, colours: str) -> None:
    top = max(float(np.nanmax(values, initial=0.0)), 1.0)
    shown = axes.imshow(values, origin="lower", aspect="auto", cmap=colours, vmin=0, vmax=top, interpolation="none")
    axes.grid(visible=False)
    axes.set_title(name, fontsize=9)
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.text(column, row, "none", ha="center", va="center", fontsize=6.5, color=GREY)
            continue
        red, green, blue, _ = shown.to_rgba(np.array([value]))[0]
        ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=ink)
