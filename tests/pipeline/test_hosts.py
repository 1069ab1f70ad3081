"""Hosts of injections, from tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from lake.errors import DataError
from pipeline.hosts import host_table

CONDITIONS = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in "grz"]


class Tables:
    """What a stage reads."""

    survey = SimpleNamespace(audit_manifest="m")

    def __init__(self, held: dict[str, pa.Table]) -> None:
        self.held = held

    def read(self, name: str, columns: list[str], slices: list[str] | None = None) -> pa.Table:
        return self.held[name].select(columns)


def tables(**changes: Any) -> Any:
    rows = [
        {"galaxy_id": f"x:{i}", "shard": 0, "shard_row": i, "sha256": str(i), "split": split, "label": label}
        | dict.fromkeys(CONDITIONS, 1.2)
        | changes
        for i, (split, label) in enumerate([("val", 0), ("val", 1), ("train", 0), ("val", 0)])
    ]
    shapes = [{"galaxy_id": f"x:{i}", "type": "SER", "shape_e1": 0.1, "shape_e2": 0.2} for i in range(4)]
    return Tables({"manifest": pa.Table.from_pylist(rows), "tractor_pool": pa.Table.from_pylist(shapes)})


def test_hosts_are_validation_negatives_with_the_manifests_conditions() -> None:
    found = host_table(tables(psfsize_r=1.4)).sort_by("galaxy_id")
    assert found["galaxy_id"].to_pylist() == ["x:0", "x:3"]
    assert found["psfsize_r"].to_pylist() == [1.4, 1.4]
    assert found["sha256"].to_pylist() == ["0", "3"]


@pytest.mark.parametrize("changes", [{"psfsize_r": None}, {"psfdepth_r": 0.0}])
def test_no_host_at_all_says_what_is_missing(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"of 2 validation negatives none has a psfsize_r and a psfdepth_r"):
        host_table(tables(**changes))
