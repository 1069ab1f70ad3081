"""Fill the selection-function grid: inject, preprocess and score as one stream; parameters and scores are kept."""

from __future__ import annotations

from injection.config import GridParams
from lake.store.views import MAIN
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.grids import fill_grid, survey_setting
from pipeline.experiment.trainedon import trained_by
from pipeline.project.context import RunContext


def run(context: RunContext, params: GridParams) -> None:
    generation = context.generation
    folder = context.root.checkpoints(generation)
    setting = survey_setting(context, params, context.seed, lambda rows: trained_by(folder, rows))
    fill_grid(context, setting, load_scorer(folder), MAIN, generation)
