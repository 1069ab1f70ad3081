"""Sweeps -> ``tractor_pool`` and ``tractor_near_candidates``, with every row accounted for."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from etl.catalogues import near
from etl.config import PoolParams
from etl.files import shapes, storage, sweeps
from etl.files.sweepfiles import Sweep
from etl.tables import judge
from etl.tables.table import ddl
from lake import tables
from lake.config import SplitParams
from lake.contract.rules import duplicate_reason, in_list, literal, reason_sql
from lake.contract.spec import ORIGIN
from lake.errors import DataError
from lake.sky.photometry import NANOMAGGY_MAG
from lake.sky.split import split_sql
from lake.sky.survey import BANDS
from lake.store import quarantine

log = logging.getLogger(__name__)

STAGE = "pool"
NEAR_CUT = "near_candidate"
_PRIMARY = sweeps.PRIMARY
_PLACE = ["candidate_id", "ra", "dec"]
_ACCOUNT = ("sweep_file", "row_index", "galaxy_id", "ra", "dec", "survey_type", "outcome", "reason", "is_near")


@dataclass(frozen=True)
class PoolFrames:
    """The stage's tables: good rows without duplicates, and rows of the shared tables of counts and quarantine."""

    pool: DataFrame
    pool_rows: int
    near: pa.Table
    counts: pa.Table
    quarantine: DataFrame


def build(
    spark: SparkSession,
    files: Sequence[Sweep],
    listed: pa.Table,
    params: PoolParams,
    split: SplitParams,
    collection: str,
    work: str,
) -> PoolFrames:
    """Pool, near table, counts and quarantine of the files of a folder of sweeps.

    ``listed`` holds candidate_id, ra, dec of the listed positions. Each sweep is read once, into Parquet under
    ``work``, which a repeated run finds. Rows that do not add up are an error.
    """
    usable = [sweep for sweep in files if sweep.problem is None]
    facts = inspect(spark, usable[: params.limit_files] + [sweep for sweep in files if sweep.problem is not None])
    settings = [
        params.model_dump(mode="json"),
        split.model_dump(mode="json"),
        collection,
        listed.select(_PLACE).to_pylist(),
        [tables.spec(name).schema_hash() for name in ("tractor_pool", "tractor_near_candidates")],
    ]
    staged = f"{storage.absolute(work)}/rows-{sweeps.input_hash(facts, settings)}"
    tasks = sweeps.plan(facts, params.task_mib << 20, params.limit_rows)
    if not storage.exists(f"{staged}/_SUCCESS"):
        rows = classified(read(spark, tasks, facts), listed, params, split, collection)
        rows.write.mode("overwrite").parquet(staged)
    rows = unique(spark.read.parquet(staged))
    counts = reconciled(rows, facts, tasks)
    near_table = tables.spec("tractor_near_candidates")
    return PoolFrames(
        pool=rows.where("outcome = 'kept'").select(*tables.spec("tractor_pool").row_schema().names),
        pool_rows=pc.sum(counts.filter(pc.equal(counts["outcome"], "kept"))["rows"]).as_py() or 0,
        near=rows.where("is_near AND outcome <> 'quarantined'").select(*near_table.row_schema().names).toArrow(),
        counts=counts,
        quarantine=_quarantine(spark, rows, facts),
    )


def inspect(spark: SparkSession, files: Sequence[Sweep]) -> pa.Table:
    """Facts of each file, read by the executors."""
    rows = [(sweep.name, storage.absolute(sweep.path), sweep.problem) for sweep in files]
    frame = spark.createDataFrame(rows, "name string, path string, problem string")
    frame = frame.repartition(max(2, len(rows) // 16))
    found = frame.mapInArrow(sweeps.inspect_batches, ddl(sweeps.FACTS_SCHEMA)).collect()
    facts = pa.Table.from_pylist([row.asDict() for row in found], schema=sweeps.FACTS_SCHEMA)
    for fact in facts.filter(pc.is_valid(facts["problem"])).to_pylist():
        log.warning("%s is quarantined: %s", fact["path"], fact["problem"])
    return facts.sort_by("sweep_file")


def read(spark: SparkSession, tasks: Sequence[sweeps.Task], facts: pa.Table) -> DataFrame:
    size = dict(zip(facts["path"].to_pylist(), facts["row_bytes"].to_pylist(), strict=True))
    volume = sum((task.stop - task.start) * size[task.path] for task in tasks)
    rows = [(task.sweep_file, task.path, task.start, task.stop) for task in tasks]
    frame = spark.createDataFrame(rows, "sweep_file string, path string, start bigint, stop bigint")
    parts = min(max(1, len(tasks)), max(2, math.ceil(volume / (32 << 20))))
    return frame.repartition(parts).mapInArrow(sweeps.read_batches, ddl(sweeps.ROWS_SCHEMA))


def classified(rows: DataFrame, listed: pa.Table, params: PoolParams, split: SplitParams, collection: str) -> DataFrame:
    """Rows with derived columns, ``outcome``, ``reason``, ``failed_cut``, ``is_near``.

    Rejected rows that are not near a candidate keep only the columns needed to count them.
    """
    radius = max(params.near_radius_arcsec, params.exclusion_radius_arcsec)
    places = near.listing(rows.sparkSession, listed, radius, sweeps.EXCLUSION_NSIDE)
    rows = near.with_nearest(_derived(rows, split, collection), places, "healpix_exclusion", radius)
    is_near = f"separation_arcsec <= {params.near_radius_arcsec}D AND coalesce({_PRIMARY}, true)"
    rows = rows.withColumn("failed_cut", F.expr(_first(cuts(params)))).withColumn(
        "is_near", F.expr(f"coalesce({is_near}, false)")
    )
    excluded = f"separation_arcsec <= {params.exclusion_radius_arcsec}D"
    rows = rows.withColumn("cut", F.expr(f"coalesce(failed_cut, CASE WHEN {excluded} THEN '{NEAR_CUT}' END)"))
    rows = rows.withColumn("broken", F.expr(_broken_sql()))
    rows = rows.withColumn(
        "outcome",
        F.expr("CASE WHEN broken IS NOT NULL THEN 'quarantined' WHEN cut IS NOT NULL THEN 'rejected' ELSE 'kept' END"),
    ).withColumn("reason", F.expr("coalesce(broken, cut, '')"))
    needed = "outcome <> 'rejected' OR is_near"
    names = dict.fromkeys([*_ACCOUNT, *tables.spec("tractor_near_candidates").row_schema().names])
    always = ("sweep_file", "row_index", "survey_type", "outcome", "reason", "is_near")
    return rows.select(*(F.col(n) if n in always else F.expr(f"CASE WHEN {needed} THEN {n} END AS {n}") for n in names))


def cuts(params: PoolParams) -> dict[str, str]:
    """The pool's cuts in order: name and the condition that a kept row meets."""
    mask = sum(1 << bit for bit in params.maskbits)
    return {
        _PRIMARY: f"coalesce({_PRIMARY}, true)",
        "type": f"type IN ({in_list(params.types, 'spark')})",
        **{f"nobs_{band}": f"nobs_{band} >= {params.min_nobs}" for band in BANDS},
        "mag_z": f"mag_z < {params.mag_z_max}D",
        "dec": f"dec > {params.dec_min_deg}D AND dec < {params.dec_max_deg}D",
        "maskbits": f"(maskbits & {mask}L) = 0",
    }


def _first(conditions: dict[str, str]) -> str:
    whens = " ".join(f"WHEN NOT coalesce({sql}, false) THEN '{name}'" for name, sql in conditions.items())
    return f"CASE {whens} END"


def _derived(rows: DataFrame, split: SplitParams, collection: str) -> DataFrame:
    def magnitude(band: str) -> str:
        flux = f"cast(flux_{band} as double)"
        return f"CASE WHEN {flux} > 0 THEN {NANOMAGGY_MAG}D - 2.5D * log10({flux}) END"

    def colour(blue: str, red: str) -> str:
        return f"cast({magnitude(blue)} - {magnitude(red)} as float)"

    name = literal(f"{collection}:", "spark")
    return rows.withColumns(
        {
            "galaxy_id": F.expr(
                f"concat({name}, coalesce(concat(cast(release as string), '_'), ''), brickname, '_', "
                "cast(objid as string))"
            ),
            **{f"mag_{band}": F.expr(f"cast({magnitude(band)} as float)") for band in BANDS},
            "g_minus_r": F.expr(colour("g", "r")),
            "r_minus_z": F.expr(colour("r", "z")),
            "z_minus_w1": F.expr(colour("z", "w1")),
            "nobs_z_bin": F.expr(nobs_bin_sql("nobs_z")),
            "type_bin": F.col("type"),
            "split": F.expr(split_sql("healpix_128", split)),
        }
    )


def nobs_bin_sql(column: str) -> str:
    """Bin of a number of exposures."""
    return (
        f"CASE WHEN {column} = 0 THEN '0' WHEN {column} <= 2 THEN '1-2' WHEN {column} <= 5 THEN '3-5' "
        f"WHEN {column} <= 10 THEN '6-10' WHEN {column} > 10 THEN '11+' END"
    )


def _broken_sql() -> str:
    """Why a row can be in neither table: no position or identity, or a rule of the table it belongs to."""
    place = "ra IS NULL OR dec IS NULL OR isnan(ra) OR isnan(dec) OR ra < 0 OR ra > 360 OR abs(dec) > 90"
    pool, near_table = (
        reason_sql(tables.spec(n), "spark", lineage=False) for n in ("tractor_pool", "tractor_near_candidates")
    )
    return (
        "CASE WHEN fault IS NOT NULL THEN fault "
        f"WHEN {place} THEN 'coordinates must be numbers in [0, 360] and [-90, 90]' "
        "WHEN coalesce(brickname, '') = '' OR objid IS NULL THEN 'brickname and objid must be given' "
        f"WHEN cut IS NULL THEN {pool} WHEN is_near THEN {near_table} END"
    )


def unique(rows: DataFrame) -> DataFrame:
    """Rows where, of those in a table that share a galaxy_id, all but the lowest (file, row) are quarantined."""
    key, order = ["galaxy_id"], F.struct(*ORIGIN)
    in_table = F.expr("outcome = 'kept' OR (outcome = 'rejected' AND is_near)")
    shared = judge.duplicates(rows.where(in_table), key, order).toArrow()
    if not shared.num_rows:
        return rows
    log.warning("%d galaxy_ids are repeated; all but the first row of each are quarantined", shared.num_rows)
    changes = {"outcome": F.lit("quarantined"), "reason": F.lit(duplicate_reason(key))}
    broadcast = F.broadcast(rows.sparkSession.createDataFrame(shared))
    return judge.reject_duplicates(rows, broadcast, key, order, in_table, changes)


def reconciled(rows: DataFrame, facts: pa.Table, tasks: Sequence[sweeps.Task]) -> pa.Table:
    """``ingest_counts`` rows of the stage; a file whose rows do not add up is an error."""
    renamed = F.expr(f"CASE WHEN survey_type IN ({in_list(tuple(shapes.RENAMED), 'spark')}) THEN survey_type END")
    grouped = rows.groupBy("sweep_file", "outcome", "reason", renamed.alias("renamed")).count().collect()
    found: Counter[tuple[str, str, str]] = Counter()
    derived: Counter[tuple[str, str, str]] = Counter()
    for row in grouped:
        found[row["sweep_file"], row["outcome"], row["reason"]] += row["count"]
        if row["renamed"]:
            derived[row["sweep_file"], "column_derived", f"type {row['renamed']}"] += row["count"]
    planned: Counter[str] = Counter()
    for task in tasks:
        planned[task.sweep_file] += task.stop - task.start
    held: Counter[str] = Counter()
    for (file, _, _), count in found.items():
        held[file] += count
    wrong = {file: (planned[file], held[file]) for file in planned | held if planned[file] != held[file]}
    if wrong:
        raise DataError(f"rows read and accounted for differ, by file: {wrong}")
    found.update(derived)
    for fact in facts.to_pylist():
        if fact["problem"]:
            found[fact["sweep_file"], "quarantined", fact["problem"]] = fact["rows"]
        elif not fact["rows"]:
            found[fact["sweep_file"], "kept", ""] = 0
        for kind in ("missing", "derived"):
            found.update({(fact["sweep_file"], f"column_{kind}", name): 0 for name in fact[kind]})
    digest = dict(zip(facts["sweep_file"].to_pylist(), facts["sha256"].to_pylist(), strict=True))
    counted = [
        {"stage": STAGE, "source_file": f, "outcome": o, "reason": r, "rows": n, "sha256": digest[f]}
        for (f, o, r), n in sorted(found.items())
    ]
    return tables.spec("ingest_counts").table(counted)


def _quarantine(spark: SparkSession, rows: DataFrame, facts: pa.Table) -> DataFrame:
    bad_files = [(f["sweep_file"], -1, f["problem"], None) for f in facts.to_pylist() if f["problem"]]
    bad_rows = rows.where("outcome = 'quarantined'").selectExpr(
        "sweep_file AS source_file",
        "row_index",
        "reason",
        "to_json(named_struct('galaxy_id', galaxy_id, 'ra', ra, 'dec', dec, 'type', survey_type)) AS record",
    )
    return bad_rows.unionByName(spark.createDataFrame(bad_files, ddl(quarantine.SCHEMA)))
