"""The experiments of one finder: their trials injected like the grid's, and scored."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.results.reweighting import Weights
from injection.config import HostModel
from injection.experiment.designs import TrialsParams, experiments
from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from injection.experiment.stream import Remembering
from injection.experiment.trials import Experiment, HostsOf, Variant, tried
from injection.priors.registry import draw, load_prior
from injection.priors.reweighting import THETA_E, Change, not_of_prior
from lake.errors import DataError, ParameterError
from lake.scorer import Scorer
from lake.sky.survey import SURVEY
from modeling.scoring.card import FINDER
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.gridparams import as_filled, grid_params
from pipeline.experiment.reweighting import drawn_from
from pipeline.experiment.surveyhosts import survey_hosts
from pipeline.experiment.trainedon import trained_by
from pipeline.project.context import RunContext
from pipeline.project.outputs import grid_facts

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

    base = as_filled(context.root, context.generation, Setting.of(grid, hosts_of(grid.host_model), context.seed))
    parts, of_hosts = [], dict[str, Remembering]()
    for experiment in experiments(params):
        for variant in experiment.variants:
            of_variant = scorer_of(folder, variant, scorer)
            if of_variant is None:
                log.info("%s/%s: not measured, the finder's preprocessing is its own", experiment.name, variant.name)
                continue
            hosts = of_hosts.setdefault(str(sorted(variant.preprocessing.items())), Remembering(of_variant))
            parts += _tried(experiment, variant, base, hosts_of, (of_variant, hosts))
    rows = pa.concat_tables(parts)
    own = {"checkpoint_id": scorer.checkpoint_id, "generation": context.generation}
    for name, value in own.items():
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return rows


def _tried(
    experiment: Experiment, variant: Variant, base: Setting, hosts_of: HostsOf, scorers: tuple[Scorer, Scorer]
) -> list[pa.Table]:
    """The trials of one variant; none where the survey's hosts or the grid's prior do not allow it."""
    try:
        return [tried(experiment, variant, base, hosts_of, *scorers)]
    except DataError as error:
        log.warning("%s/%s: not measured, %s", experiment.name, variant.name, error)
        return []


def trial_weights(context: RunContext, rows: pd.DataFrame, prior: str) -> Weights | str:
    """Weight of each of some trials whose parameters, but for the Einstein radius, the grid's prior drew, under another
    prior; or why there are none."""
    grid = grid_params(context.root, context.generation)
    plain = grid.model_copy(update={"lens_shape": "independent"})
    try:
        drawn = drawn_from(grid_facts(context.root, context.generation), context.generation)
        target = load_prior(prior)
    except (DataError, ParameterError) as error:
        return str(error)
    change = Change(drawn, target, SURVEY, (THETA_E, *not_of_prior(plain, SURVEY)))
    seeds = rows["seed"].unique()
    if len(seeds) != 1:
        return "the trials were drawn with different seeds"
    given = {THETA_E: rows["theta_e_arcsec"].to_numpy(float)}
    again = draw(drawn, pa.array(rows["trial_id"].to_numpy(str)), int(seeds[0]), SURVEY, given)
    return Weights(prior, np.exp(change.log_weights(again)), change.support(len(rows)))


def scorer_of(folder: Path, variant: Variant, scorer: Scorer) -> Scorer | None:
    """The finder as a variant wants it; None where it preprocesses stamps in its own way, which cannot be changed."""
    if not variant.preprocessing:
        return scorer
    return None if (folder / FINDER).exists() else load_scorer(folder, foreign=dict(variant.preprocessing))
