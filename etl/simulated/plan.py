"""``tractor_pool`` -> ``injection_manifest``: which galaxies become lenses of which configuration, or controls.

All choices are keyed hashes of the galaxy, so a plan does not depend on partitions or the order of rows. Rows are made
in Spark, and only counts leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from etl.stampconfig import PlanParams, PlanSpec
from lake import tables
from lake.errors import DataError, not_one_of
from lake.sky.hashing import key_hash_sql
from lake.sky.survey import BANDS

STAGE = "plan"
_HOST = (
    "galaxy_id", "ra", "dec", "split", "healpix_128", "brickname", "mag_r",
    *(f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in BANDS),
)  # fmt: skip
_GOLDEN = 0.618


@dataclass(frozen=True)
class Plan:
    """Rows of ``injection_manifest``, how many there are, and rows of ``ingest_counts``."""

    rows: DataFrame
    count: int
    counts: pa.Table


def planned(spark: SparkSession, pool: DataFrame, params: PlanParams, name: str, seed: int) -> Plan:
    """The plan called ``name``; DataError if no galaxy of the pool can be a host."""
    spec = _named(params, name)
    fates = {row["reason"]: row["rows"] for row in _fates(pool, params).collect()}
    available = fates.pop(None, 0)
    hosts = available if spec.max_galaxies is None else min(available, spec.max_galaxies)
    if not hosts:
        raise DataError(f"plan '{name}': none of {sum(fates.values())} galaxies of the pool can be a host: {fates}")
    if hosts < available:
        fates[f"not among the first {hosts}"] = available - hosts
    chosen = _chosen(pool, params, spec, seed)
    rows = _stamps(spark, chosen, params, spec, seed).select(*_columns())
    each = spec.configurations_per_galaxy * (2 if spec.controls == "paired" else 1)
    return Plan(rows, hosts * each, _counts(name, hosts, fates))


def _named(params: PlanParams, name: str) -> PlanSpec:
    if name not in params.plans:
        raise not_one_of("plan", params.plans, name)
    spec = params.plans[name]
    if spec.grid not in params.grids:
        raise not_one_of(f"plan.plans.{name}.grid", params.grids, spec.grid)
    size = params.grids[spec.grid].configurations().num_rows
    if spec.configurations_per_galaxy > size:
        raise DataError(
            f"'plan.plans.{name}.configurations_per_galaxy' must be at most the {size} configurations of "
            f"'{spec.grid}', got {spec.configurations_per_galaxy}"
        )
    return spec


def _columns() -> list[str]:
    return [column for column in tables.spec("injection_manifest").row_schema().names if column != "plan"]


def rejection_sql(params: PlanParams) -> str:
    """The first cut that a galaxy of the pool fails as a host, or NULL: luminous red galaxies pass."""
    cuts = {
        "type PSF": "type <> 'PSF'",
        "a flux in r, z or W1 is not positive": "flux_r > 0 AND flux_z > 0 AND flux_w1 > 0",
        f"mag_z not below {params.mag_z_max:g}": f"mag_z < {params.mag_z_max}D",
        f"r - z not above {params.r_minus_z_min:g}": f"r_minus_z > {params.r_minus_z_min}D",
        f"z - W1 not above {params.z_minus_w1_min:g}": f"z_minus_w1 > {params.z_minus_w1_min}D",
    }
    return f"CASE {' '.join(f'''WHEN NOT coalesce({sql}, false) THEN '{name}' ''' for name, sql in cuts.items())} END"


def _fates(pool: DataFrame, params: PlanParams) -> DataFrame:
    return pool.groupBy(F.expr(rejection_sql(params)).alias("reason")).agg(F.count(F.lit(1)).alias("rows"))


def _chosen(pool: DataFrame, params: PlanParams, spec: PlanSpec, seed: int) -> DataFrame:
    """The hosts."""
    hosts = pool.where(f"({rejection_sql(params)}) IS NULL").select(*_HOST)
    if spec.max_galaxies is None:
        return hosts
    order = F.expr(f"shiftrightunsigned({key_hash_sql(seed, _keyed('chosen'))}, 1)")
    return hosts.orderBy(order, "galaxy_id").limit(spec.max_galaxies)


def _keyed(stream: str) -> str:
    return f"concat('{stream}/', galaxy_id)"


def _stamps(spark: SparkSession, hosts: DataFrame, params: PlanParams, spec: PlanSpec, seed: int) -> DataFrame:
    """Rows of all hosts: each takes configurations that are evenly spread over the grid, from a start of its own."""
    grid = params.grids[spec.grid].configurations()
    size, control = grid.num_rows, f"shiftrightunsigned({key_hash_sql(seed, _keyed('control'))}, 11)"
    start = f"shiftrightunsigned({key_hash_sql(seed, _keyed('configuration'))}, 1)"
    if spec.controls == "paired":
        labels = "array(1, 0)"
    else:
        labels = f"array(CASE WHEN {control} * {2.0**-53!r}D < {params.control_share}D THEN 0 ELSE 1 END)"
    turns = hosts.selectExpr(
        "*", f"{start} AS start", f"explode(sequence(0, {spec.configurations_per_galaxy - 1})) AS turn"
    )
    labelled = turns.selectExpr(
        *_HOST,
        f"cast(pmod(pmod(start, {size}) + turn * {_stride(size)}, {size}) as int) AS config_id",
        f"explode({labels}) AS label",
    )
    made = labelled.join(F.broadcast(spark.createDataFrame(grid.to_pandas())), on="config_id", how="inner")
    mark = "CASE label WHEN 1 THEN 'L' ELSE 'C' END"
    return made.withColumn("stamp_id", F.expr(f"format_string('%s/%04d%s', galaxy_id, config_id, {mark})"))


def _stride(size: int) -> int:
    """A step near the golden section of the grid that visits all of its configurations."""
    return next(step for step in range(max(1, round(_GOLDEN * size)), 0, -1) if gcd(step, size) == 1)


def _counts(name: str, hosts: int, fates: dict[str, int]) -> pa.Table:
    of_plan = {"stage": f"{STAGE}.{name}", "source_file": "tractor_pool"}
    rows = [{**of_plan, "outcome": "kept", "reason": "", "rows": hosts}]
    rows += [{**of_plan, "outcome": "rejected", "reason": why, "rows": n} for why, n in sorted(fates.items())]
    return tables.spec("ingest_counts").table(rows)


def shared_galaxies(rows: DataFrame) -> int:
    """Galaxies that have lenses and controls among rows with ``galaxy_id`` and ``label``."""
    both = rows.groupBy("galaxy_id").agg(F.expr("count(distinct label)").alias("labels")).where("labels > 1")
    return both.count()
