"""ROC and precision-recall curves of one model by stratum."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd

from analysis.figures.style import COLOURS, GREY, Picture, canvas, svg
from analysis.statistics.roc import roc_curve

_SIDES = ("solid", "dashed", "dashdot", "dotted")


def strata_figure(strata: Mapping[str, pd.DataFrame], recall: float | None, title: str) -> Picture:
    """Left ROC, right precision against recall, per stratum with `label`, `score`; dotted: recall of Tier A lenses."""
    with canvas(9.6, 4.0) as figure:
        left, right = figure.subplots(1, 2)
        for place, (name, rows) in enumerate(strata.items()):
            look = {
                "color": COLOURS[place % len(COLOURS)],
                "ls": _SIDES[place // len(COLOURS) % len(_SIDES)],
                "lw": 1.5,
            }
            curve, positives = roc_curve(rows["label"], rows["score"]), int((rows["label"] == 1).sum())
            negatives = len(rows) - positives
            left.plot(np.maximum(curve.fpr, 0.5 / negatives), curve.tpr, drawstyle="steps-post", **look)
            found, false = curve.tpr * positives, curve.fpr * negatives
            held = found + false > 0
            label = f"{name} ({positives} + {negatives})"
            right.plot(curve.tpr[held], found[held] / (found + false)[held], label=label, **look)
        if recall is not None:
            left.axhline(recall, color=GREY, lw=1.0, ls=":")
            right.axvline(recall, color=GREY, lw=1.0, ls=":", label=f"Tier A recall {100 * recall:.0f} %")
        left.set(xscale="log", ylim=(0, 1.02), xlabel="false-positive rate", ylabel="recall", title="ROC")
        right.set(ylim=(0, 1.02), xlim=(0, 1.02), xlabel="recall", ylabel="precision in this sample")
        right.set_title("Precision and recall")
        right.legend(fontsize=7.5, loc="lower left")
        return svg(figure, f"ROC and precision-recall curves by stratum. {title}")


def ranges_figure(rows: pd.DataFrame, x: str) -> Picture:
    """Published values as ranges, a line each: `label`, `low`, `high`, `group`; those of a group have one colour."""
    colours = dict(zip(dict.fromkeys(rows["group"]), cycle(COLOURS), strict=False))
    with canvas(8.4, 0.36 * len(rows) + 1.1) as figure:
        axes = figure.subplots()
        for place, row in enumerate(rows.to_dict("records")):
            axes.plot([row["low"], row["high"]], [-place, -place], color=colours[row["group"]], lw=3.0, alpha=0.5)
            axes.plot([row["low"], row["high"]], [-place, -place], color=colours[row["group"]], marker="o", ms=5, ls="")
        for group, colour in colours.items():
            axes.plot([], [], color=colour, marker="o", ls="", label=group)
        axes.set_yticks([-place for place in range(len(rows))], rows["label"], fontsize=8)
        axes.set(xlim=(0, 100), xlabel=x)
        figure.legend(loc="outside upper center", ncols=2, fontsize=8)
        return svg(figure, f"{x}: " + "; ".join(f"{row.label} {row.low:g}-{row.high:g}" for row in rows.itertuples()))
