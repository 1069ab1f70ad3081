"""List the survey's files, the registry's records and the lists that people judged, at every run: stages depend on the
listings, and run again when a file's content changed."""

from __future__ import annotations

from pathlib import Path

from etl.files import listing
from lake.files import atomic
from pipeline.project.project import Project

FOLDERS = ("sweeps", "coadds")
NOTHING = "[]\n"


def run(project: Project) -> None:
    survey = project.survey.folder
    for name in FOLDERS:
        folder = f"{survey if '://' in survey else project.folder / survey}/{name}"
        _list(project, folder, name, listing.memory(project.data, folder))
    for own in (project.data.registry, project.data.judged):
        _list(project, str(own), own.name, project.data.work("listing", f"{own.name}.jsonl"))


def _list(project: Project, folder: str, name: str, memory: Path) -> None:
    """The listing of a folder; of one without files a single line, since DVC warns of files that are empty."""
    target = project.data.local / "listing" / f"{name}.jsonl"
    listing.write(folder, target, memory)
    if not target.stat().st_size:
        atomic.write_text(target, NOTHING)
