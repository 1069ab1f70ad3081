"""Negatives: strata that follow the positives, exact numbers, keyed hash order, shortage that is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from etl.catalogues import negatives
from lake.sky.hashing import key_hash
from tests.etl.survey_files import params

_POOL = (
    "galaxy_id string, ra double, dec double, brickname string, type string, type_bin string, nobs_z_bin string, "
    "split string, healpix_128 bigint, sersic float, flux_r float, shape_e1 float, shape_e2 float, shape_r float, "
    "g_minus_r float, mag_r float"
)


def pool(spark: Any, count: int, kind: str = "REX", nobs: str = "3-5", confusers: int = 0, **plain: Any) -> Any:
    values = {"sersic": 1.0, "flux_r": 1.0, "e1": 0.0, "e2": 0.0, "r": 0.5, "gr": 1.0, "mag": 21.0} | plain
    rows = [
        (f"x:{kind}_{nobs}_{i}", 1.0, 2.0, "0001p000", kind, kind, nobs, "train", 5, values["sersic"],
         30.0 if i < confusers else values["flux_r"], values["e1"], values["e2"],
         3.0 if i < confusers else values["r"], values["gr"], values["mag"])
        for i in range(count)
    ]  # fmt: skip
    return spark.createDataFrame(rows, _POOL)


def positives(spark: Any, strata: list[tuple[str, str]]) -> tuple[Any, Any]:
    """Near table and matched candidates, one per given stratum."""
    ids = [f"p{i}" for i in range(len(strata))]
    near = spark.createDataFrame(
        [(g, *s) for g, s in zip(ids, strata, strict=True)], "galaxy_id string, type_bin string, nobs_z_bin string"
    )
    listed = spark.createDataFrame(
        [(g, "matched") for g in ids] + [(None, "no source within the radius")], "galaxy_id string, match_reason string"
    )
    return near, listed


def test_numbers_follow_the_positives_and_shortage_is_told(jobs_spark: Any) -> None:
    rows = pool(jobs_spark, 400, confusers=40).unionByName(pool(jobs_spark, 30, "SER", "11+"))
    near, listed = positives(
        jobs_spark, [("REX", "3-5")] * 10 + [("SER", "11+")] * 4 + [("PSF", "3-5"), ("SER", "1-2")]
    )
    drawn_rows, counted = negatives.sample(jobs_spark, rows, near, listed, params("negatives", per_positive=10), 3)
    found = drawn_rows.groupBy("type_bin", "nobs_z_bin", "pool").count().collect()
    assert {(r[0], r[1], r[2]): r[3] for r in found} == {
        ("REX", "3-5", "N1"): 85, ("REX", "3-5", "N2"): 15, ("SER", "11+", "N1"): 30,
    }  # fmt: skip
    counts = {(r["source_file"], r["outcome"], r["reason"]): r["rows"] for r in counted.to_pylist()}
    assert counts["tractor_pool SER 11+", "short", "N1"] == 4
    assert counts["tractor_pool SER 11+", "short", "N2"] == 6
    assert counts["tractor_pool REX 3-5", "kept", ""] == 100
    assert counts["tractor_pool REX 3-5", "rejected", "not drawn"] == 300
    ranks = sorted(r["rank"] for r in drawn_rows.where("pool = 'N1' AND type_bin = 'REX'").collect())
    assert ranks == list(range(85))
    drawn = [r["galaxy_id"] for r in drawn_rows.collect()]
    assert len(set(drawn)) == len(drawn)


def test_the_sample_is_the_lowest_keyed_hashes_whatever_the_partitions(jobs_spark: Any) -> None:
    rows = pool(jobs_spark, 3000)
    near, listed = positives(jobs_spark, [("REX", "3-5")] * 7)
    chosen = params("negatives", per_positive=20, confuser_fraction=0.0)
    drawn = [
        {r["galaxy_id"]: r["rank"] for r in negatives.sample(jobs_spark, f, near, listed, chosen, 11)[0].collect()}
        for f in (rows, rows.repartition(7, "galaxy_id"), rows.orderBy("galaxy_id", ascending=False).coalesce(1))
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    ids = np.array([f"x:REX_3-5_{i}" for i in range(3000)])
    order = key_hash(11, pa.array([f"N1/{i}" for i in ids])) >> np.uint64(1)
    expected = ids[np.argsort(order)][:140].tolist()
    assert drawn[0] == {name: rank for rank, name in enumerate(expected)}
    other = negatives.sample(jobs_spark, rows, near, listed, chosen, 12)[0].collect()
    assert {r["galaxy_id"] for r in other} != set(expected)


def test_a_larger_sample_holds_the_smaller_one(jobs_spark: Any) -> None:
    rows = pool(jobs_spark, 500, confusers=200)
    near, listed = positives(jobs_spark, [("REX", "3-5")])
    samples = []
    for per_positive in (40, 120):
        chosen = params("negatives", per_positive=per_positive)
        made = negatives.sample(jobs_spark, rows, near, listed, chosen, 1)[0]
        samples.append({r["galaxy_id"] for r in made.where("pool = 'N2'").collect()})
    small, large = samples
    assert len(small) == 6
    assert small < large


@pytest.mark.parametrize(
    ("kind", "values", "category"),
    [
        ("DEV", {"flux_r": 5.1}, "ring"),
        ("DEV", {"flux_r": 5.0}, None),
        ("SER", {"flux_r": 6.0, "sersic": 4.1}, "ring"),
        ("SER", {"flux_r": 6.0, "sersic": 4.0}, None),
        ("SER", {"e1": 0.3, "e2": 0.41, "r": 0.6}, "edge_on"),
        ("SER", {"e1": 0.5, "e2": 0.0, "r": 0.6}, None),
        ("SER", {"e1": 0.3, "e2": 0.41, "r": 0.59}, None),
        ("REX", {"gr": 0.39, "mag": 20.4}, "blue_clumpy"),
        ("REX", {"gr": 0.39, "mag": 20.5}, None),
        ("REX", {"gr": None, "mag": None, "r": None}, None),
        ("REX", {"r": 2.1, "flux_r": 3.1}, "large"),
        ("REX", {"r": 2.0, "flux_r": 3.1}, None),
    ],
)
def test_confuser_proxies(jobs_spark: Any, kind: str, values: dict[str, Any], category: str | None) -> None:
    row = pool(jobs_spark, 1, kind, **values)
    sql = negatives.confuser_sql(params("negatives").confusers)
    assert row.selectExpr(f"{sql} AS category").collect()[0]["category"] == category
