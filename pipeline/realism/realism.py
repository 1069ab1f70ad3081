"""Groups of stamps for the diagnostics of realism: injections drawn again, their bare hosts, real lenses, negatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.comparisons import populations as held
from analysis.comparisons.populations import Population, Populations
from analysis.diagnostics import feature_space, realism
from analysis.fitted import propensity
from analysis.results.untouched import LENS, NEGATIVE, Untouched, untouched
from injection.experiment.setting import Setting
from injection.keyed import Keyed
from lake.errors import DataError
from lake.scorer import Scorer
from lake.store.stamps import StampStore
from pipeline.experiment.grids import sample, scored_setting
from pipeline.experiment.lenshosts import lens_hosts
from pipeline.experiment.scoring import conditions_of
from pipeline.project.context import RunContext
from pipeline.realism.describing import collected, described, drawn, in_hosts, keyed_order
from pipeline.realism.ladder import NO_TRUTH, RUNGS, Weigh, ladder_groups
from pipeline.realism.truelenses import TrueLenses

Images = NDArray[np.float32]
Get = Callable[[pd.DataFrame], Images]
Floats = NDArray[np.float64]
Groups = dict[str, Population]
NO_INJECTION = "no injection of the grid that is bright enough was scored"
_INJECTED = (
    *(held.INJECTIONS, held.BARE_HOSTS, held.LOW_OFFSET, held.HIGH_OFFSET),
    *(held.MATCHED_INJECTIONS, held.MATCHED_NEGATIVES),
)
"""Groups that are made with the setting of the grid's injections."""


class Params(realism.Params, feature_space.Params):
    """What the groups are made with."""


def populations(
    context: RunContext, objects: pd.DataFrame, store: StampStore, scorer: Scorer, params: Params
) -> Populations:
    """All groups that the lake of a survey allows; for a finder without embedding those alone that have scores or
    texture."""
    tested = untouched(objects[objects["split"] == "test"])
    absent = _refused(tested)
    lenses, negatives = tested.of(LENS), tested.of(NEGATIVE)
    order = keyed_order(context.seed, negatives["galaxy_id"].tolist())
    groups = of_lenses(scorer, lenses, store.get)
    groups[held.NEGATIVES] = _of_objects(scorer, negatives.iloc[order[: params.feature_per_group]], store.get)
    rows = context.read("injections", slices=[context.generation])
    rows = rows.filter(pc.equal(rows["status"], "scored"))
    bright = rows.filter(pc.less_equal(rows["src_mag_r"], params.probe_source_mag_max))
    if not bright.num_rows:
        return collected(groups, dict.fromkeys((*_INJECTED, *RUNGS), NO_INJECTION) | absent, scorer)
    chosen = sample(bright, params.probe_injections, context.seed)
    setting = scored_setting(context, context.generation, chosen)
    groups |= of_grid(scorer, setting, chosen) | _bright_arcs(scorer, setting, params)
    if not hasattr(scorer, "embed"):
        return collected(groups, absent, scorer)
    weigh: Weigh | None = None
    try:
        ids = [*setting.hosts.ids.to_pylist(), *negatives["galaxy_id"]]
        weigh = lens_hosts(context.read, context.survey, ids, propensity.DEFAULT).of
    except DataError as error:
        absent = dict.fromkeys((held.MATCHED_INJECTIONS, held.MATCHED_NEGATIVES, held.LENS_LIKE), str(error)) | absent
    else:
        groups |= _matched(scorer, setting, bright, negatives, store, weigh, params.probe_matched)
    known = TrueLenses.of(context.root, objects, context.survey.collection)
    why = NO_TRUTH if known is None else known.refusal
    if known is None or why is not None:
        return collected(groups, dict.fromkeys(RUNGS, why or NO_TRUTH) | absent, scorer)
    known = known.untouched.first(params.ladder_lenses, context.seed)
    return collected(groups | ladder_groups(context, scorer, setting, known, store, weigh), absent, scorer)


def of_set(scorer: Scorer, setting: Setting, chosen: pa.Table, lenses: pd.DataFrame, get: Get) -> Populations:
    """The groups that a set of cut-outs allows: injections, their bare hosts, labelled lenses."""
    tested = untouched(lenses)
    groups = of_grid(scorer, setting, chosen) | of_lenses(scorer, tested.of(LENS), get)
    return collected(groups, dict.fromkeys(RUNGS, NO_TRUTH) | _refused(tested), scorer)


def _refused(tested: Untouched) -> dict[str, str]:
    """Why groups of test objects are not made: the finder has seen too many of them."""
    made = {LENS: (held.LISTED, held.TIER_A, held.TIER_B), NEGATIVE: (held.NEGATIVES, held.MATCHED_NEGATIVES)}
    reasons = {label: tested.refusal((label,)) for label in made}
    return {name: why for label, why in reasons.items() if why for name in made[label]}


def of_grid(scorer: Scorer, setting: Setting, chosen: pa.Table) -> Groups:
    """Injections drawn again, and the same hosts without arcs."""
    made, ids = setting.again(chosen), chosen["galaxy_id"].to_pylist()
    return {
        held.INJECTIONS: in_hosts(scorer, setting, made.images, ids, texture=True),
        held.BARE_HOSTS: in_hosts(scorer, setting, np.asarray(made.bare), ids),
    }


def of_lenses(scorer: Scorer, lenses: pd.DataFrame, get: Get) -> Groups:
    """Listed lenses (``galaxy_id``, ``tier``, conditions), together and by tier; ``get`` gives their stamps."""
    found = _of_objects(scorer, lenses, get, texture=True)
    tier_a = (lenses["tier"] == "A").to_numpy()
    return {held.LISTED: found, held.TIER_A: found.part(tier_a), held.TIER_B: found.part(~tier_a)}


def _of_objects(scorer: Scorer, objects: pd.DataFrame, get: Get, texture: bool = False) -> Population:
    """A group of survey objects, which may be none."""
    if objects.empty:
        nothing = np.zeros(0, dtype=np.str_)
        return Population(nothing, np.zeros(0), {}, nothing)
    conditions = conditions_of(objects, scorer.conditions)
    return described(scorer, get(objects), conditions, objects["galaxy_id"].tolist(), texture)


def _bright_arcs(scorer: Scorer, setting: Setting, params: Params) -> Groups:
    """The reference's injections: one source magnitude and one Einstein radius, in two ranges of source offsets."""
    ranges = {held.LOW_OFFSET: params.feature_low_offset, held.HIGH_OFFSET: params.feature_high_offset}
    return {name: drawn(scorer, setting, _bright_rows(setting, name, ends, params)) for name, ends in ranges.items()}


def _bright_rows(setting: Setting, name: str, ends: tuple[float, float], params: Params) -> pa.Table:
    """Parameters drawn from the grid's prior but for magnitude, Einstein radius and offset (uniform in area)."""
    count, low, high = params.feature_per_group, *ends
    ids = pa.array([f"{name} {number}" for number in range(count)])
    offset = np.sqrt(low**2 + (high**2 - low**2) * Keyed(setting.seed, ids).uniform("bright_arc_offset"))
    given = {
        "injection_id": ids,
        "galaxy_id": pa.array(setting.hosts.choose(count, setting.seed, name)),
        "lens_theta_e_arcsec": np.full(count, params.feature_theta_e_arcsec),
        setting.hosts.imaging.source_columns[0]: np.full(count, params.feature_source_mag),
        "src_beta_frac": offset,
    }
    return setting.parameters(pa.table(given))


def _matched(
    scorer: Scorer,
    setting: Setting,
    bright: pa.Table,
    negatives: pd.DataFrame,
    store: StampStore,
    weigh: Weigh,
    count: int,
) -> Groups:
    """Injections of the grid, and negatives, drawn by the propensity of their galaxies to host a lens."""
    of_hosts = weigh(bright["galaxy_id"].to_pandas())
    order = keyed_order(setting.seed, bright["injection_id"].to_pylist(), of_hosts)
    rows = bright.take(pa.array(order[: min(count, int((of_hosts > 0).sum()))]))
    weights = weigh(negatives["galaxy_id"])
    others = keyed_order(setting.seed, negatives["galaxy_id"].tolist(), weights)
    alike = negatives.iloc[others[: min(count, int((weights > 0).sum()))]]
    return {
        held.MATCHED_INJECTIONS: drawn(scorer, setting, rows),
        held.MATCHED_NEGATIVES: _of_objects(scorer, alike, store.get),
    }
