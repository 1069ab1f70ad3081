"""Named manifests: which cut-outs a network trains on and is tested on, with the checks of their splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import cKDTree

from etl.config import ManifestParams, ManifestSpec
from etl.cutouts.cutter import CONDITIONS
from lake import tables
from lake.config import SplitParams
from lake.contract.asking import ask
from lake.errors import DataError, not_one_of
from lake.sky.sphere import chord, unit_vectors
from lake.sky.split import SPLITS
from lake.sky.survey import STAMPS_OVERLAP_ARCSEC
from lake.store.stamps import PLACE, shard_name
from lake.tables.lens_candidates import MATCHED

log = logging.getLogger(__name__)

FACTS = pa.schema(
    [
        tables.spec("tractor_pool").column(name).arrow
        for name in ("galaxy_id", "ra", "dec", "type_bin", "nobs_z_bin", "split", "healpix_128", *CONDITIONS, "ebv")
    ]
)
"""Columns of sources that a manifest repeats."""
_COMPARED = ("psfsize_r", "psfdepth_r")
_CHECKED = ("galaxy_id", "cutout_path", "split", "label", "healpix_128", "tier", *_COMPARED)
_STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Check:
    """One check of a manifest: the measured value, its bounds, and the number of objects."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    passed: bool
    n: int
    detail: str


def requested(negatives: pa.Table, candidates: pa.Table) -> dict[int, int]:
    """Number of cut-outs in a complete set, by label."""
    matched = candidates.filter(pc.equal(candidates["match_reason"], MATCHED))
    return {1: len(pc.unique(matched["galaxy_id"])), 0: negatives.num_rows}


def _named(params: ManifestParams, manifest_id: str) -> ManifestSpec:
    if manifest_id not in params.manifests:
        raise not_one_of("manifest_id", params.manifests, manifest_id)
    return params.manifests[manifest_id]


def rows(
    negatives: pa.Table,
    candidates: pa.Table,
    near: pa.Table,
    pool: pa.Table,
    cutouts: pa.Table,
    params: ManifestParams,
    manifest_id: str,
) -> pa.Table:
    """Rows of one manifest by galaxy_id: every source with a good cut-out, negatives and matched candidates.

    Of the ``pool`` only the columns `FACTS` of the negatives are needed.
    """
    spec = _named(params, manifest_id)
    facts, own = (", ".join(f"{source}.{name}" for name in FACTS.names) for source in ("near", "pool"))
    conditions = ", ".join(f"CASE WHEN s.{n} > 0 THEN s.{n} ELSE cutouts.{n} END AS {n}" for n in CONDITIONS)
    split = "CASE WHEN split = 'test' THEN 'val' ELSE split END" if spec.merge_test_into_val else "split"
    path = f"printf('{shard_name(0).replace('0000', '%04d')}#%d', shard, shard_row)"
    query = f"""
        WITH sources AS (
            SELECT {facts}, 'P' AS pool, NULL AS confuser_category, 1 AS label, tier
            FROM near JOIN candidates USING (galaxy_id) WHERE match_reason = '{MATCHED}'
            UNION ALL
            SELECT {own}, negatives.pool, CASE WHEN negatives.pool = 'N2' THEN confuser_category END, 0, NULL
            FROM pool JOIN negatives USING (galaxy_id)
        )
        SELECT s.* REPLACE ({split} AS split, {conditions}), cutout_version, {", ".join(PLACE)},
            '{manifest_id}' AS manifest_id, false AS hard_negative, {path} AS cutout_path
        FROM sources AS s JOIN cutouts USING (galaxy_id) WHERE status = 'ok' ORDER BY galaxy_id
    """
    sources = {"negatives": negatives, "candidates": candidates, "near": near, "pool": pool, "cutouts": cutouts}
    made = ask(query, sources)
    schema = tables.spec("manifest").row_schema()
    return made.select(schema.names).cast(schema)


def guarded(made: pa.Table) -> pa.Table:
    """Collected rows without those whose stamp may share a pixel with one of another split.

    Of two such rows a positive stays rather than a negative, then one of test rather than val, and of val rather than
    train.
    """
    places = unit_vectors(*(made.column(name).to_numpy() for name in ("ra", "dec")))
    near = cKDTree(places).query_pairs(chord(STAMPS_OVERLAP_ARCSEC), output_type="ndarray")
    split = np.array([SPLITS.index(name) for name in made.column("split").to_pylist()])
    across = near[split[near[:, 0]] != split[near[:, 1]]]
    rank = split + len(SPLITS) * made.column("label").to_numpy()
    kept = np.ones(made.num_rows, dtype=bool)
    kept[np.where(rank[across[:, 0]] < rank[across[:, 1]], across[:, 0], across[:, 1])] = False
    if not kept.all():
        log.info("%d of %d rows left out: their stamps may overlap one of another split", (~kept).sum(), len(kept))
    return made.filter(pa.array(kept))


def check(
    made: pa.Table, asked: Mapping[int, int], params: ManifestParams, manifest_id: str, split: SplitParams
) -> list[Check]:
    """Checks of a manifest's collected rows; DataError where fewer cut-outs arrived than ``minimum_coverage``."""
    spec = _named(params, manifest_id)
    columns = {name: made.column(name).to_numpy() for name in _CHECKED}
    coverage = _coverage(columns["label"], asked, params, manifest_id)
    wanted = _shares(split, spec)
    found = [*coverage, *_proportions(columns, wanted, params), *_overlaps(columns), *_tiers(columns)]
    for name in _COMPARED:
        found += _same_conditions(columns, name, params)
    for result in found:
        if not result.passed:
            log.warning("%s: check %s failed: %s", manifest_id, result.name, result.detail)
    return found


def _coverage(
    label: NDArray[np.generic], asked: Mapping[int, int], params: ManifestParams, manifest_id: str
) -> list[Check]:
    found = []
    for value, name in ((1, "positives"), (0, "negatives")):
        count, arrived = asked[value], int((label == value).sum())
        share = arrived / count if count else 0.0
        detail = f"{arrived} of {count} {name} have a good cut-out"
        if share < params.minimum_coverage:
            raise DataError(
                f"manifest '{manifest_id}': {detail} ({share:.1%}), fewer than manifest.minimum_coverage "
                f"({params.minimum_coverage:.1%}); complete the cut-outs or lower it"
            )
        found.append(Check(f"coverage/{name}", share, params.minimum_coverage, 1.0, True, count, detail))
    return found


def _shares(split: SplitParams, spec: ManifestSpec) -> dict[str, float]:
    """Share of the sky of each split."""
    train, val, test = split.train_below, split.val_below - split.train_below, 1.0 - split.val_below
    if spec.merge_test_into_val:
        return {"train": train, "val": val + test}
    return {"train": train, "val": val, "test": test}


def _proportions(
    columns: dict[str, NDArray[np.generic]], wanted: dict[str, float], params: ManifestParams
) -> list[Check]:
    """Share of rows in each split against its share of the sky; the standard error has pixels as its unit."""
    pixels, place = np.unique(columns["healpix_128"], return_inverse=True)
    in_pixel = np.bincount(place).astype(np.float64)
    effective = in_pixel.sum() ** 2 / (in_pixel**2).sum() if len(pixels) else 0.0
    found = []
    for name, share in wanted.items():
        error = np.sqrt(share * (1 - share) / effective) if effective else np.inf
        allowed = max(params.proportion_tolerance, float(_STANDARD_ERRORS * error))
        value = float((columns["split"] == name).mean())
        detail = f"{value:.3f} of the rows, {share:.3f} +- {allowed:.3f} expected on {len(pixels)} pixels"
        passed = bool(abs(value - share) <= allowed)
        found.append(Check(f"proportion/{name}", value, share - allowed, share + allowed, passed, len(pixels), detail))
    return found


def _overlaps(columns: dict[str, NDArray[np.generic]]) -> list[Check]:
    found = []
    for name in ("galaxy_id", "cutout_path", "healpix_128"):
        values = {s: set(columns[name][columns["split"] == s].tolist()) for s in np.unique(columns["split"])}
        shared = sum(len(values[a] & values[b]) for a, b in combinations(sorted(values), 2))
        total = len(set().union(*values.values())) if values else 0
        found.append(Check(f"overlap/{name}", float(shared), 0.0, 0.0, shared == 0, total, f"{shared} in two splits"))
    return found


def _tiers(columns: dict[str, NDArray[np.generic]]) -> list[Check]:
    """Positives of each tier in each split: recorded, and none of the splits without any."""
    found = []
    for split in np.unique(columns["split"]):
        for tier in ("A", "B"):
            count = int(((columns["split"] == split) & (columns["tier"] == tier)).sum())
            found.append(Check(f"tier/{split}/{tier}", float(count), 1.0, None, count > 0, count, f"{count} positives"))
    return found


def _same_conditions(columns: dict[str, NDArray[np.generic]], name: str, params: ManifestParams) -> list[Check]:
    """Kolmogorov-Smirnov tests of a pixel's median condition between splits: neighbours share their seeing."""
    medians: dict[str, list[float]] = {}
    number = columns[name].astype(np.float64)
    order = np.argsort(columns["healpix_128"], kind="stable")
    edges = np.flatnonzero(np.diff(columns["healpix_128"][order].astype(np.int64))) + 1
    for members in np.split(order, edges):
        known = number[members][np.isfinite(number[members])]
        if known.size:
            medians.setdefault(str(columns["split"][members[0]]), []).append(float(np.median(known)))
    found = []
    for a, b in combinations(sorted(medians), 2):
        p = float(stats.ks_2samp(medians[a], medians[b]).pvalue)
        n = len(medians[a]) + len(medians[b])
        detail = f"{name} of {len(medians[a])} {a} and {len(medians[b])} {b} pixels, p = {p:.3g}"
        found.append(Check(f"ks/{name}/{a}-{b}", p, params.ks_p_min, 1.0, p >= params.ks_p_min, n, detail))
    return found
