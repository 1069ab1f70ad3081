"""Running one stage: parameters in, one call, errors that say what to do."""

from __future__ import annotations

import importlib
import pkgutil
from typing import get_type_hints

from lake import gc_tuning
from lake.errors import not_one_of
from lake.names import checked_name
from pipeline import stages
from pipeline.project import params
from pipeline.project.context import stage_run
from pipeline.project.project import Project

WITHOUT_SECTION = ("ingest", "history")
"""Stages that have nothing to choose."""


def stage_names() -> list[str]:
    """All stages, one module each."""
    return sorted(module.name for module in pkgutil.iter_modules(stages.__path__))


def run_stage(project: Project, stage: str, generation: str | None) -> None:
    """Run a stage with its section of the parameters and ``survey``, in the context that its ``run`` asks for."""
    if stage not in stage_names():
        raise not_one_of("stage", stage_names(), stage)
    if generation is not None:
        checked_name(generation, "generation")
    module = importlib.import_module(f"pipeline.stages.{stage}")
    gc_tuning.spare_imported()
    section = None if stage in WITHOUT_SECTION else params.section(project, stage, generation)
    kind = get_type_hints(module.run)["context"]
    with stage_run(stage, generation, project, kind) as context:
        module.run(context, section)
