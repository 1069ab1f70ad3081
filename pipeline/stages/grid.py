"""Fill the selection-function grid: inject, preprocess and score as one stream; parameters and scores are kept."""

from __future__ import annotations

from injection.config import GridParams
from lake.store.views import MAIN
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.grids import fill_grid, survey_setting
from pipeline.project.context import RunContext


def run(context: RunContext, params: GridParams) -> None:
    generation = context.generation
    scorer = load_scorer(context.root.checkpoints(generation))
    fill_grid(context, survey_setting(context, params, context.seed), scorer, MAIN, generation)
