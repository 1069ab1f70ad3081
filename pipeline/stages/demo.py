"""Write the simulated demo survey in the survey's own file formats, and its truth apart."""

from __future__ import annotations

from pathlib import Path

from demo.config import DemoParams
from demo.survey import write_survey
from pipeline.context import RunContext


def run(context: RunContext, params: DemoParams) -> None:
    write_survey(params, context.survey, Path(context.survey.folder), context.root.truth)
