"""Hosts of injections from the lake: negatives kept for that purpose, their observing conditions and their stamps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lake.errors import DataError
from lake.sky.sphere import ARCSEC_PER_RADIAN, chord, tangent_plane, unit_vectors
from lake.sky.split import HOST, negative_uses
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC
from lake.store.stamps import PLACE, StampStore
from pipeline.project.context import RunContext

log = logging.getLogger(__name__)

_CONDITIONS = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in BANDS]
_SHAPES = ["galaxy_id", "type", "shape_e1", "shape_e2"]

LoadHosts = Callable[[Sequence[str]], NDArray[np.float32]]


def host_table(context: RunContext) -> pa.Table:
    """Validation negatives that fix no threshold, with seeing, depth, type and shape, and where their stamps are.

    One whose stamp holds a listed position is not a host: the injected arc would lie next to a lens.
    """
    where = ["ra", "dec", "split", "label"]
    columns = ["galaxy_id", *PLACE, *_CONDITIONS, *where]
    manifest = context.read("manifest", columns, slices=[context.survey.audit_manifest])
    uses = negative_uses(manifest["ra"], manifest["dec"], manifest["split"], manifest["label"], context.survey.split)
    chosen = manifest.filter(pa.array(uses == HOST))
    if chosen.num_rows:
        pixels = StampStore(context.root.cutouts).shard(chosen["shard"][0].as_py()).shape[-1]
        chosen = without_listed(chosen, context.read("lens_candidates", ["ra", "dec"], ordered=False), pixels)
    known = pc.and_(pc.greater(chosen["psfsize_r"], 0), pc.greater(chosen["psfdepth_r"], 0))
    if chosen.num_rows and not pc.any(known).as_py():
        raise DataError(
            f"no galaxy can host injections: none of the {chosen.num_rows} validation negatives kept for that has a "
            "psfsize_r and a psfdepth_r, from the sweeps or from the coadds (psfsize-r, invvar-r)"
        )
    pool = context.read("tractor_pool", _SHAPES, ordered=False)
    return chosen.drop_columns(where).join(pool, "galaxy_id", join_type="inner").sort_by("galaxy_id")


def without_listed(galaxies: pa.Table, listed: pa.Table, stamp_pixels: int) -> pa.Table:
    """Galaxies (ra, dec) without a listed position in their stamp, north up; how many are left out is logged."""
    half = (stamp_pixels + 1) / 2 * PIXEL_SCALE_ARCSEC
    ra, dec = (galaxies[name].to_numpy() for name in ("ra", "dec"))
    listed_ra, listed_dec = (listed[name].to_numpy() for name in ("ra", "dec"))
    around = cKDTree(unit_vectors(listed_ra, listed_dec)).query_ball_point(
        unit_vectors(ra, dec), chord(half * np.sqrt(2.0) * 1.001)
    )
    near = np.repeat(np.arange(len(ra)), [len(each) for each in around])
    others = np.array([each for found in around for each in found], dtype=np.int64)
    offsets = tangent_plane(ra[near], dec[near], listed_ra[others], listed_dec[others])
    inside = np.maximum(*np.abs(offsets)) * ARCSEC_PER_RADIAN <= half
    clear = np.ones(len(ra), dtype=bool)
    clear[near[inside]] = False
    if not clear.all():
        log.info("%d of %d galaxies cannot be hosts: a listed position lies in their stamp", (~clear).sum(), len(ra))
    return galaxies.filter(pa.array(clear))


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
