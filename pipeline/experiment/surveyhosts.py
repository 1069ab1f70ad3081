"""The survey's own galaxies as hosts of injections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.spatial import cKDTree

from injection.config import HostModel
from injection.engine.tracing import Images
from injection.experiment.hostset import HostSet
from lake.errors import DataError
from lake.sky.sphere import ARCSEC_PER_RADIAN, chord, tangent_plane, unit_vectors
from lake.sky.split import HOST, negative_uses
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC, SURVEY
from lake.store.delta import Read
from lake.store.stamps import PLACE, StampStore
from lake.tables.injections import HOST_FACTS
from pipeline.project.project import Project

log = logging.getLogger(__name__)

_CONDITIONS = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in BANDS]
_CATALOGUE = ["galaxy_id", *HOST_FACTS.values(), "shape_e1", "shape_e2"]

Trained = Callable[[pa.Table], pa.Array]
"""Which galaxies (``galaxy_id``, ``ra``, ``dec``) a finder was trained on; null where that is not known."""


def survey_hosts(project: Project, read: Read, host_model: HostModel, trained_by: Trained | None = None) -> HostSet:
    """Validation negatives that fix no threshold, with seeing, depth, and what the catalogue says of them.

    One whose stamp holds a listed position is not a host: the injected arc would lie next to a lens. Nor is one that
    the finder trained on.
    """
    survey, where = project.survey, ["ra", "dec", "split", "label"]
    manifest = read("manifest", ["galaxy_id", *PLACE, *_CONDITIONS, *where], slices=[survey.audit_manifest])
    uses = negative_uses(manifest["ra"], manifest["dec"], manifest["split"], manifest["label"], survey.split)
    chosen = manifest.filter(pa.array(uses == HOST))
    name = f"validation negatives of the {survey.name}{' (simulated data)' if survey.simulated else ''}"
    if not chosen.num_rows:
        raise DataError(f"no galaxy can host injections: no {name} are kept for that")
    if trained_by is not None:
        chosen = without_trained(chosen, trained_by)
    store = StampStore(project.data.cutouts)
    pixels = store.shard(chosen["shard"][0].as_py()).shape[-1]
    kept = chosen.num_rows
    chosen = without_listed(chosen, read("lens_candidates", ["ra", "dec"], ordered=False), pixels)
    if not chosen.num_rows:
        raise DataError(
            f"no galaxy can host injections: a listed position lies in the stamp of each of the {kept} {name}"
        )
    known = pc.and_(pc.greater(chosen["psfsize_r"], 0), pc.greater(chosen["psfdepth_r"], 0))
    if not pc.any(known).as_py():
        raise DataError(
            f"no galaxy can host injections: none of the {chosen.num_rows} validation negatives kept for that has a "
            "psfsize_r and a psfdepth_r, from the sweeps or from the coadds (psfsize-r, invvar-r)"
        )
    pool = read("tractor_pool", _CATALOGUE, ordered=False)
    table = chosen.drop_columns(where).join(pool, "galaxy_id", join_type="inner").sort_by("galaxy_id")
    place = {galaxy_id: row for row, galaxy_id in enumerate(table["galaxy_id"].to_pylist())}
    places = table.select(list(PLACE)).combine_chunks()

    def load(galaxy_ids: Sequence[str]) -> Images:
        return store.get(places.take(pa.array([place[galaxy_id] for galaxy_id in galaxy_ids])))

    return HostSet(name, table, load, pixels, host_model, SURVEY)


def without_trained(galaxies: pa.Table, trained_by: Trained) -> pa.Table:
    """Galaxies that a finder did not train on, so far as is known; how many are left out is logged. DataError where
    none is left."""
    trained = pc.fill_null(trained_by(galaxies), False)
    count = pc.sum(trained.cast(pa.int64())).as_py() or 0
    if count == galaxies.num_rows:
        raise DataError(
            f"no galaxy can host injections: the finder was trained on all {count:,} that are kept for that"
        )
    if count:
        log.info("%d of %d galaxies cannot be hosts: the finder was trained on them", count, galaxies.num_rows)
    return galaxies.filter(pc.invert(trained))


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
