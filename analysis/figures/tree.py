"""A decision tree with its verdicts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from analysis.figures.style import COLOURS, GREY, Picture, canvas, svg

_TONES = {"GO": COLOURS[2], "NO-GO": COLOURS[1], "BORDERLINE": COLOURS[4]}
_LETTERS = 40
_WIDTH, _HEIGHT, _GAP = 3.0, 1.2, 0.75


@dataclass(frozen=True)
class Box:
    """A question with its verdict."""

    name: str
    question: str
    figures: str
    status: str
    consequence: str
    reached: bool
    leads_on: str
    """The outcomes that lead to the next question; empty for the last one."""


def decision_tree(rows: Sequence[Sequence[Box]]) -> Picture:
    """Questions from left to right, a chain a row, each chain ending with what follows; what is not reached is grey."""
    columns = max(len(row) for row in rows) + 1
    width, height = columns * (_WIDTH + _GAP), len(rows) * (_HEIGHT + 0.3)
    with canvas(width * 0.95, height * 1.05) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, width - _GAP + 0.1), ylim=(-height + 0.2, 0.1))
        axes.set_axis_off()
        for number, row in enumerate(rows):
            _row(axes, row, -number * (_HEIGHT + 0.3))
        verdicts = "; ".join(f"{box.name}: {box.status}" for row in rows for box in row)
        return svg(figure, f"Decision tree. {verdicts}")


def _row(axes: Axes, row: Sequence[Box], top: float) -> None:
    last = next((box for box in reversed(row) if box.reached), row[0])
    for place, box in enumerate(row):
        left = place * (_WIDTH + _GAP)
        tone = _TONES.get(box.status, GREY) if box.reached else GREY
        said = [textwrap.fill(box.question, _LETTERS), textwrap.fill(box.figures, _LETTERS + 4, max_lines=2)]
        _box(axes, left, top, tone, f"{box.name}   {box.status if box.reached else 'not asked'}", "\n\n".join(said))
        _arrow(axes, left + _WIDTH, top, box.leads_on)
    end = len(row) * (_WIDTH + _GAP)
    what = last.consequence or "nothing follows from what was not measured"
    _box(axes, end, top, _TONES.get(last.status, GREY), f"after {last.name}", textwrap.fill(what, _LETTERS))


def _box(axes: Axes, left: float, top: float, tone: str, title: str, text: str) -> None:
    shape = FancyBboxPatch(
        (left + 0.05, top - _HEIGHT), _WIDTH - 0.1, _HEIGHT, boxstyle="round,pad=0.02", ec=tone, fc="white", lw=1.8
    )
    axes.add_patch(shape)
    axes.text(left + 0.15, top - 0.12, title, va="top", weight="bold", color=tone, size=9)
    axes.text(left + 0.15, top - 0.42, text, va="top", size=7.5)


def _arrow(axes: Axes, left: float, top: float, label: str) -> None:
    middle = top - _HEIGHT / 2
    style = {"arrowstyle": "->", "color": GREY, "lw": 1.2}
    axes.annotate("", (left + _GAP, middle), (left, middle), arrowprops=style)
    axes.text(left + _GAP / 2, middle + 0.08, label, ha="center", va="bottom", size=6.5, color=GREY)
