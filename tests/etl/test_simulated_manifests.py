"""Manifests of simulated stamps: what is taken, what their controls must be, and hard negatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from etl.simulated import manifests
from lake import tables
from lake.errors import DataError, ParameterError
from tests.etl.survey_files import params

PARAMS = params("stamp_manifest")
COLUMNS = [name for name in tables.spec("stamp_manifest").row_schema().names if name != "manifest_id"]


def row(galaxy: str, label: int, config: int = 0, **changes: Any) -> dict[str, Any]:
    number = int(galaxy[1:])
    good = {
        "stamp_id": f"{galaxy}/{config:04d}{'CL'[label]}", "galaxy_id": galaxy, "set_name": "unpaired", "shard": 0,
        "shard_row": number, "xxh3_128": f"{galaxy}{label}", "ra": 10.0 + number, "dec": 1.0, "split": "train",
        "healpix_128": number, "label": label, "tier": None, "hard_negative": False,
        **{f"{kind}_{band}": 1.0 for kind in ("psfsize", "psfdepth") for band in "grz"},
    }  # fmt: skip
    return {**good, **changes}


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=tables.spec("stamp_manifest").row_schema())


def test_stamps_that_were_made_resolved_and_not_masked_are_taken(jobs_spark: Any) -> None:
    kinds = [
        ("good", "ok", 0.5, False), ("blurred", "ok", 0.49, False), ("masked", "ok", 2.0, True),
        ("rejected", "rejected", 2.0, None),
    ]  # fmt: skip
    ddl = "stamp_id string, status string, theta_e_over_fwhm_nea double, ring_masked boolean"
    frame = jobs_spark.createDataFrame(kinds, ddl)
    for name in set(COLUMNS) - {"stamp_id", "tier", "hard_negative"}:
        frame = frame.selectExpr("*", f"'x' AS {name}")
    expected = {"sim_unpaired_resolved": {"good"}, "sim_unpaired": {"good", "blurred", "masked"}}
    for name, wanted in expected.items():
        found = manifests.rows(frame, PARAMS.manifests[name])
        assert {one.stamp_id for one in found.collect()} == wanted
        assert found.columns == COLUMNS


def test_the_manifests_are_those_that_generations_name() -> None:
    from modeling.config import generations, resolve_generation

    wanted = {resolve_generation(name).manifest for name in generations()} - {"audit_70_15_15", "parity_70_30"}
    hard = {"demo_hard_negatives", "sim_unpaired_hard_negatives", "unpaired_hard_negatives"}
    assert wanted == {*PARAMS.manifests, *hard}
    with pytest.raises(ParameterError, match=r"'manifest_id' must be one of sim_paired, .*, got 'sim_pair'"):
        manifests.named(PARAMS, "sim_pair")


def test_controls_must_be_what_the_manifest_declares() -> None:
    unpaired, paired = PARAMS.manifests["sim_unpaired"], PARAMS.manifests["sim_paired"]
    apart = table(row("g1", 1), row("g2", 0), row("g3", 1, split="val"), row("g4", 0, split="val"))
    together = table(row("g1", 1), row("g1", 0))
    assert all(check.passed for check in manifests.check(apart, unpaired, "m"))
    assert all(check.passed for check in manifests.check(together, paired, "m"))
    with pytest.raises(DataError, match="'m': 1 of 1 galaxies have lenses and controls, and its controls must be unp"):
        manifests.check(together, unpaired, "m")
    with pytest.raises(DataError, match="'m': 0 of 4 galaxies have lenses and controls, and its controls must be pai"):
        manifests.check(apart, paired, "m")
    with pytest.raises(DataError, match="'m': 1 lenses and 0 controls, and it needs both"):
        manifests.check(table(row("g1", 1)), unpaired, "m")


def test_a_galaxy_in_two_splits_and_a_lack_of_controls_are_told() -> None:
    bad = table(
        row("g1", 1), row("g1", 1, config=1, split="val"), *(row(f"g{n}", 1) for n in range(2, 60)), row("g99", 0)
    )
    failed = {check.name for check in manifests.check(bad, PARAMS.manifests["sim_unpaired"], "m") if not check.passed}
    assert failed == {"controls", "overlap/galaxy_id", "overlap/healpix_128"}


def test_one_stamp_of_each_position_is_a_hard_negative_and_earlier_ones_stay() -> None:
    rows = table(
        row("g1", 0), row("g1", 0, config=1), row("g2", 0), row("g3", 0, hard_negative=True), row("g4", 1),
        row("g5", 0, ra=11.0000004),
    )  # fmt: skip
    ids = pa.array(["g1/0000C", "g1/0001C", "g2/0000C", "g3/0000C", "g5/0000C"])
    made = manifests.hardened(rows, ids, np.array([0.95, 0.95, 0.9, 0.1, 0.99]), above=0.9)
    hard = {r["stamp_id"] for r in made.to_pylist() if r["hard_negative"]}
    assert hard == {"g1/0000C", "g3/0000C"}, "g5 is at the place of g1, and 0.9 is not above 0.9"
    assert made.schema == rows.schema
    again = manifests.hardened(made, ids, np.array([0.0, 0.0, 1.0, 0.0, 0.0]), above=0.9)
    assert {r["stamp_id"] for r in again.to_pylist() if r["hard_negative"]} == {*hard, "g2/0000C"}
    none = manifests.hardened(rows, ids, np.zeros(5), above=0.9)
    assert none["hard_negative"].to_pylist() == rows["hard_negative"].to_pylist()
