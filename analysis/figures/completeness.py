"""Figures of completeness: heat maps over the grid's cells and curves along the Einstein radius."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from analysis.completeness import ALL, MARGINAL, require_one_identity
from analysis.figures.style import COLOURS, Picture, canvas, svg
from lake.errors import DataError

_EMPTY = "#f3f4f6"
_PERCENT = 100.0


def heat_map(rows: pd.DataFrame, threshold_id: str, title: str) -> Picture:
    """Completeness over Einstein radius and PSF FWHM, one panel per depth bin; rows of the `completeness` table.

    Cells without a host are hatched and say so; the number below each percentage is the injections behind it.
    """
    require_one_identity(rows)
    cells = rows[(rows["threshold_id"] == threshold_id) & (rows["source_mag_bin"] == ALL) & (rows["cell"] != MARGINAL)]
    if cells.empty:
        raise DataError(f"no completeness cells at threshold '{threshold_id}' in source-magnitude bin '{ALL}'")
    thetas, psfs = sorted(cells["theta_e_arcsec"].unique()), sorted(cells["psf_fwhm_arcsec_low"].unique())
    depths = sorted(cells["depth_mag_low"].unique())
    top = max(float(cells["completeness"].max() or 0.0), 0.01) * _PERCENT
    columns = min(len(depths), 2)
    lines = -(-len(depths) // columns)
    with canvas(max(6.4, columns * (1.0 + 0.62 * len(thetas))), lines * (1.0 + 0.42 * len(psfs)) + 0.4) as figure:
        panels = figure.subplots(lines, columns, squeeze=False)
        for axes, depth in zip(panels.flat, depths, strict=False):
            chosen = cells[cells["depth_mag_low"] == depth]
            image = _panel(axes, chosen, thetas, psfs, top)
            high = chosen["depth_mag_high"].iloc[0]
            axes.set_title(f"r depth {depth:.2f}-{high:.2f} mag (5 sigma, point source)", fontsize=9)
        for axes in panels.flat[len(depths) :]:
            axes.axis("off")
        figure.colorbar(image, ax=panels, label="completeness (%)", shrink=0.8)
        figure.suptitle(title, fontsize=10)
        return svg(figure, f"Completeness over Einstein radius, PSF FWHM and depth. {title}")


def completeness_curves(curves: Mapping[str, pd.DataFrame], title: str) -> Picture:
    """Completeness against Einstein radius; per name rows of `completeness.over_axes(..., ["theta_e_arcsec"])`.

    Error bars are host-clustered 95 % intervals where known, Jeffreys otherwise (the legend says which).
    """
    with canvas(6.4, 4.0) as figure:
        axes = figure.subplots()
        for i, (name, rows) in enumerate(curves.items()):
            known = rows["host_clustered_95_low"].notna().all()
            kind = "host_clustered_95" if known else "jeffreys_95"
            y = rows["completeness"].to_numpy(float)
            spread = np.abs(np.stack([rows[f"{kind}_low"], rows[f"{kind}_high"]]) - y) * _PERCENT
            shift = (i - (len(curves) - 1) / 2) * 0.012
            axes.errorbar(
                rows["theta_e_arcsec"] + shift, y * _PERCENT, spread, color=COLOURS[i % len(COLOURS)], fmt="o-", ms=4,
                lw=1.4, capsize=2, label=f"{name} ({'host-clustered' if known else 'Jeffreys'} 95 %)",
            )  # fmt: skip
        axes.set(xlabel="Einstein radius (arcsec)", ylabel="completeness (%)", title=title)
        axes.set_ylim(bottom=0)
        axes.legend()
        return svg(figure, f"Completeness against Einstein radius. {title}")


def _panel(axes: Axes, cells: pd.DataFrame, thetas: Sequence[float], psfs: Sequence[float], top: float) -> AxesImage:
    values = np.full((len(psfs), len(thetas)), np.nan)
    cell: Any
    for cell in cells.itertuples():
        row, column = psfs.index(cell.psf_fwhm_arcsec_low), thetas.index(cell.theta_e_arcsec)
        values[row, column] = np.nan if cell.n == 0 else cell.completeness * _PERCENT
        _label(axes, column, row, cell, top)
    axes.set_facecolor(_EMPTY)
    for row, column in np.argwhere(np.isnan(values)):
        axes.add_patch(_hatch(column, row))
    image = axes.imshow(values, origin="lower", aspect="auto", cmap="cividis", vmin=0, vmax=top)
    axes.set_xticks(range(len(thetas)), [f"{theta:g}" for theta in thetas])
    edges = dict(zip(cells["psf_fwhm_arcsec_low"], cells["psf_fwhm_arcsec_high"], strict=True))
    axes.set_yticks(range(len(psfs)), [f"{low:.2f}-{edges[low]:.2f}" if low in edges else f"{low:.2f}" for low in psfs])
    axes.set(xlabel="Einstein radius (arcsec)", ylabel="r PSF FWHM (arcsec)")
    axes.grid(visible=False)
    return image


def _label(axes: Axes, x: int, y: int, cell: Any, top: float) -> None:
    if cell.n == 0:
        axes.text(x, y, "no\nhost", ha="center", va="center", fontsize=6, color="#4b5563")
        return
    colour = "black" if cell.completeness * _PERCENT > 0.55 * top else "white"
    axes.text(x, y + 0.1, f"{cell.completeness * _PERCENT:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.text(x, y - 0.28, f"n {cell.n:,}", ha="center", va="center", fontsize=5.5, color=colour)


def _hatch(x: int, y: int) -> Rectangle:
    return Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="////", edgecolor="#d1d5db", lw=0)
