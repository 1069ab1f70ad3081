"""The chain from true lenses to completeness, one link at a time, for any finder: what `dhs closure` compares.

The lenses of a simulated survey are known. As painted they give the finder's true completeness. The same parameters are
then rendered into the lenses' own hosts (tests the renderer), and into hosts of the grid (tests the hosts). Last
come the grid's own injections, reweighted to the lens population (tests the prior and the weights).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import expit

from analysis.diagnostics.closure import Chain, Params
from demo.config import DemoParams
from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from lake.errors import DataError
from lake.scorer import Scorer
from lake.sky.hashing import key_hash
from lake.sky.photometry import depth_mag_from_psfdepth
from lake.sky.survey import BANDS
from lake.store.stamps import StampStore
from pipeline.experiment.grids import scored_setting
from pipeline.experiment.reweighting import drawn_from
from pipeline.project.context import RunContext
from pipeline.project.outputs import grid_facts
from pipeline.realism.hostlight import host_light
from pipeline.realism.hostweights import HostWeights, Weighted, survey_weights
from pipeline.realism.lenspopulation import Drawn, as_frame, balanced, population_weights, uncovered
from pipeline.realism.truelenses import TrueLenses

Floats = NDArray[np.float64]

NO_INJECTION = "no injection of the grid was scored"
_BATCH = 256
_NEAREST = 12
"""Hosts of which those of one lens are drawn: the nearest in seeing and depth; more if more are wanted."""


@dataclass(frozen=True)
class Ingredients:
    """What the chain is made from; tests replace one of them by a wrong one."""

    lenses: TrueLenses
    painted: NDArray[np.float32]
    """Stamps of the lenses (lens, band, y, x) nMgy as painted"""
    setting: Setting
    """The grid's renderer and hosts"""
    scorer: Scorer
    seed: int
    host_weights: HostWeights

    @cached_property
    def of_hosts(self) -> Weighted:
        """Weights of the grid's hosts, which several links take; made once, because that may fit a propensity."""
        return self.host_weights(self.setting.hosts)


def audit_manifest(context: RunContext) -> pd.DataFrame:
    """Rows of the audit manifest."""
    return context.read("manifest", slices=[context.survey.audit_manifest]).to_pandas()


def scored_objects(context: RunContext, manifest: pd.DataFrame) -> pd.DataFrame:
    """The same with the finder's scores."""
    scores = context.read("scores", slices=[context.generation]).to_pandas()
    return manifest.merge(
        scores[["galaxy_id", "score", "probability", "seen_in_training", "trained_on"]], on="galaxy_id"
    )


def survey_chain(
    context: RunContext, objects: pd.DataFrame, store: StampStore, scorer: Scorer, params: Params
) -> Chain | str | None:
    """The chain of the lake's survey and a finder's grid, or why there is none; None where the survey's lenses are not
    known."""
    lenses = TrueLenses.of(context.root, objects, context.survey.collection)
    if lenses is None:
        return None
    if lenses.refusal:
        return lenses.refusal
    injections = context.read("injections", slices=[context.generation])
    if not injections.num_rows:
        return NO_INJECTION
    setting = scored_setting(context, context.generation, injections)
    weigh = partial(survey_weights, context)
    made = Ingredients(lenses, store.get(lenses.truth), setting, scorer, context.seed, weigh)
    found = chain(made, params, partial(_stored_grid, context, injections))
    return found.unscored or found


def _stored_grid(context: RunContext, injections: pa.Table, made: Ingredients) -> pd.DataFrame | str:
    """The injections of the lake, reweighted to the lenses, or why they cannot be."""
    scores = context.read("injection_scores", ["injection_id", "status", "probability"], slices=[context.generation])
    both = injections.drop_columns("probability") if "probability" in injections.column_names else injections
    rows = both.join(scores.filter(pc.equal(scores["status"], "scored")), "injection_id", join_type="inner")
    if not rows.num_rows:
        return NO_INJECTION
    rows = rows.sort_by("injection_id").combine_chunks()
    prior = drawn_from(grid_facts(context.root, context.generation), context.generation)
    drawn = Drawn(rows, made.setting.hosts, prior, made.setting.grid)
    if (reason := uncovered(drawn, made.lenses)) is not None:
        return reason
    weight = population_weights(drawn, made.lenses, context.project.section(DemoParams, "demo").lenses)
    return as_frame(drawn, rows["probability"].to_numpy(), weight, made.of_hosts.weights)


def chain(made: Ingredients, params: Params, grid: Callable[[Ingredients], pd.DataFrame | str] | None = None) -> Chain:
    """All links that can be measured; ``grid`` gives its injections as in `Chain.grid`, or says why it cannot."""
    lenses = made.lenses
    own_setting = replace(made.setting, hosts=lenses.hosts(made.painted))
    own = rendered(own_setting, made.scorer, lenses.in_place())
    painted, seen = lenses.truth["probability"], lenses.truth["seen"]
    frame = lenses.truth[["galaxy_id"]].assign(painted=painted, own=own.pop("probability"), seen=seen)
    frame = frame.assign(**_light_ratios(lenses.truth, own))
    light = host_light(own_setting.hosts, lenses.truth["galaxy_id"].tolist()).add_prefix("hosts/")
    frame = pd.concat([frame, light, balanced(lenses.rows)], axis=1)
    pairs = paired_hosts(lenses.truth, made.setting.hosts, params.closure_hosts_per_lens, made.seed)
    rows = lenses.rows.take(pa.array(pairs["lens"])).append_column("galaxy_id", pa.array(pairs["host"]))
    names = [f"{lens}|{host}" for lens, host in zip(rows["injection_id"].to_pylist(), pairs["host"], strict=True)]
    rows = rows.set_column(rows.column_names.index("injection_id"), "injection_id", pa.array(names))
    pairs["probability"] = rendered(made.setting, made.scorer, rows)["probability"]
    used, which = np.unique(pairs["host"].to_numpy(str), return_inverse=True)
    light = host_light(made.setting.hosts, used.tolist()).add_prefix("hosts/")
    pairs = pd.concat([pairs, light.iloc[which].reset_index(drop=True)], axis=1)
    place = made.setting.hosts.rows_of(pairs["host"].tolist())
    weights = {name: values[place] for name, values in made.of_hosts.weights.items()}
    found = "the grid's injections were not compared" if grid is None else grid(made)
    errors = made.of_hosts.errors(made.setting.hosts)
    linked = Chain(frame, pairs.assign(**weights), tuple(weights), errors=errors)
    return replace(linked, grid_refused=found) if isinstance(found, str) else replace(linked, grid=found)


def rendered(setting: Setting, scorer: Scorer, rows: pa.Table) -> dict[str, Floats]:
    """Probability, and light of the arcs, of drawn rows; DataError if one cannot be injected.

    ``arc_flux_<band>`` (nMgy) and ``arc_norm_<band>``, the root of the summed squares, are without noise.
    """
    parts: list[dict[str, Any]] = []
    for start in range(0, rows.num_rows, _BATCH):
        some = rows.slice(start, _BATCH).combine_chunks()
        drawn = setting.draw(some)
        failed = [reason for reason in drawn.reasons if reason is not None]
        if failed:
            raise DataError(f"{len(failed)} lenses cannot be injected, first: {failed[0]}")
        names = scorer.conditions
        places = setting.hosts.rows_of(some["galaxy_id"].to_pylist())
        conditions = setting.hosts.conditions(names, places) if names else None
        images = np.asarray(drawn.images, dtype=np.float32)
        logits = scorer.score(images) if conditions is None else scorer.score(images, conditions)
        light = np.asarray(drawn.arcs.images, dtype=np.float64)
        found = {"probability": expit(np.asarray(logits, dtype=np.float64))}
        for index, band in enumerate(setting.hosts.imaging.bands):
            found[f"arc_flux_{band}"] = light[:, index].sum(axis=(1, 2))
            found[f"arc_norm_{band}"] = np.sqrt(np.square(light[:, index]).sum(axis=(1, 2)))
        parts.append(found)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def paired_hosts(truth: pd.DataFrame, hosts: HostSet, per_lens: int, seed: int) -> pd.DataFrame:
    """Hosts (`lens`: place among the lenses, `host`: galaxy_id) for each lens, of those in the most similar conditions.

    A lens of a given brightness is harder to find in worse seeing: with hosts in other conditions the comparison would
    measure those.
    """
    of_hosts = np.stack([hosts.fwhm_nea_arcsec[:, hosts.imaging.reference], hosts.depth_mag], axis=1)
    band = hosts.imaging.reference_band
    own = [truth[f"psfsize_{band}"].to_numpy(), depth_mag_from_psfdepth(truth[f"psfdepth_{band}"].to_numpy())]
    scale = np.maximum(of_hosts.std(axis=0), 1e-6)
    near = min(max(_NEAREST, per_lens), len(of_hosts))
    _, found = cKDTree(of_hosts / scale).query(np.stack(own, axis=1) / scale, k=near)
    ids = np.asarray(hosts.ids)[np.reshape(found, (len(truth), near))]
    keys = [f"{lens}|{host}" for lens, row in zip(truth["galaxy_id"], ids, strict=True) for host in row]
    order = np.argsort(key_hash(seed, pa.array(keys)).reshape(ids.shape), axis=1, kind="stable")[:, :per_lens]
    chosen = np.take_along_axis(ids, order, axis=1)
    return pd.DataFrame({"lens": np.repeat(np.arange(len(truth)), chosen.shape[1]), "host": chosen.ravel()})


def _light_ratios(truth: pd.DataFrame, own: dict[str, Floats]) -> dict[str, Floats]:
    """Light of the arcs as rendered over that of the truth: total (`flux_<band>`), and root of squares (`norm_<band>`),
    which a wrong PSF changes."""
    ratios = {}
    for band in BANDS:
        ratios[f"flux_{band}"] = own[f"arc_flux_{band}"] / truth[f"arc_flux_{band}_nmgy"].to_numpy()
        norm = truth[f"arc_snr_{band}"] * truth[f"pixel_sigma_nmgy_{band}"]
        ratios[f"norm_{band}"] = own[f"arc_norm_{band}"] / norm.to_numpy()
    return ratios
