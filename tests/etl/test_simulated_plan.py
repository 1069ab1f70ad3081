"""Plans of simulated stamps: exact numbers, disjoint galaxies, configurations spread evenly, no trace of partitions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from etl.simulated import plan
from lake.errors import DataError, ParameterError
from tests.etl.survey_files import params

_POOL = (
    "galaxy_id string, ra double, dec double, brickname string, type string, split string, healpix_128 bigint, "
    "mag_r float, mag_z float, flux_r float, flux_z float, flux_w1 float, r_minus_z float, z_minus_w1 float, "
    + ", ".join(f"{kind}_{band} float" for kind in ("psfsize", "psfdepth") for band in "grz")
)
PARAMS = params("plan")


def galaxy(name: str, **changes: Any) -> tuple[Any, ...]:
    good = {
        "galaxy_id": name, "ra": 1.0, "dec": 2.0, "brickname": "0001p000", "type": "DEV", "split": "train",
        "healpix_128": 5, "mag_r": 19.5, "mag_z": 18.5, "flux_r": 15.0, "flux_z": 40.0, "flux_w1": 90.0,
        "r_minus_z": 1.0, "z_minus_w1": 0.9,
    }  # fmt: skip
    return (*{**good, **changes}.values(), *[1.2] * 3, *[900.0] * 3)


def planned(spark: Any, pool: Any, **spec: Any) -> plan.Plan:
    whole = {"grid": "grid_sota", "controls": "unpaired", "configurations_per_galaxy": 3, "max_galaxies": None, **spec}
    return plan.planned(spark, pool, params("plan", plans={"mine": whole}), "mine", 7)


def pool_of(spark: Any, count: int) -> Any:
    return spark.createDataFrame([galaxy(f"x:{i}") for i in range(count)], _POOL)


def test_the_grids_are_those_of_the_reference() -> None:
    sizes = {name: grid.configurations() for name, grid in PARAMS.grids.items()}
    assert {name: table.num_rows for name, table in sizes.items()} == {"grid_small": 48, "grid_sota": 1008}
    for table in sizes.values():
        assert len({tuple(row.values()) for row in table.drop_columns("config_id").to_pylist()}) == table.num_rows


@pytest.mark.parametrize("size", [1, 2, 3, 48, 1008, 997])
def test_the_stride_visits_every_configuration(size: int) -> None:
    assert len({turn * plan._stride(size) % size for turn in range(size)}) == size


def test_hosts_are_luminous_red_galaxies_and_all_others_are_counted(jobs_spark: Any) -> None:
    bad = {
        "type PSF": {"type": "PSF"},
        "a flux in r, z or W1 is not positive": {"flux_w1": 0.0},
        "mag_z not below 20.4": {"mag_z": 20.41},
        "r - z not above 0.4": {"r_minus_z": 0.39},
        "z - W1 not above 0.8": {"z_minus_w1": None},
    }
    rows = [galaxy("x:good"), *(galaxy(f"x:{reason}", **change) for reason, change in bad.items())]
    made = planned(jobs_spark, jobs_spark.createDataFrame(rows, _POOL))
    assert {row["galaxy_id"] for row in made.rows.collect()} == {"x:good"}
    counts = {(row["outcome"], row["reason"]): row["rows"] for row in made.counts.to_pylist()}
    assert counts == {("kept", ""): 1, **{("rejected", reason): 1 for reason in bad}}
    with pytest.raises(DataError, match="plan 'mine': none of 5 galaxies of the pool can be a host"):
        planned(jobs_spark, jobs_spark.createDataFrame(rows[1:], _POOL))


def test_unpaired_controls_are_other_galaxies_whatever_the_partitions(jobs_spark: Any) -> None:
    made = planned(jobs_spark, pool_of(jobs_spark, 400))
    rows = made.rows.toArrow()
    assert made.count == rows.num_rows == 1200
    assert plan.shared_galaxies(made.rows) == 0
    labels = Counter(rows["label"].to_pylist())
    assert abs(labels[0] - 600) < 3 * 3 * 10, "three standard errors of 400 galaxies"
    assert max(Counter(zip(rows["galaxy_id"].to_pylist(), rows["config_id"].to_pylist(), strict=True)).values()) == 1
    shares = Counter(rows["theta_e_arcsec"].to_pylist())
    assert len(shares) == 7
    assert max(shares.values()) < 1.3 * min(shares.values())
    again = planned(jobs_spark, pool_of(jobs_spark, 500).repartition(7)).rows.where("galaxy_id < 'x:4'").toArrow()
    kept = rows.filter(pa.compute.less(rows["galaxy_id"], "x:4"))
    assert again.sort_by("stamp_id").equals(kept.sort_by("stamp_id")), "more galaxies change nothing for these"


def test_paired_controls_are_the_lenses_galaxies_with_the_same_configurations(jobs_spark: Any) -> None:
    made = planned(jobs_spark, pool_of(jobs_spark, 30), grid="grid_small", controls="paired", max_galaxies=20)
    rows = made.rows.collect()
    assert made.count == len(rows) == 20 * 3 * 2
    assert plan.shared_galaxies(made.rows) == 20
    kinds = [{(r.galaxy_id, r.config_id, r.shear) for r in rows if r.label == label} for label in (0, 1)]
    assert kinds[0] == kinds[1]
    assert len({r.stamp_id for r in rows}) == 120
    assert {(r["reason"], r["rows"]) for r in made.counts.to_pylist()} == {("", 20), ("not among the first 20", 10)}
    fewer = planned(jobs_spark, pool_of(jobs_spark, 30), grid="grid_small", controls="paired", max_galaxies=5)
    assert {r.stamp_id for r in fewer.rows.collect()} < {r.stamp_id for r in rows}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": "grid_large"}, "'plan.plans.mine.grid' must be one of grid_small, grid_sota, got 'grid_large'"),
        ({"grid": "grid_small", "configurations_per_galaxy": 49}, "must be at most the 48 configurations"),
    ],
)
def test_plans_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises((DataError, ParameterError), match=message):
        planned(None, None, **change)
