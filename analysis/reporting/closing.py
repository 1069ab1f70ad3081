"""Section on closure: what the finder's completeness is worth where the lenses are known."""

from __future__ import annotations

import pandas as pd

from analysis.reporting.inputs import ReportInputs
from analysis.reporting.views import NOT_MEASURED, TableView, interval, number

GROUP = "closure"
_LINKS = {
    "light": "the arcs' light, rendered over true (relative)",
    "renderer": "the same parameters in the lenses' own hosts (points)",
    "hosts": "the same parameters in hosts of the grid (points)",
    "population": "the grid's injections, reweighted to the lenses (points)",
}
WORDS = (
    "On a survey whose lenses are known, the chain from lenses to completeness is compared link by link: the recall of "
    "the lenses as painted, the same lenses rendered into their own hosts, into hosts of the grid, and the grid's own "
    "injections reweighted to the lenses. Each bias is that of one link. PASS: its whole 95 % interval lies within the "
    "tolerance; FAIL: none of it does; BORDERLINE: part of it does."
)


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
    digits = 3 if gate["name"].endswith("/light") else 1
    return f"{interval(gate['value'], gate['low'], gate['high'], digits)}: {gate['status']}"
