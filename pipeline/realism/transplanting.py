"""Arcs of real lenses, and of injections like them, moved into the same hosts of the grid, as a finder scores them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import expit

from analysis.comparisons.arc_features import Ring
from analysis.comparisons.arcs import RADIUS, SNR, visibility
from analysis.diagnostics.transplants import Params, Transplants
from analysis.results.untouched import LENS, NEGATIVE, untouched
from injection.experiment.arc_finder import FOUND_SNR, Subtracted
from injection.experiment.setting import Setting
from injection.experiment.smooth_galaxies import CORE_ARCSEC, without_galaxies
from lake.scorer import Scorer
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore
from pipeline.experiment.grids import scored_setting
from pipeline.project.context import RunContext
from pipeline.realism.arcstamps import CONDITIONS, conditions, host_conditions, one_per_host
from pipeline.realism.describing import keyed_order
from pipeline.realism.ladder import distinct_hosts
from pipeline.realism.truelenses import TrueLenses

Images = NDArray[np.float32]
Floats = NDArray[np.float64]
Places = NDArray[np.int64]
_NEAREST = 12
"""Hosts, and galaxies that are no lenses, of those in the most similar seeing and depth, that one is chosen from."""


@dataclass(frozen=True)
class Arcs:
    """Stamps without their galaxies, and how well their arcs are seen."""

    found: Subtracted
    seen: pd.DataFrame
    """SNR, radius, area and colour of each arc, measured on the residual"""

    @classmethod
    def of(cls, stamps: Images, setting: Setting) -> Arcs:
        """Subtract galaxies and measure what is left."""
        found = without_galaxies(stamps, setting.grid.sky_annulus_px, SURVEY)
        return cls(found, visibility(found, SURVEY))

    def on(self, conditions: pd.DataFrame) -> Arcs:
        """The same with the conditions of their stamps."""
        return replace(self, seen=self.seen.assign(**conditions))

    @property
    def places(self) -> Places:
        """Stamps with an arc that counts as found."""
        return np.flatnonzero((self.seen[SNR] >= FOUND_SNR) & self.seen[RADIUS].notna())

    def light(self, places: Places) -> Floats:
        """What is moved (stamp, band, y, x): the residual outside the core, up to where neighbours are common."""
        return ring_weight(self.found.residual.shape[-1]) * np.nan_to_num(self.found.residual[places])


def ring_weight(side: int) -> Floats:
    """Weight (y, x) of the light that is moved."""
    return Ring.of(side, SURVEY, CORE_ARCSEC).weight


def transplants(
    context: RunContext, objects: pd.DataFrame, store: StampStore, scorer: Scorer, params: Params
) -> Transplants | str:
    """Arcs of the test split's untouched lenses of the wanted tiers in hosts of the finder's grid, or why there are
    none."""
    test = objects[(objects["split"] == "test") & (objects[CONDITIONS] > 0).all(axis=1)]
    tested = untouched(test[(test["label"] == NEGATIVE) | test["tier"].isin(params.transplant_tiers)])
    lenses, negatives = tested.of(LENS), tested.of(NEGATIVE)
    if lenses.empty or negatives.empty:
        lacking = f"listed lens of tier {' or '.join(params.transplant_tiers)}" if lenses.empty else "negative"
        return tested.refusal() or f"the test split has no {lacking}"
    rows = context.read("injections", slices=[context.generation])
    visible = pc.and_(pc.equal(rows["status"], "scored"), pc.greater_equal(rows["arc_snr"], FOUND_SNR))
    pool = one_per_host(rows.filter(visible), params.transplant_pool, context.seed)
    if not pool.num_rows:
        return "no injection has a visible arc"
    order = keyed_order(context.seed, lenses["galaxy_id"].tolist())
    lenses = lenses.iloc[order[: params.transplant_lenses]].reset_index(drop=True)
    setting = scored_setting(context, context.generation, pool)
    real = Arcs.of(store.get(lenses), setting).on(conditions(lenses))
    injected = Arcs.of(setting.again(pool).images, setting).on(host_conditions(pool))
    pairs = _alike(real, injected, params)
    known = TrueLenses.of(context.root, objects, context.survey.collection)
    moving = _Moving(setting, scorer, store, lenses, negatives, pool, real, injected, known)
    parts = [moving.scored(pairs, context.seed + number) for number in range(params.transplant_hosts) if len(pairs)]
    made = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"lens": []})
    kept = () if known is None else _kept(known, lenses, real.found, store)
    return Transplants(made, len(lenses) - len(real.places), len(real.places) - len(pairs), kept)


def _alike(real: Arcs, injected: Arcs, params: Params) -> Places:
    """Pairs (pair, 2) of places of real arcs and of injections with like arcs, on stamps of like seeing and depth."""
    places = real.places, injected.places
    if not len(places[0]) or not len(places[1]):
        return np.zeros((0, 2), dtype=np.int64)
    pairs = params.pairs(real.seen.iloc[places[0]], injected.seen.iloc[places[1]])
    return np.stack([places[0][pairs[:, 0]], places[1][pairs[:, 1]]], axis=1)


@dataclass(frozen=True)
class _Moving:
    """Everything that arcs are moved with."""

    setting: Setting
    scorer: Scorer
    store: StampStore
    lenses: pd.DataFrame
    negatives: pd.DataFrame
    pool: pa.Table
    """Injections that real arcs are matched with"""
    real: Arcs
    injected: Arcs
    known: TrueLenses | None

    def scored(self, pairs: Places, seed: int) -> pd.DataFrame:
        """Each pair of arcs in one host: probabilities of all kinds of `analysis.diagnostics.transplants.KINDS`."""
        lenses = self.lenses.iloc[pairs[:, 0]].reset_index(drop=True)
        placed = distinct_hosts(lenses, self.setting.hosts, seed, None, _NEAREST)
        hosts, place = placed["host"].tolist(), placed["lens"].to_numpy()
        lenses, (own, other) = lenses.iloc[place], pairs[place].T
        plain = Arcs.of(self.store.get(_similar(lenses, self.negatives, seed)), self.setting)
        added = {
            "real_arc": self.real.light(own),
            "moved_injection": self.injected.light(other),
            "same_injection": self._rendered(self.pool.take(pa.array(other)), hosts),
            "residual": plain.light(np.arange(len(hosts))),
            "bare": np.zeros_like(self.real.light(own)),
        }
        if self.known is not None:
            added["same_lens"] = self._same_lenses(lenses["galaxy_id"].tolist(), hosts, self.known)
        bare = np.asarray(self.setting.hosts.load(hosts), dtype=np.float32)
        columns = {kind: self._probabilities(bare, light, hosts) for kind, light in added.items()}
        return pd.DataFrame({"lens": lenses["galaxy_id"].to_numpy(), "host": hosts, **columns})

    def _rendered(self, rows: pa.Table, hosts: list[str]) -> Floats:
        """Arcs of drawn parameters in other hosts, without noise, as far as the ring reaches."""
        if "galaxy_id" in rows.column_names:
            rows = rows.drop_columns(["galaxy_id"])
        rows = rows.append_column("galaxy_id", pa.array(hosts)).combine_chunks()
        light = np.asarray(self.setting.draw(rows).arcs.images, dtype=np.float64)
        side = self.real.found.residual.shape[-1]
        first = (light.shape[-1] - side) // 2
        return ring_weight(side) * light[..., first : first + side, first : first + side]

    def _same_lenses(self, names: list[str], hosts: list[str], known: TrueLenses) -> Floats:
        """Arcs from the lenses' own true parameters; NaN where these are not known."""
        at = {name: row for row, name in enumerate(known.truth["galaxy_id"])}
        own = np.array([row for row, name in enumerate(names) if name in at], dtype=np.int64)
        light = np.full((len(names), *self.real.found.residual.shape[1:]), np.nan)
        if len(own):
            rows = known.rows.take(pa.array([at[names[row]] for row in own]))
            light[own] = self._rendered(rows, [hosts[row] for row in own])
        return light

    def _probabilities(self, bare: Images, light: Floats, hosts: list[str]) -> Floats:
        """Probabilities of hosts with added light; NaN where there is none to add."""
        made, side = bare.copy(), light.shape[-1]
        first = (bare.shape[-1] - side) // 2
        made[..., first : first + side, first : first + side] += np.nan_to_num(light).astype(np.float32)
        names, held = self.scorer.conditions, self.setting.hosts
        more = (held.conditions(names, held.rows_of(hosts)),) if names else ()
        known = np.isfinite(light).all(axis=(1, 2, 3))
        return np.where(known, expit(self.scorer.score(made, *more)), np.nan)


def _similar(lenses: pd.DataFrame, negatives: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A galaxy that is no lens for each lens, of those in the most similar seeing and depth."""
    of_lenses, others = (np.log(one[CONDITIONS].to_numpy(np.float64)) for one in (lenses, negatives))
    scale, near = np.maximum(others.std(axis=0), 1e-6), min(_NEAREST, len(others))
    _, found = cKDTree(others / scale).query(of_lenses / scale, k=near)
    ids = negatives["galaxy_id"].to_numpy()
    rows = zip(lenses["galaxy_id"], np.reshape(found, (len(lenses), near)), strict=True)
    chosen = [row[keyed_order(seed, [f"{lens}|{ids[place]}" for place in row])[0]] for lens, row in rows]
    return negatives.iloc[chosen]


def _kept(known: TrueLenses, lenses: pd.DataFrame, found: Subtracted, store: StampStore) -> tuple[float, ...]:
    """Light left of the arcs over the true one, of lenses whose truth is known."""
    place = {name: row for row, name in enumerate(lenses["galaxy_id"])}
    own = known.truth[known.truth["galaxy_id"].isin(place)].reset_index(drop=True)
    rows = [place[name] for name in own["galaxy_id"]]
    true = store.get(own) - known.bare[own["bare_row"].to_numpy(np.int64)]
    weight, band = ring_weight(found.residual.shape[-1]), SURVEY.reference
    of_true = np.nansum(weight * true[:, band, found.window, found.window], axis=(1, 2))
    left = np.nansum(weight * found.residual[rows, band], axis=(1, 2))
    return tuple(float(one) for one in left[of_true > 0] / of_true[of_true > 0])
