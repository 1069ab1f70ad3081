"""Sections on decisions: the tree as a figure, every decision with its figures, and what closure shows."""

from __future__ import annotations

import pandas as pd

from analysis.figures.tree import Box, decision_tree
from analysis.reporting.decisions import Verdict, chains, is_reached, verdicts
from analysis.reporting.declarations import declared
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.sources import of_gates
from analysis.reporting.views import Shown, TableView, Tag

DIRECTION = "closure/direction"
_PARTS = {
    "tree": "Decision tree",
    "retrain": "Retraining: gates and the two reviewers' criteria",
    "anchors": "Anchors",
    "closure": "Closure",
    "checklist": "Publication checklist",
}
WORDS = (
    "GO: the whole 95 % interval lies on the side of the threshold that is asked for; NO-GO: none of it does; "
    "BORDERLINE: the threshold lies within it. What the tables do not hold is not measured and has no "
    "consequence.",
)


def decision_items(inputs: ReportInputs) -> list[TableView | Shown]:
    """The tree of the headline finder, then every decision about every finder."""
    found = {item.name: verdicts(item, inputs) for item in inputs.generations}
    if not found:
        return []
    first = inputs.headline if inputs.headline in found else next(iter(found))
    return [_tree(first, found[first]), *(_table(part, title, found) for part, title in _PARTS.items())]


def expectation_view(inputs: ReportInputs) -> TableView | None:
    """What was expected before there was a result, beside the result; None where nothing was."""
    if inputs.expectations.empty:
        return None
    columns = ["outcome", "run", "expectation", "registered", "result", "test", "why"]
    headers = ["outcome", "run", "expected", "registered", "result", "test", "why it was expected"]
    rows = inputs.expectations[columns].to_numpy().tolist()
    return TableView("Expectations registered before the results", headers, rows)


def closure_words(inputs: ReportInputs) -> list[str]:
    """One sentence per finder for which closure shows in which direction completeness errs; none for others."""
    said = []
    for item in inputs.generations:
        verdict = verdicts(item, inputs)[DIRECTION]
        if verdict.status in ("GO", "NO-GO"):
            at = inputs.params.headline_threshold_id
            said.append(f"{item.name} at {at}: closure shows that {verdict.consequence} ({verdict.figures}).")
    return said


def _tree(name: str, found: dict[str, Verdict]) -> Shown:
    rows = [[_box(chain, place) for place in range(len(chain))] for chain in chains(found)]
    caption = f"Decision tree of {name}: verdicts and figures; questions that earlier ones do not lead to are grey."
    data = pd.DataFrame(
        [{"decision": name, "status": one.status, "measured": one.figures} for name, one in found.items()]
    )
    return Shown(decision_tree(rows), caption, "decision-tree", data, of_gates([name]))


def _box(chain: list[Verdict], place: int) -> Box:
    verdict = chain[place]
    one = verdict.declared
    return Box(
        name=one.name,
        question=one.question,
        figures=verdict.figures
        if one.threshold is None
        else f"{verdict.figures}; asked for: {one.side} {one.threshold:g}",
        status=verdict.status,
        consequence=verdict.consequence,
        reached=is_reached(chain, place),
        leads_on=" or\n".join(one.then),
    )


def _table(part: str, title: str, found: dict[str, dict[str, Verdict]]) -> TableView:
    rows = []
    for one in (one for one in declared().decisions if one.part == part):
        verdicts_ = [_cell(held[one.name]) for held in found.values()]
        rows.append([one.name, one.question, *verdicts_, f"{one.rule_words}. {one.note}".strip(". ") + "."])
    return TableView(title, ("decision", "question", *found, "goes if"), rows)


def _cell(verdict: Verdict) -> Tag:
    follows = f": {verdict.consequence}" if verdict.consequence else ""
    return Tag(verdict.status, f"{verdict.figures}{follows}")
