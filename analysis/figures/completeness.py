"""Figures of completeness: heat maps over the grid's cells, curves along the parameters of the injections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from analysis.figures.style import COLOURS, GREY, INK, TITLE_LINE_IN, TITLE_PT, Picture, canvas, svg, wrapped
from analysis.statistics.completeness import ALL, cells_at, interval_of, require_one_identity
from lake.errors import DataError
from lake.sky.imaging import Imaging

_PERCENT = 100.0
_DECADES = 100.0
_LOWEST_IN = 2.4
"""Height in which the label of the colour bar fits."""


@dataclass(frozen=True)
class Axis:
    """One axis of a heat map: the columns `<column>_low` and `<column>_high`, and the label with its unit."""

    column: str
    label: str


def depth_label(imaging: Imaging) -> str:
    return f"{imaging.reference_band} depth (5 sigma, mag)"


def heat_map(rows: pd.DataFrame, threshold_id: str, imaging: Imaging, title: str, top: float | None = None) -> Picture:
    """Completeness over Einstein radius and PSF FWHM, one panel per depth bin; rows of the `completeness` table.

    `top`: completeness at the end of the colour scale, for maps that share one; None takes the largest shown.
    """
    require_one_identity(rows)
    cells = cells_at(rows, threshold_id)
    if cells.empty:
        raise DataError(f"no completeness cells at threshold '{threshold_id}' in source-magnitude bin '{ALL}'")
    theta = cells["theta_e_arcsec"]
    cells = cells.assign(theta_e_arcsec_low=theta, theta_e_arcsec_high=theta)
    x = Axis("theta_e_arcsec", "Einstein radius (arcsec)")
    y = Axis("psf_fwhm_nea_arcsec", f"{imaging.reference_band} psfsize (arcsec)")
    return heat_panels(cells, (x, y, Axis("depth_mag", depth_label(imaging))), title, top)


def heat_panels(cells: pd.DataFrame, axes3: tuple[Axis, Axis, Axis], title: str, top: float | None = None) -> Picture:
    """Completeness over two axes, one panel per bin of a third; `cells` have intervals, and edges of their bins.

    Below each percentage are its most complete 95 % interval, and the injections and hosts behind it. Cells without
    injections are hatched and say so.
    """
    x, y, panel = axes3
    xs, ys, panels = (_bins(cells, axis) for axis in axes3)
    largest = float(np.nanmax(cells["completeness"].to_numpy(float), initial=0.0))
    scale = max(largest if top is None else top, 0.01) * _PERCENT
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    width = max(columns * (1.2 + 0.72 * len(xs)) + 0.8, 6.0)
    height, text = lines * (1.0 + 0.52 * len(ys)) + 0.4, wrapped(title, width, TITLE_PT)
    with canvas(width, max(height, _LOWEST_IN) + TITLE_LINE_IN * text.count("\n")) as figure:
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes, low in zip(grid.flat, panels, strict=False):
            chosen = cells[cells[f"{panel.column}_low"] == low]
            image = _panel(axes, chosen, list(xs), list(ys), (x, y), scale)
            axes.set_xticks(range(len(xs)), xs.values(), fontsize=8)
            axes.set_yticks(range(len(ys)), ys.values(), fontsize=8)
            axes.set(xlabel=x.label, ylabel=y.label)
            axes.set_title(f"{panel.label}: {panels[low]}", fontsize=9)
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        bar = figure.colorbar(image, ax=grid, label="completeness (%)", shrink=0.9)
        bar.ax.set_rasterization_zorder(2)
        figure.suptitle(text, fontsize=TITLE_PT)
        return svg(figure, f"Completeness over {x.label}, {y.label} and {panel.label}. {title}")


def completeness_curves(views: Mapping[str, Mapping[str, pd.DataFrame]], title: str) -> Picture:
    """Completeness along several parameters: per axis label and model, rows of `injection_views.along`.

    Points are at bin centres, or at the values of a gridded parameter; bars are host-clustered 95 % intervals.
    """
    columns = min(len(views), 3)
    lines = -(-len(views) // columns)
    with canvas(3.4 * columns, 2.7 * lines + 0.5) as figure:
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for axes, (label, models) in zip(grid.flat, views.items(), strict=False):
            for i, (name, rows) in enumerate(models.items()):
                _curve(axes, rows, COLOURS[i % len(COLOURS)], name, (i - (len(models) - 1) / 2) * 0.12)
            axes.set(xlabel=label)
            if _spans_decades(list(models.values())):
                axes.set(xscale="log")
        for axes in grid.flat[len(views) :]:
            axes.axis("off")
        bounds = [rows["host_clustered_95_high"].max() for models in views.values() for rows in models.values()]
        grid[0][0].set_ylim(0, min(1.03 * _PERCENT * float(np.nanmax(bounds, initial=0.01)), 102.0))
        for line in grid:
            line[0].set_ylabel("completeness (%)")
        figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        return svg(figure, f"Completeness along {', '.join(views)}. {title}")


def _spans_decades(models: list[pd.DataFrame]) -> bool:
    """Whether the bins of a parameter are all positive and reach over a factor of a hundred."""
    low, high = (pd.concat([rows.filter(like=end).iloc[:, 0] for rows in models]) for end in ("_low", "_high"))
    return bool(low.min() > 0 and high.max() > _DECADES * low.min())


def _curve(axes: Axes, rows: pd.DataFrame, colour: str, name: str, shift: float) -> None:
    edges = [column[: -len("_low")] for column in rows.columns if column.endswith("_low")]
    low, high = (rows[f"{edges[0]}_{end}"].to_numpy(float) for end in ("low", "high"))
    y = rows["completeness"].to_numpy(float)
    bounds = np.stack([rows["host_clustered_95_low"], rows["host_clustered_95_high"]])
    spread = np.abs(bounds - y) * _PERCENT
    spacing = float(np.median(np.diff(low))) if len(low) > 1 else 1.0
    x = (low + high) / 2.0 + shift * np.where(high > low, high - low, spacing)
    axes.errorbar(x, y * _PERCENT, spread, color=colour, fmt="o-", ms=3.5, lw=1.3, capsize=2, label=name)


def _bins(cells: pd.DataFrame, axis: Axis) -> dict[float, str]:
    low, high = cells[f"{axis.column}_low"].to_numpy(float), cells[f"{axis.column}_high"].to_numpy(float)
    return {float(a): f"{a:g}" if a == b else f"{a:.2f}-{b:.2f}" for a, b in sorted(set(zip(low, high, strict=True)))}


def _panel(
    axes: Axes, cells: pd.DataFrame, xs: list[float], ys: list[float], axis: tuple[Axis, Axis], top: float
) -> AxesImage:
    values = np.full((len(ys), len(xs)), np.nan)
    x, y = axis
    for _, cell in cells.iterrows():
        column, row = xs.index(cell[f"{x.column}_low"]), ys.index(cell[f"{y.column}_low"])
        values[row, column] = np.nan if cell["n"] == 0 else cell["completeness"] * _PERCENT
        _label(axes, column, row, cell, top)
    for row, column in np.argwhere(np.isnan(values)):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", edgecolor=GREY, lw=0))
    axes.grid(visible=False)
    return axes.imshow(values, origin="lower", aspect="auto", cmap="cividis", vmin=0, vmax=top, interpolation="none")


def _label(axes: Axes, x: int, y: int, cell: pd.Series, top: float) -> None:
    if cell["n"] == 0:
        axes.text(x, y, "none", ha="center", va="center", fontsize=6, color=GREY)
        return
    share = cell["completeness"] * _PERCENT
    low, high, _ = interval_of(cell)
    hosts = "?" if pd.isna(cell["hosts"]) else f"{int(cell['hosts']):,}"
    colour = INK if share > 0.55 * top else "white"
    small = (f"{low * _PERCENT:.0f}-{high * _PERCENT:.0f}", -0.06), (f"n {int(cell['n']):,}, {hosts} h.", -0.32)
    for text, below, size in ((f"{share:.0f}", 0.23, 8.0), *((*each, 5.5) for each in small)):
        axes.text(x, y + below, text, ha="center", va="center", fontsize=size, color=colour)
