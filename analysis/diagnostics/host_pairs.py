"""Diagnostic: does completeness depend on the choice of hosts, and on lenses shaped like them? In paired trials.

Each trial of the experiment `host_pairs` is injected four times (2 x 2): into a host of any type and into an early-type
one in the same seeing and depth, with a lens shape independent of the host's and conditioned on it. Source and lens are
the same in all four, but for the shape. (The reference system compared four grids with draws of their own.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.comparisons import trialpairs
from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Measure, Outcome, Point, missing
from analysis.results.untouched import FEWEST
from analysis.statistics.contrasts import mean_change
from analysis.statistics.thresholds import Threshold, why_not

NAME = "host_pairs"
"""Of the experiment, too."""
CORNERS = ("all_independent", "all_conditioned", "early_independent", "early_conditioned")
"""Variants of the experiment: hosts, and the lens's shape."""
FIGURES = {
    "host_pairs/corners": Drawing(
        "Completeness by hosts and by shape of the lens", "hosts", "completeness", percent=True
    ),
    "host_pairs/effects": Drawing(
        "Effects of hosts and of shape, and their interaction",
        "effect of",
        "change of completeness (points)",
        reference=0.0,
    ),
}
REFERENCE = {
    "all_independent": 3.3, "all_conditioned": 3.4, "early_independent": 3.2, "early_conditioned": 3.0,
}  # fmt: skip
"""Mean completeness of the reference system at p > 0.5 (per cent): 500 injections at each of 6 Einstein radii."""
_EFFECTS = {
    "hosts": ("early-type hosts minus all hosts, mean of both shapes", (-0.5, -0.5, 0.5, 0.5)),
    "shape": ("conditioned minus independent shape, mean of both hosts", (-0.5, 0.5, -0.5, 0.5)),
    "interaction": ("effect of the shape in early-type hosts minus that in all hosts", (1.0, -1.0, -1.0, 1.0)),
}
"""Contrasts of the corners, in the order of `CORNERS`."""


class Params(DiagnosticParams):
    """At which threshold figure and finding are."""

    host_pairs_threshold: str = "p0.5"
    """Threshold of figure and finding; corners and effects are measured at all measurable ones."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """The corners and effects of one finder; not measured without trials in all four."""
    wide = trialpairs.of_experiment(subject.trials, NAME)
    held = set(CORNERS) <= set(trialpairs.variants(wide))
    four = trialpairs.scored_in(wide, *CORNERS) if held else wide.head(0)
    hosts = min((four["galaxy_id", corner].nunique() for corner in CORNERS), default=0) if held else 0
    if hosts < FEWEST:
        scored = f"trials of the experiment that were scored in all of {', '.join(CORNERS)}"
        return _refused([], f"there are no {scored}, in at least {FEWEST} hosts")
    return judge(four, subject.thresholds, params)


def judge(four: pd.DataFrame, thresholds: Sequence[Threshold], params: Params) -> Outcome:
    """Corners and effects at every threshold; figures and finding at one."""
    points = trialpairs.measurable(thresholds)
    measures = [*_corners(four, points), *_effects(four, points)]
    at = params.host_pairs_threshold
    if at not in points:
        return _refused(measures, why_not(thresholds, at))
    held = {m.name: m for m in measures}
    return Outcome(
        NAME, tuple(measures), findings=(_finding(held, at),), points=(*_corner_points(held, at), *_bars(held, at))
    )


def _refused(measures: Sequence[Measure], why: str) -> Outcome:
    """Measures, if there are any, and no comparison, with the reason."""
    held = tuple(measures) or tuple(missing(f"host_pairs/effect/{name}", why) for name in _EFFECTS)
    return Outcome(NAME, held, findings=(Finding(f"The choice of hosts and lens shapes is not judged: {why}."),))


def _corners(four: pd.DataFrame, points: Mapping[str, float]) -> Iterator[Measure]:
    for corner in CORNERS:
        stated = f"the reference system had {REFERENCE[corner]:.1f} % at p > 0.5"
        for at, threshold in points.items():
            how = f"{_words(corner)}; {stated}"
            yield trialpairs.share(f"host_pairs/{corner}/{at}", four, corner, threshold, how)


def _effects(four: pd.DataFrame, points: Mapping[str, float]) -> Iterator[Measure]:
    hosts = [four["galaxy_id", corner] for corner in ("all_independent", "early_independent")]
    for name, (words, contrast) in _EFFECTS.items():
        for at, threshold in points.items():
            hits = np.stack([trialpairs.detected(four, corner, threshold) for corner in CORNERS])
            found = mean_change(np.asarray(contrast) @ hits, hosts, limit=float(np.abs(contrast).sum()) / 2.0)
            how = f"{words}; the same lens and source in all four; trials that share either host are clusters"
            yield trialpairs.in_points(f"host_pairs/effect/{name}/{at}", found, how)


def _corner_points(held: Mapping[str, Measure], at: str) -> Iterator[Point]:
    """A series per shape, a place per choice of hosts."""
    for corner in CORNERS:
        hosts, shape = corner.split("_")
        m = held[f"host_pairs/{corner}/{at}"]
        ends = (m.value / 100.0, m.low / 100.0, m.high / 100.0)
        place = 0 if hosts == "all" else 1
        yield Point("host_pairs/corners", f"{shape} shape", place, *ends, m.n, ("all hosts", "early-type hosts")[place])


def _bars(held: Mapping[str, Measure], at: str) -> Iterator[Point]:
    for place, name in enumerate(_EFFECTS):
        m = held[f"host_pairs/effect/{name}/{at}"]
        yield Point("host_pairs/effects", "completeness", place, m.value, m.low, m.high, m.n, name)


def _words(corner: str) -> str:
    hosts, shape = corner.split("_")
    return f"{'all' if hosts == 'all' else 'early-type'} hosts, {shape} lens shape"


def _finding(held: Mapping[str, Measure], at: str) -> Finding:
    def of(name: str) -> str:
        m = held[f"host_pairs/effect/{name}/{at}"]
        return f"{m.value:+.1f} [{m.low:+.1f}, {m.high:+.1f}]"

    corners = ", ".join(f"{_words(corner)} {held[f'host_pairs/{corner}/{at}'].value:.1f} %" for corner in CORNERS)
    named = [name for name in _EFFECTS if held[f"host_pairs/effect/{name}/{at}"].low > 0.0]
    named += [name for name in _EFFECTS if held[f"host_pairs/effect/{name}/{at}"].high < 0.0]
    shown = f"{' and '.join(named)} can be told from zero" if named else "none of them can be told from zero"
    return Finding(
        f"Completeness at {at}: {corners}. Early-type hosts change it by {of('hosts')} points, the conditioned shape "
        f"by {of('shape')}, and the interaction is {of('interaction')}: {shown}."
    )
