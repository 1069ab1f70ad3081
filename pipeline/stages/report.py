"""One self-contained page with everything that was found, and what it was found with; the same figures in MLflow."""

from __future__ import annotations

from analysis.config import ReportParams
from analysis.report import render_report
from lake.cards import write_atomically
from pipeline.context import RunContext
from pipeline.mirror import mirror
from pipeline.reporting import gather
from pipeline.seal import sealed


def run(context: RunContext, params: ReportParams) -> None:
    inputs = gather(context, params)
    write_atomically(context.root.report / "index.html", sealed(render_report(inputs)))
    mirror(context.root, inputs)
