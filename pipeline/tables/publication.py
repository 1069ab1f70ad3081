"""The report for print, as a folder."""

from __future__ import annotations

from pathlib import Path

from analysis.config import ReportParams
from analysis.page.paper import paper_files
from lake.errors import invalid
from lake.files.publishing import replacing_folder
from pipeline.project.context import RunContext, stage_run
from pipeline.project.project import Project
from pipeline.reporting.report_inputs import gather


def write_paper(project: Project, folder: Path) -> list[Path]:
    """Write LaTeX tables, PDF figures and `main.tex` into a folder that is new or empty; return the files.

    They are written beside it first, so a folder that has files is whole.
    """
    require_new(folder)
    with stage_run("report", None, project, RunContext) as context:
        files = paper_files(gather(context, project.section(ReportParams, "report")))
    with replacing_folder(folder) as draft:
        for name, content in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
    return [folder / name for name in files]


def require_new(folder: Path) -> None:
    """Refuse, before any work, a folder that holds something."""
    if folder.exists() and not (folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())):
        raise invalid("paper", "a folder that does not exist or is empty", folder)
    if not folder.absolute().parent.is_dir():
        raise invalid("paper", "in a folder that exists", folder)
