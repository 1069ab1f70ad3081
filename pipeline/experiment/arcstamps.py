"""Stamps with arcs, real and injected, for the diagnostic of their morphology."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.diagnostics.arc_morphology import Params
from analysis.results.arcs import INJECTED, PAINTED, REAL, RENDERED, ArcStamps
from injection.experiment.arc_finder import FOUND_SNR
from injection.experiment.setting import Setting
from lake.store.stamps import StampStore
from pipeline.experiment.describing import keyed_order
from pipeline.experiment.grids import scored_setting
from pipeline.experiment.truelenses import TrueLenses
from pipeline.project.context import RunContext


def arc_stamps(context: RunContext, objects: pd.DataFrame, store: StampStore, params: Params) -> ArcStamps | str:
    """Listed lenses of the test split and injections with a visible arc, or why there are none; where the truth of
    lenses is known, those lenses as painted and as rendered again."""
    rows = context.read("injections", slices=[context.generation])
    rows = rows.filter(pc.and_(pc.equal(rows["status"], "scored"), pc.greater_equal(rows["arc_snr"], FOUND_SNR)))
    lenses = objects[(objects["split"] == "test") & (objects["label"] == 1)]
    if not rows.num_rows or lenses.empty:
        return "there is no listed lens in the test split" if rows.num_rows else "no injection has a visible arc"
    chosen = one_per_host(rows, params.morphology_arcs, context.seed)
    setting = scored_setting(context, context.generation, chosen)
    groups = {REAL: store.get(lenses), INJECTED: np.asarray(setting.again(chosen).images)}
    known = TrueLenses.of(context.root, objects, context.survey.collection)
    if known is not None:
        groups |= _rendered_again(setting, known.first(params.morphology_arcs, context.seed), store)
    return ArcStamps(groups, setting.grid.sky_annulus_px)


def one_per_host(rows: pa.Table, count: int, seed: int) -> pa.Table:
    """Up to ``count`` injections in keyed order, the first of each host."""
    order = keyed_order(seed, rows["injection_id"].to_pylist())
    hosts = np.asarray(rows["galaxy_id"])[order]
    first = np.sort(np.unique(hosts, return_index=True)[1])
    return rows.take(pa.array(order[first[:count]])).combine_chunks()


def _rendered_again(setting: Setting, known: TrueLenses, store: StampStore) -> dict[str, np.ndarray]:
    painted = store.get(known.truth)
    made = replace(setting, hosts=known.hosts(painted)).on_cpu().draw(known.in_place().combine_chunks())
    return {PAINTED: painted, RENDERED: np.asarray(made.images)}
