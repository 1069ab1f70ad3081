"""Diagnostics by name: the list of all, and the reference's campaigns repeated on a finder."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from analysis.config import ReportParams
from analysis.diagnostics import discovery
from analysis.records import Gate, Measure, Outcome
from lake.errors import ParameterError, did_you_mean, invalid, not_one_of
from lake.root import DataRoot
from lake.store import cards, status
from pipeline.finders.campaigns import CAMPAIGNS, Campaign, Recorded
from pipeline.project.context import RunContext, stage_run
from pipeline.project.project import Project
from pipeline.reporting.results import scored, shown_first

log = logging.getLogger(__name__)

_WIDTH = 110


def listing() -> list[str]:
    """Every diagnostic with its question, and every campaign."""
    titles = discovery.titles()
    width = max(map(len, titles))
    lines = ["diagnostics, all run by `dhs repro` for every finder:"]
    lines += [f"  {name:<{width}}  {question}" for name, question in titles.items()]
    lines += ["campaigns of the reference system, repeated by `dhs diagnose NAME`:"]
    return lines + [f"  {name}  {one.question}" for name, one in CAMPAIGNS.items()]


def finder_of(project: Project, wanted: str | None) -> str:
    """The finder that is meant: the one named, or the report's headline, or the only one."""
    names = scored(project.data, False)
    if wanted is not None:
        if wanted not in names:
            raise not_one_of("finder", names, wanted)
        return wanted
    return shown_first(names, project.section(ReportParams, "report").headline_generation)


def campaign(name: str) -> Campaign:
    """A campaign by its name."""
    if name.upper() not in CAMPAIGNS:
        known = discovery.titles()
        if name in known:
            query = f"select run_id, finding from findings where diagnostic = '{name}'"
            raise ParameterError(
                f"'{name}' is one diagnostic, which `dhs repro` runs for every finder: `dhs query \"{query}\"` shows "
                f"what it found; `dhs diagnose` repeats whole campaigns: {', '.join(CAMPAIGNS)}"
            )
        allowed = f"one of {', '.join(CAMPAIGNS)}"
        raise ParameterError(f"{invalid('campaign', allowed, name)}{did_you_mean(name, [*CAMPAIGNS, *known])}")
    return CAMPAIGNS[name.upper()]


def repeat(project: Project, name: str, finder: str) -> tuple[str, Outcome]:
    """Run a campaign on a finder and store its rows; the run's name and what it found."""
    from pipeline.realism.truelenses import require_truth  # slow to import, and only needed here
    from pipeline.stages.diagnose import subject

    require_truth(project)
    held, known = campaign(name), {module.__name__.rpartition(".")[2]: module for module in discovery.found()}
    params = project.section(discovery.DiagnoseParams, "diagnose")
    changed = {key: value for key, value in held.params.items() if key in type(params).model_fields}
    params = type(params).load({**params.model_dump(mode="json"), **changed}, "diagnose")
    run = f"{name.upper()}-{finder}"
    with stage_run("diagnose", finder, project, RunContext) as context:
        context.note_input("parameters", params.digest())
        modules = [known[one] for one in held.diagnostics if one in known]
        outcome = discovery.run(modules, subject(context, params))
        context.write_outcome(outcome, run)
    if (off := status.invalid_results(project.data).get(f"diagnostics.{run}")) is not None:
        log.warning("%s does not count: %s", run, off.text)
    return run, outcome


def described(name: str, finder: str, outcome: Outcome) -> list[str]:
    """The findings, the gates, and the figures beside those of the reference."""
    held = campaign(name)
    lines = [f"{name.upper()} on {finder}: {held.question}", ""]
    for finding in outcome.findings:
        lines += _wrapped(f"{finding.diagnostic}: {finding.text}")
    missing = [one for one in held.diagnostics if one not in discovery.titles()]
    if missing:
        lines += [f"not available here: {', '.join(missing)}"]
    lines += ["", *(_gate(gate) for gate in outcome.gates if gate.status != "PASS")]
    passed = sum(gate.status == "PASS" for gate in outcome.gates)
    lines += [f"{passed} of {len(outcome.gates)} gates PASS", ""]
    if held.sizes:
        lines += [*_wrapped(f"The reference's samples: {held.sizes}; those here are the n of each figure.")]
    if held.verdict:
        lines += _wrapped(f"The reference concluded: {held.verdict}.")
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ")


def _gate(gate: Gate) -> str:
    value = "" if np.isnan(gate.value) else f" {gate.value:.4g}"
    return f"{gate.status} {gate.name}{value}: {gate.rule}"


def beside(name: str, outcome: Outcome) -> pa.Table:
    """A row per figure that the reference recorded: this finder's, and the reference's."""
    measures = {one.name: one for one in outcome.measures}
    rows = list(_rows(campaign(name).recorded, measures))
    schema = pa.schema([(column, pa.string()) for column in ("measure", "here", "reference", "note")])
    return pa.Table.from_pylist(rows, schema)


def _rows(recorded: Sequence[Recorded], measures: dict[str, Measure]) -> Iterator[dict[str, str]]:
    for one in recorded:
        found = measures.get(one.measure)
        here = "not measured" if found is None or np.isnan(found.value) else _figure(found.value, found.low, found.high)
        if found is not None and found.n and not np.isnan(found.value):
            here += f" (n {found.n:,})"
        yield {
            "measure": one.measure,
            "here": here,
            "reference": _figure(one.value, one.low, one.high),
            "note": one.note,
        }


def _figure(value: float, low: float, high: float) -> str:
    bounds = "" if np.isnan(low) or np.isnan(high) else f" [{low:.3g}, {high:.3g}]"
    return f"{value:.4g}{bounds}"


def forget_campaigns(root: DataRoot, finder: str) -> list[str]:
    """Remove what campaigns on a finder stored; names of the slices."""
    gone = []
    for table in status.JUDGED:
        for entry in cards.slices(root, table) if table in cards.tables(root) else ():
            if str(entry.card.slice) in {f"{name}-{finder}" for name in CAMPAIGNS}:
                cards.remove(root, table, entry.card.slice)
                gone.append(entry.name)
    return gone
