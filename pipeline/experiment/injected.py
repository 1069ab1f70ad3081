"""Injections drawn again as pixels: for the realism gate and for pictures. Only parameters and seeds are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.config import DiagnoseParams
from analysis.diagnostics.realism import Population
from analysis.results.features import texture_features
from injection.config import GridParams
from injection.experiment.grid import grid_sources
from injection.experiment.hosts import Hosts
from injection.experiment.observation import see
from lake.errors import DataError
from lake.sky.hashing import key_hash
from lake.store.stamps import StampStore
from pipeline.experiment.hosts import host_table, stamp_loader
from pipeline.experiment.scoring import conditions_of
from pipeline.project.context import RunContext
from pipeline.project.gridfacts import grid_facts

if TYPE_CHECKING:
    from modeling.scoring.scorer import Scorer

Images = NDArray[np.float32]


def grid_params(context: RunContext, generation: str) -> GridParams:
    """The parameters that a finished grid was filled with."""
    return GridParams.load(grid_facts(context.root, generation)["parameters"], "grid")


def drawn_again(context: RunContext, rows: pa.Table, grid: GridParams, store: StampStore) -> tuple[Images, Images]:
    """Bare hosts and hosts with arcs (batch, band, y, x) nMgy of rows of ``injections``, as the finder saw them."""
    table = host_table(context)
    hosts = Hosts(table, grid.host_model)
    ids = rows["galaxy_id"].to_pylist()
    places, here = hosts.rows_of(ids), grid.model_copy(update={"device": "cpu"})
    conditions = hosts.psf(places, grid), hosts.pixel_sigma_nmgy[places]
    seen = see(here, grid_sources(grid), rows, stamp_loader(table, store)(ids), conditions, context.seed)
    failed = [reason for reason in seen.reasons if reason is not None]
    if failed:
        raise DataError(f"{len(failed)} stored injections cannot be drawn again, first: {failed[0]}")
    return seen.bare, seen.images


def sample(rows: pa.Table, count: int, seed: int) -> pa.Table:
    """Up to ``count`` scored injections, by keyed hash of their identifier."""
    scored = rows.filter(pc.equal(rows["status"], "scored"))
    if not scored.num_rows:
        raise DataError("no injection was scored; see the column 'reason' of injections")
    order = np.argsort(key_hash(seed, scored["injection_id"]), kind="stable")
    return scored.take(pa.array(order[:count]))


def populations(
    context: RunContext, objects: pd.DataFrame, store: StampStore, scorer: Scorer, params: DiagnoseParams
) -> tuple[Mapping[str, tuple[Population, Population]], str]:
    """Pairs of populations for the realism probe, and the space they are compared in.

    Real lenses of the test split against injections into validation negatives; as controls the bare hosts against the
    injections and against real lenses, and Tier A against Tier B.
    """
    generation = context.generation
    rows = context.read("injections", slices=[generation])
    bright = rows.filter(pc.less_equal(rows["src_mag_r"], params.probe_source_mag_max))
    chosen = sample(bright, params.sample_per_class, context.seed)
    lenses = objects[(objects["label"] == 1) & (objects["split"] == "test")]
    space = "embedding of the network" if hasattr(scorer, "embed") else "texture features"
    bare, injected = drawn_again(context, chosen, grid_params(context, generation), store)
    hosts = np.asarray(chosen["galaxy_id"].to_pylist())
    of_hosts = _host_conditions(context, hosts, scorer.conditions)
    with_arc = Population(_described(scorer, injected, of_hosts), hosts)
    without = Population(_described(scorer, bare, of_hosts), hosts)
    real = _described(scorer, store.get(lenses), conditions_of(lenses, scorer.conditions))
    found = Population(real, lenses["galaxy_id"].to_numpy())
    tier_a = (lenses["tier"] == "A").to_numpy()
    return {
        "injections_against_listed_lenses": (with_arc, found),
        "injections_against_bare_hosts": (with_arc, without),
        "bare_hosts_against_listed_lenses": (without, found),
        "tier_a_against_tier_b": (_part(found, tier_a), _part(found, ~tier_a)),
    }, space


def _described(scorer: Scorer, stamps: Images, conditions: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """The finder's own features of stamps, or texture features if it has none."""
    embed = getattr(scorer, "embed", None)
    return np.asarray(texture_features(stamps) if embed is None else embed(stamps, conditions))


def _host_conditions(
    context: RunContext, galaxy_ids: NDArray[np.str_], names: Sequence[str]
) -> NDArray[np.float64] | None:
    """Observing conditions of hosts, in this order; None if the finder needs none."""
    if not names:
        return None
    return conditions_of(host_table(context).to_pandas().set_index("galaxy_id").loc[galaxy_ids], names)


def _part(population: Population, mask: NDArray[np.bool_]) -> Population:
    return Population(population.features[mask], np.asarray(population.hosts)[mask])
