"""Negatives and matched candidates -> stamps: one task per brick, partial files for a repeated run, then shards."""

from __future__ import annotations

import hashlib
import json
import logging
import operator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from etl.config import CutoutsParams
from etl.cutouts.bricks import Bricks, holding_brick
from etl.cutouts.cutter import INDEX_SCHEMA, BrickCutter
from lake import tables
from lake.errors import DataError, ShardError
from lake.progress import watch
from lake.sky.survey import BANDS
from lake.store.stamps import StampStore, bucket_of, shard_name, stamp_hash, write_shard

log = logging.getLogger(__name__)

NO_BRICK = "no brick holds the whole window"
_BRICK_DDL = "brick string, galaxy_id array<string>, ra array<double>, dec array<double>, lacking array<boolean>"
_COLUMNS = ("galaxy_id", "ra", "dec", "brickname", "lacking")


def requests(negatives: DataFrame, candidates: DataFrame, near: DataFrame, pool: DataFrame) -> DataFrame:
    """Sources to cut out, the negatives and the candidates' matches: galaxy_id, ra, dec, brickname, and whether the
    catalogue is ``lacking`` their seeing or depth in some band.
    """
    lacking = " OR ".join(
        f"coalesce(psfsize_{band} <= 0, true) OR coalesce(psfdepth_{band} <= 0, true)" for band in BANDS
    )
    known = pool.selectExpr("galaxy_id", f"{lacking} AS lacking")
    matched = candidates.where("match_reason = 'matched'").select("galaxy_id").distinct()
    positives = near.join(matched, on="galaxy_id", how="left_semi").selectExpr(*_COLUMNS[:-1], f"{lacking} AS lacking")
    others = negatives.join(known, on="galaxy_id", how="left").selectExpr(
        *_COLUMNS[:-1], "coalesce(lacking, true) AS lacking"
    )
    return positives.unionByName(others).dropDuplicates(["galaxy_id"])


def version(params: CutoutsParams, source: str) -> str:
    """``cutout_version``: hash of where the pixels come from and how they are cut and judged."""
    settings = params.model_dump(mode="json", exclude={"buckets", "coadd_pixels"})
    return hashlib.sha256(json.dumps([source, settings], sort_keys=True).encode()).hexdigest()[:16]


def extract(spark: SparkSession, wanted: DataFrame, survey: Path, params: CutoutsParams, work: Path) -> pa.Table:
    """Cut out and judge the sources ``wanted``; returns an index (``INDEX_SCHEMA``) of all of them, by galaxy_id.

    Each brick leaves ``<work>/bricks/<brick>.npy`` (its good stamps) and ``.parquet`` (its rows), which a repeated run
    does not make again.
    """
    if not (survey / "coadds").is_dir():
        raise DataError(f"{survey / 'coadds'} is missing: put the survey's coadds there")
    rows = wanted.select(*_COLUMNS).toPandas().sort_values("galaxy_id")
    ids, own = rows["galaxy_id"].to_numpy(dtype=object), rows["brickname"].to_numpy(dtype=str)
    ra, dec = rows["ra"].to_numpy(dtype=np.float64), rows["dec"].to_numpy(dtype=np.float64)
    lacking = rows["lacking"].to_numpy(dtype=bool)
    bricks = Bricks.read(survey / "survey-bricks.fits")
    chosen = holding_brick(bricks, own, ra, dec, params.stamp_pixels, params.coadd_pixels)
    folder = work.resolve() / "bricks"
    folder.mkdir(parents=True, exist_ok=True)
    names = [str(name) for name in np.unique(chosen) if name]
    groups = {name: np.flatnonzero(chosen == name) for name in names}
    tasks = [(name, *(facts[g].tolist() for facts in (ids, ra, dec, lacking))) for name, g in groups.items()]
    cutter = BrickCutter(str(survey.resolve()), str(folder), params)
    frame = spark.createDataFrame(tasks, _BRICK_DDL).repartition(max(1, min(len(tasks), 4 + len(tasks) // 32)))
    with watch(lambda: len(list(folder.glob("[!.]*.parquet"))), "cut out bricks", len(names)):
        done = sum(row["rows"] for row in frame.mapInArrow(cutter, "brick string, rows bigint").collect())
    lost = [{"galaxy_id": i, "status": "rejected", "reason": NO_BRICK} for i in ids[chosen == ""]]
    parts = [pq.read_table(folder / f"{name}.parquet", schema=INDEX_SCHEMA) for name in names]
    index = pa.concat_tables([*parts, pa.Table.from_pylist(lost, schema=INDEX_SCHEMA)]).sort_by("galaxy_id")
    if done + len(lost) != len(ids) or index.num_rows != len(ids):
        raise DataError(f"{len(ids)} cut-outs were requested, but {index.num_rows} are accounted for")
    warn_of_unknown_conditions(index, ids[lacking])
    return index


def warn_of_unknown_conditions(index: pa.Table, lacking: NDArray[np.object_]) -> None:
    """Name the galaxies that cannot be hosts of injections, and what they lack."""
    unknown = pc.or_(pc.is_null(index["psfsize_r"]), pc.is_null(index["psfdepth_r"]))
    asked = pc.is_in(index["galaxy_id"], value_set=pa.array(lacking, pa.string()))
    good = pc.equal(index["status"], "ok")
    without = index.filter(pc.and_(pc.and_(unknown, asked), good))
    if without.num_rows:
        total = index.filter(good).num_rows
        log.warning(
            "%s of %d galaxies with a good cut-out can be hosts of injections; the others (first: %s) cannot: seeing "
            "and depth are neither in the sweeps (psfsize_r, psfdepth_r) nor in the coadds "
            "(legacysurvey-<brick>-psfsize-r.fits.fz and -invvar-r)",
            total - without.num_rows or "none", total, without["galaxy_id"][0],
        )  # fmt: skip


def assemble(index: pa.Table, work: Path, folder: Path, params: CutoutsParams, source: str) -> pa.Table:
    """Pack the good stamps into shards in ``folder``, each ordered by galaxy_id; ``cutouts`` rows, lineage excepted.

    A shard that an earlier run finished is not written again.
    """
    good = index.filter(pc.equal(index["status"], "ok")).sort_by("galaxy_id")
    bucket = bucket_of(good["galaxy_id"], params.buckets)
    bricks, places, digests = (good[name].to_pylist() for name in ("brickname", "brick_row", "sha256"))
    shard_row = np.zeros(good.num_rows, dtype=np.int32)
    for number in np.unique(bucket):
        members = np.flatnonzero(bucket == number)
        shard_row[members] = np.arange(len(members))
        if not _complete(folder, int(number), [digests[i] for i in members]):
            stamps = (np.load(work / "bricks" / f"{bricks[i]}.npy", mmap_mode="r")[places[i]] for i in members)
            write_shard(folder / shard_name(int(number)), stamps, len(members), params.stamp_pixels)
    log.info(
        "%d cut-outs in %d shards, %d rejected", good.num_rows, len(np.unique(bucket)), index.num_rows - good.num_rows
    )
    held = pa.table({"galaxy_id": good["galaxy_id"], "shard": bucket.astype(np.int32), "shard_row": shard_row})
    rows = index.join(held, "galaxy_id").sort_by("galaxy_id")
    rows = rows.append_column("cutout_version", pa.repeat(version(params, source), rows.num_rows))
    schema = tables.spec("cutouts").row_schema()
    return rows.select(schema.names).cast(schema)


def _complete(folder: Path, number: int, digests: list[str]) -> bool:
    """Whether a shard holds exactly the stamps with these hashes, in this order."""
    if not (folder / shard_name(number)).exists():
        return False
    try:
        held = StampStore(folder).shard(number)
    except ShardError:
        return False
    return len(held) == len(digests) and all(map(operator.eq, map(stamp_hash, held), digests))
