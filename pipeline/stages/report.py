"""One self-contained page with everything that was found, and what it was found with; the same figures in MLflow."""

from __future__ import annotations

from analysis.config import ReportParams
from analysis.reporting.report import render_report
from lake.files import atomic
from pipeline.project.context import RunContext
from pipeline.project.seal import sealed
from pipeline.reporting.mirror import mirror
from pipeline.reporting.report_inputs import gather


def run(context: RunContext, params: ReportParams) -> None:
    inputs = gather(context, params)
    atomic.write_text(context.root.report / "index.html", sealed(render_report(inputs)))
    mirror(context.root, inputs)
