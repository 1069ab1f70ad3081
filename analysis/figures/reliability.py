"""Reliability curves of one finder by stratum."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.style import COLOURS, GREY, Picture, canvas, svg

_HEADINGS = {"type_bin": "Tractor type", "psf_bin": "psfsize (arcsec)", "depth_bin": "depth (mag)"}


def reliability_by_stratum(kinds: Mapping[str, str], points: pd.DataFrame) -> Picture:
    """A line of panels per kind of probability, a panel per column of strata, a curve per stratum.

    ``kinds``: beginning of the figures of each kind; ``points``: `figure`, `series`, `x`, `y`, `low`, `high` of
    `figure_points`.
    """
    figures = {str(name): rows for name, rows in points.groupby("figure", sort=False)}
    columns = list(dict.fromkeys(name.rpartition("/")[2] for name in figures))
    headings = {name: _HEADINGS.get(name, name.removesuffix("_bin").replace("_", " ")) for name in columns}
    with canvas(3.0 * len(columns) + 0.4, 3.0 * len(kinds)) as figure:
        panels = figure.subplots(len(kinds), len(columns), squeeze=False, sharex=True, sharey=True)
        for line, (kind, start) in zip(panels, kinds.items(), strict=True):
            line[0].set_ylabel(f"{kind}\nobserved share of lenses")
            for axes, column in zip(line, columns, strict=True):
                _panel(axes, figures.get(f"{start}/{column}", points.head(0)))
        for axes, column in zip(panels[0], columns, strict=True):
            axes.set_title(headings[column], fontsize=9)
            axes.legend(fontsize=6.5, loc="upper left")
        figure.supxlabel("predicted probability", fontsize=9)
        return svg(figure, f"Reliability by stratum ({', '.join(headings.values())}): {', '.join(kinds)}")


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    for colour, (name, held) in zip(cycle(COLOURS), rows.groupby("series", sort=False), strict=False):
        x, y, low, high = (held[column].to_numpy(float) for column in ("x", "y", "low", "high"))
        spread = np.clip([y - low, high - y], 0.0, None)
        axes.errorbar(x, y, spread, color=colour, fmt="o-", ms=3, lw=1.0, elinewidth=0.6, label=str(name))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
