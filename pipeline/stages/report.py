"""One self-contained page with all results and their provenance; the same figures in MLflow and as DVC's metrics and
plots."""

from __future__ import annotations

import json

from analysis.config import ReportParams
from analysis.page.report import FOLDER, Page, rendered
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.summary import curves, metrics
from lake.files.publishing import published_folder
from pipeline.project.context import RunContext
from pipeline.project.outputs import sealed, write_figures
from pipeline.reporting.mirror import mirror
from pipeline.reporting.report_inputs import gather


def run(context: RunContext, params: ReportParams) -> None:
    inputs = gather(context, params)
    _write_page(context, rendered(inputs))
    _write_summary(context, inputs)
    mirror(context.root, inputs)


def _write_page(context: RunContext, page: Page) -> None:
    """The page, and the files of its figures in a folder beside it."""
    with published_folder(context.root.report, context.work("page")) as folder:
        (folder / "index.html").write_text(sealed(page.html), encoding="utf-8")
        write_figures(folder / FOLDER, page.files)


def _write_summary(context: RunContext, inputs: ReportInputs) -> None:
    """One file of metrics per generation, one file per kind of curve."""
    names = [item.name for item in inputs.generations]
    with published_folder(context.root.metrics, context.work("metrics", names)) as folder:
        for item in inputs.generations:
            found = metrics(item, inputs.params.headline_threshold_id)
            (folder / f"{item.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    with published_folder(context.root.plots, context.work("plots")) as folder:
        for name, frame in curves(inputs).items():
            frame.to_csv(folder / f"{name}.csv", index=False)
