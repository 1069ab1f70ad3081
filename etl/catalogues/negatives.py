"""``tractor_pool`` -> ``negatives``: strata that follow the positives, random galaxies and confusers, by keyed hash.

A galaxy's place in the order depends on its identifier and the seed alone. A histogram of the hashes gives, per
stratum, the hash below which there are enough galaxies, so only a few rows are ranked.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from etl.config import ConfuserParams, NegativesParams
from lake import tables
from lake.contract.rules import in_list
from lake.sky.hashing import key_hash_sql

log = logging.getLogger(__name__)

STAGE = "negatives"
_STRATUM = ["type_bin", "nobs_z_bin"]
_BUCKET_BITS = 8


@dataclass(frozen=True)
class Supply:
    """Rows wanted of a stratum, available and sampled; ``last_n1``, ``last_n2`` are the last hash buckets needed."""

    type_bin: str
    nobs_z_bin: str
    wanted_n1: int
    wanted_n2: int
    available: int
    sampled_n1: int
    sampled_n2: int
    last_n1: int
    last_n2: int

    @property
    def name(self) -> str:
        return f"{self.type_bin} {self.nobs_z_bin}"


def sample(
    spark: SparkSession, pool: DataFrame, near: DataFrame, candidates: DataFrame, params: NegativesParams, seed: int
) -> tuple[DataFrame, pa.Table]:
    """Negatives for the matched ``candidates``, and their rows of ``ingest_counts``.

    A stratum that cannot supply them is named in the log and in the counts.
    """
    hashed = _hashed(pool, params, seed)
    supply = _plan(_histogram(hashed), positives_by_stratum(candidates, near), params)
    for stratum in supply:
        short = stratum.wanted_n1 - stratum.sampled_n1, stratum.wanted_n2 - stratum.sampled_n2
        if any(short):
            log.warning("stratum %s is short of %d random and %d confuser negatives", stratum.name, *short)
    rows = _drawn(hashed, _limits(spark, supply))
    return rows.select(*tables.spec("negatives").row_schema().names), _counts(supply)


def positives_by_stratum(candidates: DataFrame, near: DataFrame) -> dict[tuple[str, str], int]:
    """Matched candidates in each (type, nobs_z bin); those outside the strata are among them."""
    matched = candidates.where("match_reason = 'matched'").select("galaxy_id")
    found = matched.join(near.select("galaxy_id", *_STRATUM), on="galaxy_id", how="inner").groupBy(*_STRATUM).count()
    return {(row["type_bin"], row["nobs_z_bin"]): row["count"] for row in found.collect()}


def confuser_sql(params: ConfuserParams) -> str:
    """Name of the first catalogue proxy a source meets, or NULL."""
    ellipticity = "sqrt(power(cast(shape_e1 as double), 2) + power(cast(shape_e2 as double), 2))"
    proxies = {
        "ring": f"(type = 'DEV' OR (type = 'SER' AND sersic > {params.ring_sersic_min}D)) "
        f"AND flux_r > {params.ring_flux_r_min_nmgy}D",
        "edge_on": f"{ellipticity} > {params.edge_on_ellipticity_min}D "
        f"AND shape_r >= cast({params.edge_on_radius_min_arcsec} as float)",
        "blue_clumpy": f"g_minus_r < {params.clumpy_g_minus_r_max}D AND mag_r < {params.clumpy_mag_r_max}D",
        "large": f"shape_r > {params.large_radius_min_arcsec}D AND flux_r > {params.large_flux_r_min_nmgy}D",
    }
    return f"CASE {' '.join(f'''WHEN coalesce({sql}, false) THEN '{name}' ''' for name, sql in proxies.items())} END"


def _hashed(pool: DataFrame, params: NegativesParams, seed: int) -> DataFrame:
    """Pool rows of the strata with confuser category and, for each pool, a place in the hash order."""

    def order(name: str) -> str:
        return f"shiftrightunsigned({key_hash_sql(seed, f'''concat('{name}/', galaxy_id)''')}, 1)"

    return pool.where(
        f"type_bin IN ({in_list(params.types, 'spark')}) AND nobs_z_bin IN ({in_list(params.nobs_z_bins, 'spark')})"
    ).selectExpr(
        *("galaxy_id", "ra", "dec", "brickname", "split", "healpix_128", *_STRATUM),
        f"{confuser_sql(params.confusers)} AS confuser_category",
        f"{order('N1')} AS order_n1",
        f"{order('N2')} AS order_n2",
    )


def _bucket(column: str) -> str:
    return f"cast(shiftright({column}, {63 - _BUCKET_BITS}) as int)"


def _histogram(hashed: DataFrame) -> Counter[tuple[str, str, str, int]]:
    """Rows by stratum, pool (N1: all, N2: confusers) and hash bucket."""
    random = f"named_struct('pool', 'N1', 'bucket', {_bucket('order_n1')}, 'use', true)"
    confuser = f"named_struct('pool', 'N2', 'bucket', {_bucket('order_n2')}, 'use', confuser_category IS NOT NULL)"
    entries = f"filter(array({random}, {confuser}), x -> x.use)"
    found = (
        hashed.selectExpr(*_STRATUM, f"explode({entries}) AS entry")
        .groupBy(*_STRATUM, "entry.pool", "entry.bucket")
        .agg(F.count(F.lit(1)).alias("rows"))
    )
    return Counter({(r["type_bin"], r["nobs_z_bin"], r["pool"], r["bucket"]): r["rows"] for r in found.collect()})


def _plan(
    histogram: Counter[tuple[str, str, str, int]], positives: Mapping[tuple[str, str], int], params: NegativesParams
) -> list[Supply]:
    plan = []
    for kind in params.types:
        for nobs in params.nobs_z_bins:
            count = {p: [histogram[kind, nobs, p, b] for b in range(1 << _BUCKET_BITS)] for p in ("N1", "N2")}
            wanted = params.per_positive * positives.get((kind, nobs), 0)
            wanted_n2 = round(params.confuser_fraction * wanted)
            sampled_n2 = min(wanted_n2, sum(count["N2"]))
            sampled_n1 = min(wanted - wanted_n2, sum(count["N1"]) - sampled_n2)
            last = _last(count["N1"], sampled_n1 + sampled_n2), _last(count["N2"], sampled_n2)
            supply = wanted - wanted_n2, wanted_n2, sum(count["N1"]), sampled_n1, sampled_n2
            plan.append(Supply(kind, nobs, *supply, *last))
    return plan


def _last(counts: Sequence[int], wanted: int) -> int:
    """The bucket up to which there are ``wanted`` rows; -1 where none are wanted."""
    return min(int(np.searchsorted(np.cumsum(counts), wanted)), len(counts) - 1) if wanted else -1


def _limits(spark: SparkSession, supply: Sequence[Supply]) -> DataFrame:
    rows = [(s.type_bin, s.nobs_z_bin, s.sampled_n1, s.sampled_n2, s.last_n1, s.last_n2) for s in supply]
    schema = "type_bin string, nobs_z_bin string, sampled_n1 bigint, sampled_n2 bigint, last_n1 int, last_n2 int"
    return spark.createDataFrame(rows, schema)


def _drawn(hashed: DataFrame, limits: DataFrame) -> DataFrame:
    """Each stratum's first confusers in their hash order, then its first galaxies of the others in theirs.

    Only rows whose hash can be among the first are ranked.
    """
    rows = hashed.join(F.broadcast(limits), on=_STRATUM, how="inner").withColumn(
        "_confuser", F.expr(f"confuser_category IS NOT NULL AND {_bucket('order_n2')} <= last_n2")
    )
    rows = rows.where(f"_confuser OR {_bucket('order_n1')} <= last_n1")
    ranked = _ranked(rows, "_confuser", "order_n2").withColumn("_taken", F.expr("_confuser AND rank < sampled_n2"))
    others = _ranked(ranked.withColumnRenamed("rank", "_rank_n2"), "_taken", "order_n1")
    return others.where("_taken OR rank < sampled_n1").withColumns(
        {
            "rank": F.expr("CASE WHEN _taken THEN _rank_n2 ELSE rank END"),
            "pool": F.expr("CASE WHEN _taken THEN 'N2' ELSE 'N1' END"),
        }
    )


def _ranked(rows: DataFrame, group: str, order: str) -> DataFrame:
    window = Window.partitionBy(*_STRATUM, group).orderBy(order, "galaxy_id")
    return rows.withColumn("rank", F.row_number().over(window).cast("bigint") - 1)


def _counts(supply: Sequence[Supply]) -> pa.Table:
    rows: list[dict[str, object]] = []
    for stratum in supply:
        sampled = stratum.sampled_n1 + stratum.sampled_n2
        outcomes = (
            ("kept", "", sampled),
            ("rejected", "not drawn", stratum.available - sampled),
            ("short", "N1", stratum.wanted_n1 - stratum.sampled_n1),
            ("short", "N2", stratum.wanted_n2 - stratum.sampled_n2),
        )
        rows += [
            {"stage": STAGE, "source_file": f"tractor_pool {stratum.name}", "outcome": o, "reason": r, "rows": n}
            for o, r, n in outcomes
            if n or o == "kept"
        ]
    return tables.spec("ingest_counts").table(rows)
