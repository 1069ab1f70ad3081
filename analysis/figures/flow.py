"""A diagram of stages: what was made from what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from analysis.figures.style import COLOURS, GREY, Picture, canvas, svg

_WIDTH, _HEIGHT, _ACROSS, _DOWN = 1.15, 0.42, 1.6, 0.75
_BEND = 0.4
"""How far an arrow that passes other columns bends towards the nearer edge, so that it crosses no box."""


def flow_diagram(edges: Iterable[tuple[str, str]]) -> Picture:
    """Stages from left to right; an arrow leads from a stage to each that reads what it made.

    An arrow that a longer way through other stages implies is left out, and so is one back to an earlier stage: a
    training finds the hard negatives of the next.
    """
    direct = _reduced(_forward(edges))
    depth = _depths(direct)
    columns: dict[int, list[str]] = defaultdict(list)
    for stage in sorted(depth):
        columns[depth[stage]].append(stage)
    tallest = max(map(len, columns.values()))
    places = {
        stage: (column * _ACROSS, -(row + (tallest - len(held)) / 2) * _DOWN)
        for column, held in columns.items()
        for row, stage in enumerate(held)
    }
    with canvas(len(columns) * _ACROSS * 0.9, tallest * _DOWN + 0.3) as figure:
        axes = figure.subplots()
        axes.set(xlim=(-0.1, (len(columns) - 1) * _ACROSS + _WIDTH + 0.1), ylim=(-tallest * _DOWN + 0.2, _HEIGHT))
        axes.set_axis_off()
        for before, after in sorted(direct):
            _arrow(axes, places[before], places[after], -(tallest - 1) / 2 * _DOWN)
        for stage, (left, middle) in places.items():
            _box(axes, stage, left, middle)
        return svg(figure, "Stages and what they read: " + "; ".join(f"{a} to {b}" for a, b in sorted(direct)))


def _forward(edges: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges, in alphabetical order, that close no cycle with those before them."""
    after: dict[str, set[str]] = defaultdict(set)

    def reached(stage: str) -> set[str]:
        return after[stage] | {each for one in after[stage] for each in reached(one)}

    for first, second in sorted(edges):
        if first != second and first not in reached(second):
            after[first].add(second)
    return {(first, second) for first, held in after.items() for second in held}


def _depths(edges: set[tuple[str, str]]) -> dict[str, int]:
    """The longest way to each stage from one that reads nothing."""
    before = defaultdict(set)
    for first, second in edges:
        before[second].add(first)
    depth: dict[str, int] = {}

    def of(stage: str) -> int:
        if stage not in depth:
            depth[stage] = 1 + max(map(of, before[stage]), default=-1)
        return depth[stage]

    for stage in {stage for edge in edges for stage in edge}:
        of(stage)
    return depth


def _reduced(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges that no path of several edges implies (transitive reduction of a graph without cycles)."""
    after = defaultdict(set)
    for first, second in edges:
        after[first].add(second)

    def reached(stage: str) -> set[str]:
        return after[stage] | {each for one in after[stage] for each in reached(one)}

    return {(a, b) for a, b in edges if not any(b in reached(other) for other in after[a] - {b})}


def _box(axes: Axes, stage: str, left: float, middle: float) -> None:
    shape = FancyBboxPatch(
        (left, middle - _HEIGHT / 2), _WIDTH, _HEIGHT, boxstyle="round,pad=0.02", ec=COLOURS[0], fc="none", lw=1.4
    )
    axes.add_patch(shape)
    axes.text(left + _WIDTH / 2, middle, stage, ha="center", va="center", size=8.5)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], middle: float) -> None:
    bend = 0.0 if end[0] - start[0] < 1.5 * _ACROSS else -_BEND if start[1] + end[1] >= 2.0 * middle else _BEND
    style = {"arrowstyle": "->", "color": GREY, "lw": 1.0, "shrinkA": 0, "shrinkB": 2}
    style["connectionstyle"] = f"arc3,rad={bend}"
    axes.annotate("", (end[0] - 0.03, end[1]), (start[0] + _WIDTH + 0.03, start[1]), arrowprops=style)
