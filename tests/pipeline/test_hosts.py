"""Hosts of injections, from tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from lake.errors import DataError
from pipeline.hosts import host_table
from tests.etl.survey_files import SPLIT

CONDITIONS = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in "grz"]


class Tables:
    """What a stage reads."""

    survey = SimpleNamespace(audit_manifest="m", split=SPLIT)

    def __init__(self, held: dict[str, pa.Table]) -> None:
        self.held = held

    def read(self, name: str, columns: list[str], slices: list[str] | None = None, ordered: bool = True) -> pa.Table:
        return self.held[name].select(columns)


def tables(**changes: Any) -> Any:
    kinds = [("val", 0), ("val", 1), ("train", 0), ("test", 0)] * 50
    rows = [
        {"galaxy_id": f"x:{i:03d}", "shard": 0, "shard_row": i, "sha256": str(i), "split": split, "label": label}
        | {"ra": 1.0 + i, "dec": 0.1 * i, **dict.fromkeys(CONDITIONS, 1.2), **changes}
        for i, (split, label) in enumerate(kinds)
    ]
    shapes = [{"galaxy_id": row["galaxy_id"], "type": "SER", "shape_e1": 0.1, "shape_e2": 0.2} for row in rows]
    return Tables({"manifest": pa.Table.from_pylist(rows), "tractor_pool": pa.Table.from_pylist(shapes)})


def test_hosts_are_validation_negatives_with_the_manifests_conditions() -> None:
    found = host_table(tables(psfsize_r=1.4))
    places = [int(name.removeprefix("x:")) for name in found["galaxy_id"].to_pylist()]
    assert len(places) > 5
    assert all(place % 4 == 0 for place in places)
    assert set(found["psfsize_r"].to_pylist()) == {1.4}
    assert found["sha256"].to_pylist() == [str(place) for place in places]


@pytest.mark.parametrize("changes", [{"psfsize_r": None}, {"psfdepth_r": 0.0}])
def test_no_host_at_all_says_what_is_missing(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"of [0-9]+ validation negatives kept for it none has a psfsize_r and a psf"):
        host_table(tables(**changes))
