"""The experiments of one finder: their trials injected like the grid's, and scored."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import pyarrow as pa

from injection.config import HostModel
from injection.experiment.designs import TrialsParams, experiments
from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from injection.experiment.trials import Variant, tried
from lake.scorer import Scorer
from modeling.scoring.card import FINDER
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.gridparams import grid_params
from pipeline.experiment.surveyhosts import survey_hosts
from pipeline.experiment.trainedon import trained_by
from pipeline.project.context import RunContext

log = logging.getLogger(__name__)


def trials_of(context: RunContext, params: TrialsParams, scorer: Scorer) -> pa.Table:
    """Rows of ``trials`` of one finder, without lineage.

    Hosts are those of the finder's grid, and so is all that an experiment does not change. The seed is the same for all
    finders: trials of finders with the same hosts are the same.
    """
    folder, grid = context.root.checkpoints(context.generation), grid_params(context.root, context.generation)

    @cache
    def hosts_of(model: HostModel) -> HostSet:
        return survey_hosts(context.project, context.read, model, lambda rows: trained_by(folder, rows))

    base = Setting.of(grid, hosts_of(grid.host_model), context.seed)
    parts = []
    for experiment in experiments(params):
        for variant in experiment.variants:
            of_variant = scorer_of(folder, variant, scorer)
            if of_variant is None:
                log.info("%s/%s: not measured, the finder's preprocessing is its own", experiment.name, variant.name)
            else:
                parts.append(tried(experiment, variant, base, hosts_of, of_variant))
    rows = pa.concat_tables(parts)
    own = {"checkpoint_id": scorer.checkpoint_id, "generation": context.generation}
    for name, value in own.items():
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return rows


def scorer_of(folder: Path, variant: Variant, scorer: Scorer) -> Scorer | None:
    """The finder as a variant wants it; None where it preprocesses stamps in its own way, which cannot be changed."""
    if not variant.preprocessing:
        return scorer
    return None if (folder / FINDER).exists() else load_scorer(folder, foreign=dict(variant.preprocessing))
