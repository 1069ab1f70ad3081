"""Removing a finder: its name in params.yaml, what its stages made, its folder, its runs; everything else stays."""

from __future__ import annotations

import shutil

from lake.errors import invalid
from lake.names import checked_name
from modeling.scoring.card import CARD
from modeling.tracking.runs import forget_runs
from pipeline import wiring
from pipeline.project import params
from pipeline.project.project import Project


def forget(project: Project, name: str) -> list[str]:
    """Remove a finder that is not trained here, or the slices that `dhs inject` left; return what was removed.

    The rows of its slices stay in the tables' history, where nothing reads them. Its MLflow runs are deleted as MLflow
    does it: they can be restored until `mlflow gc`.
    """
    checked_name(name, "name")
    root = project.data
    if name in project.trained or (root.checkpoints(name) / CARD).exists():
        raise invalid("name", "a user's own finder, not a network that was trained here", name)
    removed = [f"'{name}' in {params.FILE}"] if params.set_audited(project, remove=name) else []
    folders = (root.checkpoints(name), root.grid(name), root.local / "validation" / name, root.metrics / f"{name}.json")
    for path in (*wiring.made_for(project.folder, name), *folders):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        else:
            continue
        removed.append(str(path))
    if not removed:
        there = sorted({*project.audited, *root.finders()} - set(project.trained))
        raise invalid("name", f"one of the finders that are not trained here ({', '.join(there) or 'none'})", name)
    if runs := forget_runs(root, name):
        removed.append(f"{runs} runs in MLflow")
    return removed
