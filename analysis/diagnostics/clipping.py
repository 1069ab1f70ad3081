"""Diagnostic: are bright arcs lost because the preprocessing clips them?

The same trials scored with other clip ranges than the network was trained with.
"""

from __future__ import annotations

from analysis.comparisons import trials
from analysis.comparisons.trials import compared
from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Outcome, unmeasured

_ARCS, _CLIP = "bright_arcs", "clip"
_NONE = "no variant has another clip range, which only networks of this project can be scored with"

FIGURES = {
    "clipping/change": Drawing(
        "Change of bright arcs found, at other clip ranges", "source magnitude", "change (points)", reference=0.0
    )
}


def diagnose(subject: Subject, params: DiagnosticParams) -> Outcome:
    """Each clip range against the network's own."""
    made = trials.variants(subject.trials, _ARCS)
    clips = sorted((name for name in made if name.startswith(_CLIP)), key=lambda name: float(name.removeprefix(_CLIP)))
    if not clips:
        return unmeasured("clipping", _NONE, "clipping/change/all", {}, "The effect of clipping is not measurable")
    found = {name: compared(f"clipping/{name}", subject.trials, _ARCS, name, params.paired_threshold) for name in clips}
    measures = tuple(measure for one in found.values() for measure in one.measures())
    points = tuple(point for name, one in found.items() for point in one.points("clipping/change", name))
    changes = "; ".join(f"{name}: {one.words}" for name, one in found.items())
    text = (
        f"Changes of the share of bright arcs found at p > {params.paired_threshold:g} when other clip ranges are used:"
    )
    return Outcome("clipping", measures, findings=(Finding(f"{text} {changes}."),), points=points)
