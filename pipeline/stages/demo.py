"""Write the simulated demo survey in the survey's own file formats, and its truth apart."""

from __future__ import annotations

from pathlib import Path

from demo.config import DemoParams
from demo.survey import write_survey
from lake.files.publishing import published_folder
from pipeline.project.context import RunContext


def run(context: RunContext, params: DemoParams) -> None:
    work = context.work(params.digest(), context.survey.digest())
    survey, truth = work / "survey", work / "truth"
    write_survey(params, context.survey, survey, truth)
    with published_folder(context.root.truth, truth), published_folder(Path(context.survey.folder), survey):
        pass
