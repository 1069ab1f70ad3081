"""Sections of diagnostics: for each its question, verdicts, finding, figures and measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.diagnostics import discovery
from analysis.page.answer import first
from analysis.page.layout import Item
from analysis.reporting import found
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.performance import measures_view
from analysis.reporting.views import Heading, TableView, Tag, Verdicts, Words

REALISM = ("realism", "feature_space", "matched_recovery", "arc_morphology", "transplants")
BUDGET = ("gap_budget",)
_OWN = ("closure", *REALISM, *BUDGET)
"""Diagnostics with a section of their own."""
_GATES = {"trivial": ("beats_trivial_features",)}
"""Gates whose names do not begin like the measures of their diagnostic."""
_ORDER = (
    *(
        "split_balance",
        "masked_pixels",
        "flux_check",
        "host_noise",
        "annulus",
        "annulus_scoring",
        "shortcuts",
        "trivial",
    ),
    *("real_lenses", "missed_lenses", "anchors", "confusers", "label_noise"),
    *("bright_arcs", "poisson", "clipping", "core_suppression", "host_pairs", "sensitivity"),
)
"""Data first, then real lenses and other galaxies, then injections; diagnostics that are not here come last."""


def others() -> list[str]:
    """Every other diagnostic, in reading order."""
    names = [name for name in discovery.titles() if name not in _OWN]
    return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


def items(inputs: ReportInputs, names: Sequence[str]) -> list[Item]:
    """What there is to say of some diagnostics, in the order of their names; nothing of those that did not run."""
    return [item for name in names for item in _of_one(inputs, name)]


def _of_one(inputs: ReportInputs, name: str) -> Iterator[Item]:
    findings, pictures = found.findings(inputs, name), found.pictures(inputs, name)
    measures = _measured(inputs, name)
    if not (findings or pictures or measures):
        return
    yield Heading(discovery.titles().get(name, name), f"diagnostic-{name}")
    if verdicts := _verdicts(inputs, name, measures):
        yield Verdicts(verdicts)
    shown = first(inputs).name
    if shown in findings:
        yield Words(f"{findings[shown]}" if len(inputs.generations) == 1 else f"{shown}: {findings[shown]}")
    yield from pictures
    if len(findings) > 1:
        rows = [[model, text] for model, text in findings.items()]
        yield TableView("The finding for each finder", ("finder", "finding"), rows, folded=True)
    if measures:
        yield measures_view(inputs, f"Measures of {name.replace('_', ' ')}", measures)


def _measured(inputs: ReportInputs, name: str) -> list[str]:
    """Names of the measures of a diagnostic, in the order of the tables."""
    parts = [item.diagnostics for item in inputs.generations if "diagnostic" in item.diagnostics]
    return list(dict.fromkeys(each for rows in parts for each in rows.loc[rows["diagnostic"] == name, "name"]))


def _verdicts(inputs: ReportInputs, name: str, measures: Sequence[str]) -> list[tuple[Tag, str]]:
    """The gates of a diagnostic for the finder shown first: those whose names begin as its measures' do."""
    gates = first(inputs).gates
    groups = {name, *_GATES.get(name, ()), *(each.partition("/")[0] for each in measures)}
    held = gates[gates["name"].str.partition("/")[0].isin(groups)] if len(gates) else pd.DataFrame()
    return [(Tag(str(gate["status"])), str(gate["name"])) for gate in held.to_dict("records")]
