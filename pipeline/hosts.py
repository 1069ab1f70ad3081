"""Hosts of injections from the lake: negatives kept for them, with their observing conditions, and their stamps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lake.errors import DataError
from lake.split import HOST, negative_uses
from lake.stamps import PLACE, StampStore
from lake.survey import BANDS
from pipeline.context import RunContext

_CONDITIONS = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in BANDS]
_SHAPES = ["galaxy_id", "type", "shape_e1", "shape_e2"]

LoadHosts = Callable[[Sequence[str]], NDArray[np.float32]]


def host_table(context: RunContext) -> pa.Table:
    """Validation negatives that fix no threshold, with seeing, depth, type and shape, and where their stamps lie."""
    where = ["ra", "dec", "split", "label"]
    columns = ["galaxy_id", *PLACE, *_CONDITIONS, *where]
    manifest = context.read("manifest", columns, slices=[context.survey.audit_manifest])
    uses = negative_uses(manifest["ra"], manifest["dec"], manifest["split"], manifest["label"], context.survey.split)
    chosen = manifest.filter(pa.array(uses == HOST))
    known = pc.and_(pc.greater(chosen["psfsize_r"], 0), pc.greater(chosen["psfdepth_r"], 0))
    if chosen.num_rows and not pc.any(known).as_py():
        raise DataError(
            f"no galaxy can be a host of injections: of {chosen.num_rows} validation negatives kept for it none has a "
            "psfsize_r and a psfdepth_r, from the sweeps or from the coadds (psfsize-r, invvar-r)"
        )
    pool = context.read("tractor_pool", _SHAPES, ordered=False)
    return chosen.drop_columns(where).join(pool, "galaxy_id", join_type="inner").sort_by("galaxy_id")


def stamp_loader(hosts: pa.Table, store: StampStore) -> LoadHosts:
    """A function from galaxy_ids to their stamps (batch, band, y, x)."""
    place = {galaxy_id: row for row, galaxy_id in enumerate(hosts["galaxy_id"].to_pylist())}
    places = hosts.select(list(PLACE)).combine_chunks()

    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        unknown = [galaxy_id for galaxy_id in galaxy_ids if galaxy_id not in place]
        if unknown:
            raise DataError(f"no stamp of host {unknown[0]}")
        return store.get(places.take(pa.array([place[galaxy_id] for galaxy_id in galaxy_ids])))

    return load
