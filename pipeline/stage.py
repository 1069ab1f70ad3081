"""Running one stage: parameters in, one call, errors that say what to do."""

from __future__ import annotations

import importlib
import pkgutil
from typing import get_type_hints

from lake import gc_tuning
from lake.errors import not_one_of
from lake.names import checked_name
from pipeline import stages
from pipeline.project.project import Project


def stage_names() -> list[str]:
    """All stages, one module each."""
    return sorted(module.name for module in pkgutil.iter_modules(stages.__path__))


def run_stage(project: Project, stage: str, generation: str | None) -> None:
    """Run a stage with what its ``run`` asks for: the project, or a context and the stage's parameters."""
    if stage not in stage_names():
        raise not_one_of("stage", stage_names(), stage)
    if generation is not None:
        checked_name(generation, "generation")
    module = importlib.import_module(f"pipeline.stages.{stage}")
    gc_tuning.spare_imported()
    wanted = get_type_hints(module.run)
    if "context" not in wanted:
        module.run(project)
        return
    from pipeline.project import params  # stages that run every time need neither
    from pipeline.project.context import stage_run

    section = None if wanted["params"] is type(None) else params.section(project, stage, generation)
    with stage_run(stage, generation, project, wanted["context"]) as context:
        if section is not None:
            context.note_input("parameters", section.digest())
        module.run(context, section)
