"""Section on closure: what the finder's completeness is worth where the lenses are known."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

from analysis.reporting.inputs import ReportInputs
from analysis.reporting.views import NOT_MEASURED, TableView, interval, number
from lake import yamltext

GROUP = "closure"
_LINKS = {
    "light": "the arcs' light, rendered over true (relative)",
    "renderer": "the same parameters in the lenses' own hosts (points)",
    "hosts": "the same parameters in hosts of the grid (points)",
    "population": "the grid's injections, reweighted to the lenses (points)",
    "hosts/balance": "light of weighted hosts minus that of the lenses' hosts (standard deviations)",
    "population/balance": "Einstein radii, source magnitudes, sizes or axis ratios of reweighted injections minus the "
    "lenses' (standard deviations)",
}
_DIGITS = {"light": 3, "balance": 2}
WORDS = (
    "Where lenses are known, completeness from injections must equal their recall. The chain between the two is "
    "compared link by link: the lenses as painted, the same lenses rendered into their own hosts, then into hosts of "
    "the grid, and the grid's own injections reweighted to the lenses. Each bias is that of one link. PASS: its whole "
    "95 % interval lies within the tolerance; FAIL: none of it does; BORDERLINE: part of it does. "
    "Balance compares what injections and lenses are like, whatever the finder makes of it, in the column that is "
    "worst off; it fails where the difference is beyond the tolerance and is not chance."
)


def skies_words() -> str:
    """What simulated skies say about the intervals (`analysis/reporting/closure_skies.yaml`)."""
    found = recorded_skies()
    held = {
        kind: f"{100 * found[kind]['coverage']:.1f} % [{100 * found[kind]['low']:.1f}, {100 * found[kind]['high']:.1f}]"
        for kind in ("host", "field")
    }
    return (
        f"On {found['skies']} simulated skies with one network of this demo, {found['intervals']:,} intervals of "
        f"reweighted completeness held the recall of {found['lenses']:,} lenses in {held['host']} of cases where "
        f"clustered by hosts, and in {held['field']} where clustered by fields (nominal: 95 %). "
        "Bricks differ in seeing and depth; intervals by fields allow for it, those by hosts do not."
    )


@cache
def recorded_skies() -> dict[str, Any]:
    """The summary that `python -m benchmarks.closure` wrote for the released version."""
    text = resources.files("analysis.reporting").joinpath("closure_skies.yaml").read_text(encoding="utf-8")
    return dict(yamltext.values(text))


def links_view(inputs: ReportInputs) -> TableView | None:
    """One row per link: its bias and status for each finder; None where no closure was measured."""
    rows = []
    for link, words in _LINKS.items():
        held = {}
        for item in inputs.generations:
            found = item.gates[item.gates["name"] == f"{GROUP}/{link}"] if len(item.gates) else item.gates
            held[item.name] = found.iloc[0] if len(found) else None
        if all(gate is None for gate in held.values()):
            continue
        cells = [NOT_MEASURED if gate is None else _cell(gate) for gate in held.values()]
        limit = next(gate["threshold"] for gate in held.values() if gate is not None)
        rows.append([link, words, f"±{number(limit)}", *cells])
    if not rows:
        return None
    headers = ("link", "what is compared with the link before", "tolerance", *(i.name for i in inputs.generations))
    return TableView("Bias of each link of the chain, and its status", headers, rows)


def _cell(gate: pd.Series) -> str:
    if pd.isna(gate["value"]):
        return f"{gate['status']}: {gate['rule']}"
    digits = _DIGITS.get(gate["name"].rpartition("/")[2], 1)
    return f"{interval(gate['value'], gate['low'], gate['high'], digits)}: {gate['status']}"
