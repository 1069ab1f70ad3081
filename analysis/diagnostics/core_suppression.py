"""Diagnostic: does light in the core of the lens decide?

The same trials without the arc's light near the lens's centre, where a finder may see a brighter core and no arc.
"""

from __future__ import annotations

from analysis.comparisons.trials import compared
from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Finding, Outcome

FIGURES = {
    "core_suppression/change": Drawing(
        "Change of bright arcs found, without light in the core", "source magnitude", "change (points)", reference=0.0
    )
}


def diagnose(subject: Subject, params: DiagnosticParams) -> Outcome:
    """The variant without light in the core against the baseline."""
    name = "core_suppression"
    found = compared(name, subject.trials, "bright_arcs", "core_suppressed", params.paired_threshold)
    if found.refused is not None:
        text = f"The effect of light in the core is {found.words}."
        return Outcome(name, tuple(found.measures()), findings=(Finding(text),))
    what = f"Without the arc's light in the core, the share of bright arcs found at p > {params.paired_threshold:g}"
    points = tuple(found.points("core_suppression/change", "core suppressed"))
    return Outcome(name, tuple(found.measures()), (), {}, (Finding(f"{what} changes by {found.words}."),), points)
