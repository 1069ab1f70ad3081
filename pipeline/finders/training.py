"""Trains a generation after what it starts from, or says what that would need and do."""

from __future__ import annotations

from pipeline.finders.reproduce import reproduce
from pipeline.project.generations import Wanted, chain, enlist
from pipeline.project.project import Project
from pipeline.training.readiness import readiness, summary


def train(project: Project, wanted: Wanted) -> None:
    """Add a generation to params.yaml and have DVC run what is not up to date."""
    reproduce(project, f"train@{enlist(project, wanted).name}")


def dry_run(project: Project, wanted: Wanted) -> tuple[str, bool]:
    """What was found, as text, and whether nothing is missing; nothing is changed."""
    found = readiness(project, chain(project, wanted))
    return summary(found), all(each.good for each in found)
