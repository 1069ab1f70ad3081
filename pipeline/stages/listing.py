"""List the survey's files, the registry's records and the lists that people judged, at every run: stages depend on the
listings, and run again when a file's content changed."""

from __future__ import annotations

from etl.files import listing
from pipeline.project.project import Project

FOLDERS = ("sweeps", "coadds")


def run(project: Project) -> None:
    survey = project.survey.folder
    for name in FOLDERS:
        folder = f"{survey if '://' in survey else project.folder / survey}/{name}"
        listing.write(folder, project.data.local / "listing" / f"{name}.jsonl", listing.memory(project.data, folder))
    for own in (project.data.registry, project.data.judged):
        name = f"{own.name}.jsonl"
        listing.write(str(own), project.data.local / "listing" / name, project.data.work("listing", name))
