"""Counts of a completeness table in Spark SQL: cell x threshold x source-magnitude bin, with sums over hosts.

Means come from exact decimal sums, so they do not depend on how the rows are partitioned. A cell without
injections has its rows too, with n = 0. Marginal rows group each host over all cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from etl.tables.table import ddl
from lake.contract.rules import literal
from lake.errors import DataError
from lake.sky.survey import SURVEY

ALL = "all"
MARGINAL = "marginal"
_INDICES = ["theta_e_index", "psf_index", "depth_index"]
CELL_SCHEMA = pa.schema(
    [
        ("cell", pa.string()),
        *((name, pa.int32()) for name in _INDICES),
        ("theta_e_arcsec", pa.float64()),
        *(
            (f"{axis}_{edge}", pa.float64())
            for axis in ("psf_fwhm_nea_arcsec", "depth_mag")
            for edge in ("low", "high")
        ),
    ]
)
"""The planned cells of a grid: name, indices, Einstein radius, and edges of seeing and depth."""

_MAG = SURVEY.source_columns[0]
_GROUP = ["cell", "source_mag_bin", "threshold_id"]
_COUNTS = ("n", "detected", "failed", "hosts", "host_detected_sq", "host_detected_n", "host_n_sq")


def summarise(
    spark: SparkSession,
    injections: DataFrame,
    injection_scores: DataFrame,
    cells: pa.Table,
    thresholds: Mapping[str, float],
    edges: Sequence[float],
    weighting_id: str,
) -> DataFrame:
    """Counts for every planned cell (``CELL_SCHEMA``) and ``marginal``, threshold and magnitude bin.

    ``injections`` and ``injection_scores`` are of one grid and one scorer. An injection is detected when its
    probability is above the threshold; failed ones are counted apart from ``n``. Besides the table's own columns there
    are the sums over hosts of detected^2, detected * n and n^2.
    """
    identity = _identity(injections, injection_scores, cells)
    marginal = pa.Table.from_pylist([{"cell": MARGINAL}], schema=CELL_SCHEMA)
    rows = pa.concat_tables([cells.select(CELL_SCHEMA.names).cast(CELL_SCHEMA), marginal])
    planned = spark.createDataFrame([tuple(row.values()) for row in rows.to_pylist()], ddl(CELL_SCHEMA))
    limits = spark.createDataFrame(
        [(name, float(value)) for name, value in sorted(thresholds.items())], "threshold_id string, threshold double"
    )
    thresholds = thresholds or {"none": 1.0}
    per_host = _per_host(_marked(injections, injection_scores, planned, edges), thresholds.values())
    counted = _per_group(per_host, thresholds)
    bins = spark.createDataFrame([(name,) for name in (*bin_names(edges), ALL)], "source_mag_bin string")
    frame = planned.crossJoin(F.broadcast(bins)).crossJoin(F.broadcast(limits))
    whole = frame.join(counted, on=_GROUP, how="left")
    return whole.selectExpr(
        *(f"{literal(value, 'spark')} AS {name}" for name, value in {**identity, "weighting_id": weighting_id}.items()),
        *(*_GROUP, "threshold", *(n for n in CELL_SCHEMA.names if n not in ("cell", *_INDICES))),
        *(f"coalesce({name}, 0L) AS {name}" for name in _COUNTS),
        "cast(sum_score as double) / nullif(n, 0) AS mean_score",
        "cast(sum_snr as double) / nullif(n_snr, 0) AS mean_arc_snr",
    )


def bin_names(edges: Sequence[float]) -> list[str]:
    """Names of the source-magnitude bins."""
    return [f"{low:g}-{high:g}" for low, high in pairwise(edges)]


def _identity(injections: DataFrame, scores: DataFrame, cells: pa.Table) -> dict[str, str]:
    """Grid, scorer and prior; more than one of them, none, or an injection in no planned cell is an error."""
    drawn = injections.groupBy("grid_id", "grid_name", "prior", *_INDICES).count().collect()
    judged = scores.select("grid_id", "checkpoint_id", "generation").distinct().collect()
    identity = {name: _only(name, drawn) for name in ("grid_id", "grid_name", "prior")}
    identity |= {name: _only(name, judged) for name in ("checkpoint_id", "generation")}
    other = _only("grid_id", judged)
    if other != identity["grid_id"]:
        raise DataError(f"injections are of grid {identity['grid_id']} and scores of grid {other}: run `dhs repro`")
    planned = {tuple(cell[name] for name in _INDICES) for cell in cells.select(_INDICES).to_pylist()}
    strays = sum(row["count"] for row in drawn if tuple(row[name] for name in _INDICES) not in planned)
    if strays:
        raise DataError(f"{strays} injections lie in no planned cell of their grid: run `dhs repro`")
    return identity


def _only(name: str, rows: Sequence[Row]) -> str:
    values = sorted({str(row[name]) for row in rows})
    if len(values) != 1:
        raise DataError(f"completeness must be of one {name}, got {', '.join(values) or 'no rows'}")
    return values[0]


def _bin_sql(edges: Sequence[float]) -> str:
    """Bin of the source magnitude: lower edges belong to their bin, and so does the upper edge of the last one."""
    names = bin_names(edges)
    bounds = list(pairwise(edges))
    whens = [f"WHEN {_MAG} >= {a}D AND {_MAG} < {b}D THEN '{n}'" for n, (a, b) in zip(names, bounds, strict=True)]
    return f"CASE {' '.join(whens)} WHEN {_MAG} = {edges[-1]}D THEN '{names[-1]}' END"


def _marked(injections: DataFrame, scores: DataFrame, planned: DataFrame, edges: Sequence[float]) -> DataFrame:
    """One row per injection and group it belongs to: its cell or ``marginal``, its magnitude bin or ``all``."""
    facts = injections.select("injection_id", "galaxy_id", _MAG, "arc_snr", *_INDICES)
    judged = scores.select("injection_id", "score", "probability", "status")
    rows = facts.join(judged, on="injection_id", how="left").join(
        F.broadcast(planned.select("cell", *_INDICES)), on=_INDICES, how="inner"
    )
    return rows.selectExpr(
        "galaxy_id",
        "coalesce(status = 'scored', false) AS good",
        "probability",
        "cast(score as decimal(20,10)) AS score",
        "cast(arc_snr as decimal(24,10)) AS arc_snr",
        f"explode(array(cell, '{MARGINAL}')) AS cell",
        f"{_bin_sql(edges)} AS own_bin",
    ).selectExpr("*", f"explode(filter(array(own_bin, '{ALL}'), b -> b IS NOT NULL)) AS source_mag_bin")


def _per_host(marked: DataFrame, limits: Iterable[float]) -> DataFrame:
    """Counts of each host in each group, with the detections at every threshold in a column of its own.

    A row for each threshold would take five times as long: all sums would be formed again for each.
    """
    return marked.groupBy("cell", "source_mag_bin", "galaxy_id").agg(
        F.expr("count_if(good) AS n"),
        F.expr("count_if(NOT good) AS failed"),
        F.expr("sum(CASE WHEN good THEN score END) AS sum_score"),
        F.expr("sum(CASE WHEN good THEN arc_snr END) AS sum_snr"),
        F.expr("count_if(good AND arc_snr IS NOT NULL) AS n_snr"),
        *(F.expr(f"count_if(good AND probability > {float(v)!r}D) AS detected_{i}") for i, v in enumerate(limits)),
    )


def _per_group(hosts: DataFrame, thresholds: Iterable[str]) -> DataFrame:
    """Sums over hosts, one row for each group and threshold."""
    names = list(thresholds)
    powers = {
        "detected": "detected_{0}",
        "host_detected_sq": "detected_{0} * detected_{0}",
        "host_detected_n": "detected_{0} * n",
    }
    sums = {f"{name}_{i}": power.format(i) for i in range(len(names)) for name, power in powers.items()}
    grouped = hosts.groupBy("cell", "source_mag_bin").agg(
        *(F.expr(f"sum({name}) AS {name}") for name in ("n", "failed", "sum_score", "sum_snr", "n_snr")),
        F.expr("count_if(n > 0) AS hosts"),
        F.expr("sum(n * n) AS host_n_sq"),
        *(F.expr(f"sum({value}) AS {name}") for name, value in sums.items()),
    )
    each = (
        f"struct({literal(name, 'spark')} AS threshold_id, {', '.join(f'{kind}_{i} AS {kind}' for kind in powers)})"
        for i, name in enumerate(names)
    )
    return grouped.selectExpr("*", f"inline(array({', '.join(each)}))").drop(*sums)
