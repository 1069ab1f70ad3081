"""Inject and score the trials of one finder: experiments that change one thing at a time, in pairs."""

from __future__ import annotations

from injection.experiment.designs import TrialsParams
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.trials import trials_of
from pipeline.project.context import RunContext
from pipeline.project.outputs import grid_facts


def run(context: RunContext, params: TrialsParams) -> None:
    generation = context.generation
    scorer = load_scorer(context.root.checkpoints(generation))
    context.note_input(f"checkpoint:{generation}", scorer.checkpoint_id)
    context.note_input(f"grid:{generation}", grid_facts(context.root, generation)["grid_id"])
    where = {"checkpoint_id": scorer.checkpoint_id, "generation": generation}
    context.write("trials", trials_of(context, params, scorer), generation, where)
