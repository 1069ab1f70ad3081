"""Populations for the realism probe: injections drawn again, their bare hosts, real lenses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.diagnostics.realism import HEADLINE, Params, Population
from analysis.results.features import texture_features
from injection.experiment.setting import Setting
from lake.scorer import Scorer
from lake.store.stamps import StampStore
from pipeline.experiment.grids import sample, scored_setting
from pipeline.experiment.scoring import conditions_of
from pipeline.project.context import RunContext

Pairs = Mapping[str, tuple[Population, Population]]


def populations(
    context: RunContext, objects: pd.DataFrame, store: StampStore, scorer: Scorer, params: Params
) -> tuple[Pairs, str]:
    """Pairs of populations for the realism probe, and the space they are compared in, from the lake."""
    rows = context.read("injections", slices=[context.generation])
    bright = rows.filter(pc.less_equal(rows["src_mag_r"], params.probe_source_mag_max))
    chosen = sample(bright, params.sample_per_class, context.seed)
    setting = scored_setting(context, context.generation, chosen)
    lenses = objects[(objects["label"] == 1) & (objects["split"] == "test")]
    return paired(scorer, setting, chosen, lenses, store.get(lenses))


def paired(
    scorer: Scorer, setting: Setting, chosen: pa.Table, lenses: pd.DataFrame, stamps: NDArray[np.float32]
) -> tuple[Pairs, str]:
    """Real lenses (``galaxy_id``, ``tier``, conditions) against injections drawn again; as controls the bare hosts
    against the injections and against real lenses, and Tier A against Tier B."""
    drawn, ids = setting.again(chosen), chosen["galaxy_id"].to_pylist()
    hosts = np.asarray(ids)
    of_hosts = setting.hosts.conditions(scorer.conditions, setting.hosts.rows_of(ids)) if scorer.conditions else None
    with_arc = Population(_described(scorer, drawn.images, of_hosts), hosts)
    without = Population(_described(scorer, drawn.bare, of_hosts), hosts)
    real = _described(scorer, stamps, conditions_of(lenses, scorer.conditions))
    found = Population(real, lenses["galaxy_id"].to_numpy())
    tier_a = (lenses["tier"] == "A").to_numpy()
    return {
        HEADLINE: (with_arc, found),
        "injections_against_bare_hosts": (with_arc, without),
        "bare_hosts_against_listed_lenses": (without, found),
        "tier_a_against_tier_b": (_part(found, tier_a), _part(found, ~tier_a)),
    }, "embedding of the network" if hasattr(scorer, "embed") else "texture features"


def _described(scorer: Scorer, stamps: Any, conditions: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """The finder's own features of stamps, or texture features if it has none."""
    embed = getattr(scorer, "embed", None)
    return np.asarray(texture_features(stamps) if embed is None else embed(stamps, conditions))


def _part(population: Population, mask: NDArray[np.bool_]) -> Population:
    return Population(population.features[mask], np.asarray(population.hosts)[mask])
