"""Stamps with arcs, real and injected, for the diagnostic of their morphology."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.comparisons.arcs import DEPTH, INJECTED, PAINTED, REAL, RENDERED, SEEING, ArcStamps
from analysis.diagnostics.arc_morphology import Params
from analysis.results.untouched import LENS, untouched
from injection.experiment.arc_finder import FOUND_SNR
from injection.experiment.setting import Setting
from lake.sky.photometry import depth_mag_from_psfdepth
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore
from pipeline.experiment.grids import scored_setting
from pipeline.project.context import RunContext
from pipeline.realism.describing import keyed_order
from pipeline.realism.truelenses import TrueLenses

CONDITIONS = [f"{kind}_{SURVEY.reference_band}" for kind in ("psfsize", "psfdepth")]


def arc_stamps(context: RunContext, objects: pd.DataFrame, store: StampStore, params: Params) -> ArcStamps | str:
    """Untouched lenses of the test split and injections with a visible arc, or why there are none; where the truth of
    lenses is known, those lenses as painted and as rendered again."""
    rows = context.read("injections", slices=[context.generation])
    rows = rows.filter(pc.and_(pc.equal(rows["status"], "scored"), pc.greater_equal(rows["arc_snr"], FOUND_SNR)))
    tested = untouched(objects[objects["split"] == "test"])
    if (why := tested.refusal((LENS,))) is not None:
        return why
    lenses = tested.of(LENS)
    if not rows.num_rows or lenses.empty:
        return "there is no listed lens in the test split" if rows.num_rows else "no injection has a visible arc"
    chosen = one_per_host(rows, params.morphology_arcs, context.seed)
    setting = scored_setting(context, context.generation, chosen)
    groups = {REAL: store.get(lenses), INJECTED: setting.again(chosen).images}
    known = TrueLenses.of(context.root, objects, context.survey.collection)
    if known is not None and not known.refusal:
        groups |= _rendered_again(setting, known.untouched.first(params.morphology_arcs, context.seed), store)
    on = {REAL: conditions(lenses), INJECTED: host_conditions(chosen)}
    return ArcStamps(groups, on, setting.grid.sky_annulus_px)


def conditions(objects: pd.DataFrame) -> pd.DataFrame:
    """Seeing and depth of survey objects."""
    seeing, psfdepth = (objects[name].to_numpy(np.float64) for name in CONDITIONS)
    return pd.DataFrame({SEEING: seeing, DEPTH: depth_mag_from_psfdepth(psfdepth)})


def host_conditions(rows: pa.Table) -> pd.DataFrame:
    """The same of injections."""
    band = SURVEY.reference_band
    names = {SEEING: f"host_psf_fwhm_nea_{band}_arcsec", DEPTH: f"host_depth_{band}_mag"}
    return pd.DataFrame({kind: rows[name].to_numpy().astype(np.float64) for kind, name in names.items()})


def one_per_host(rows: pa.Table, count: int, seed: int) -> pa.Table:
    """Up to ``count`` injections in keyed order, the first of each host."""
    order = keyed_order(seed, rows["injection_id"].to_pylist())
    hosts = np.asarray(rows["galaxy_id"])[order]
    first = np.sort(np.unique(hosts, return_index=True)[1])
    return rows.take(pa.array(order[first[:count]])).combine_chunks()


def _rendered_again(setting: Setting, known: TrueLenses, store: StampStore) -> dict[str, np.ndarray]:
    painted = store.get(known.truth)
    made = replace(setting, hosts=known.hosts(painted)).draw(known.in_place().combine_chunks())
    return {PAINTED: painted, RENDERED: made.images}
