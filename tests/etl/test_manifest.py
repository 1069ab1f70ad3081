"""Manifests: their rows, and checks that must fail when something is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from etl.cutouts import manifest
from etl.cutouts.cutter import CONDITIONS
from lake import tables
from lake.contract import rules
from lake.errors import DataError, ParameterError
from tests.etl.survey_files import SPLIT, params

PARAMS = params("manifest")
AUDIT, PARITY = "audit_70_15_15", "parity_70_30"
COADDS = (1.5, 1.4, 1.3, 50.0, 40.0, 30.0)
"""Conditions from the coadds."""
KNOWN = {"n1": (None, 1.2, 0.0, 500.0, None, 500.0)}
"""A catalogue row without some of its conditions."""


@pytest.fixture
def sources() -> dict[str, pa.Table]:
    """Two negatives, two positives, one of each without a good cut-out."""

    def table(columns: str, rows: list[tuple[Any, ...]]) -> pa.Table:
        return pa.Table.from_pylist([dict(zip(columns.split(), row, strict=True)) for row in rows])

    def facts(names: list[str]) -> pa.Table:
        rows = [
            (n, 1.0, 2.0, "SER", "3-5", ("train", "test")[i % 2], i, *KNOWN.get(n, (1.2,) * 3 + (500.0,) * 3), 0.05)
            for i, n in enumerate(names)
        ]
        return pa.Table.from_pylist(
            [dict(zip(manifest.FACTS.names, row, strict=True)) for row in rows], schema=manifest.FACTS
        )

    good = [(n, "v1", "ok", 7, i, f"{i:064x}", *COADDS) for i, n in enumerate(["n0", "n1", "p0", "p1"])]
    return {
        "negatives": table(
            "galaxy_id pool confuser_category", [("n0", "N1", "ring"), ("n1", "N2", "large"), ("n2", "N1", None)]
        ),
        "candidates": table(
            "galaxy_id tier match_reason",
            [("p0", "A", "matched"), ("p1", "B", "matched"), (None, "B", "no source within the radius")],
        ),
        "near": facts(["p0", "p1", "other"]),
        "pool": facts(["n0", "n1", "n2", "n3"]),
        "cutouts": table(
            " ".join(("galaxy_id cutout_version status shard shard_row sha256", *CONDITIONS)),
            [*good, ("n2", "v1", "rejected", *[None] * 9)],
        ),
    }


def made(sources: dict[str, pa.Table], name: str) -> pa.Table:
    return manifest.rows(**sources, params=PARAMS, manifest_id=name)


def test_rows_of_both_manifests(sources: dict[str, pa.Table]) -> None:
    rows = {r["galaxy_id"]: r for r in made(sources, AUDIT).to_pylist()}
    assert set(rows) == {"n0", "n1", "p0", "p1"}
    assert rows["p1"]["label"] == 1
    assert (rows["p1"]["pool"], rows["p1"]["tier"]) == ("P", "B")
    assert (rows["n0"]["pool"], rows["n0"]["confuser_category"], rows["n0"]["tier"]) == ("N1", None, None)
    assert rows["n1"]["confuser_category"] == "large"
    assert [rows["n0"][name] for name in CONDITIONS] == pytest.approx([1.2] * 3 + [500.0] * 3)
    assert [rows["n1"][name] for name in CONDITIONS] == pytest.approx([1.5, 1.2, 1.3, 500.0, 40.0, 500.0])
    assert rows["p1"]["sha256"] == f"{3:064x}"
    assert rows["p1"]["cutout_path"] == "bucket-0007.npy#3"
    assert {r["split"] for r in rows.values()} == {"train", "test"}
    parity = {r["galaxy_id"]: r for r in made(sources, PARITY).to_pylist()}
    assert {r["split"] for r in parity.values()} == {"train", "val"}
    assert {name: row["tier"] for name, row in parity.items()} == {name: row["tier"] for name, row in rows.items()}
    rules.require(tables.spec("manifest"), made(sources, AUDIT))


def test_requested_counts_matched_candidates_and_negatives(sources: dict[str, pa.Table]) -> None:
    assert manifest.requested(sources["negatives"], sources["candidates"]) == {1: 2, 0: 3}


def table(pixels: int = 2000, per_pixel: int = 5, seed: int = 0, **changes: Any) -> pa.Table:
    """A sound manifest: splits by pixel, seeing by pixel."""
    rng = np.random.default_rng(seed)
    split = rng.choice(["train", "val", "test"], pixels, p=[0.7, 0.15, 0.15]).astype(object)
    n = pixels * per_pixel
    columns: dict[str, Any] = {
        "galaxy_id": [f"g{i}" for i in range(n)],
        "cutout_path": [f"s#{i}" for i in range(n)],
        "split": np.repeat(split, per_pixel),
        "label": (np.arange(n) % per_pixel == 0).astype(np.int32),
        "healpix_128": np.repeat(np.arange(pixels), per_pixel),
        "tier": np.where(np.arange(n) % per_pixel == 0, np.where(np.arange(n) % 2, "A", "B"), None),
        "psfsize_r": np.repeat(rng.normal(1.2, 0.2, pixels), per_pixel).astype(np.float32),
        "psfdepth_r": np.repeat(rng.normal(500, 90, pixels), per_pixel).astype(np.float32),
    }
    return pa.table({**columns, **changes})


def check(rows: pa.Table, name: str = AUDIT) -> dict[str, manifest.Check]:
    labels = np.asarray(rows["label"])
    asked = {1: int(labels.sum()), 0: int((labels == 0).sum())}
    return {c.name: c for c in manifest.check(rows, asked, PARAMS, name, SPLIT)}


def test_a_sound_manifest_passes_every_check() -> None:
    found = check(table())
    assert {name.split("/")[0] for name in found} == {"coverage", "proportion", "overlap", "tier", "ks"}
    assert [name for name, c in found.items() if not c.passed] == []
    assert found["proportion/train"].n == 2000
    assert found["ks/psfsize_r/test-train"].n > 1500


def test_wrong_proportions_fail_where_there_are_pixels_enough() -> None:
    rows = table()
    moved = np.asarray(rows["split"]).astype(object)
    moved[:3000] = "val"
    assert not check(rows.set_column(2, "split", pa.array(moved)))["proportion/val"].passed
    few = check(table(pixels=12))
    assert few["proportion/train"].passed
    assert few["proportion/train"].high > 0.9, "three standard errors of twelve pixels"


def test_pixels_are_the_unit_whatever_their_rows() -> None:
    dense = check(table(pixels=100, per_pixel=50))["proportion/train"]
    sparse = check(table(pixels=100, per_pixel=5))["proportion/train"]
    assert dense.high == pytest.approx(sparse.high)


def test_overlaps_are_seen() -> None:
    rows = table()
    pixels = np.asarray(rows["healpix_128"]).copy()
    split = np.asarray(rows["split"])
    pixels[np.flatnonzero(split == "val")[0]] = pixels[np.flatnonzero(split == "train")[0]]
    found = check(rows.set_column(4, "healpix_128", pa.array(pixels)))
    assert (found["overlap/healpix_128"].value, found["overlap/healpix_128"].passed) == (1.0, False)
    assert found["overlap/galaxy_id"].passed


def test_different_seeing_is_seen_and_neighbours_count_once() -> None:
    rows = table()
    split = np.asarray(rows["split"])
    worse = np.asarray(rows["psfsize_r"]) + np.where(split == "val", 0.1, 0).astype(np.float32)
    assert not check(rows.set_column(6, "psfsize_r", pa.array(worse)))["ks/psfsize_r/train-val"].passed
    few = table(pixels=20, per_pixel=500)
    assert check(few)["ks/psfsize_r/train-val"].n <= 20


def test_too_few_cutouts_are_refused() -> None:
    rows = table()
    with pytest.raises(DataError, match=r"'audit_70_15_15': 2000 of 4000 positives .* manifest.minimum_coverage"):
        manifest.check(rows, {1: 4000, 0: 8000}, PARAMS, AUDIT, SPLIT)
    with pytest.raises(ParameterError, match="'manifest_id' must be one of audit_70_15_15, parity_70_30"):
        manifest.check(rows, {1: 2000, 0: 8000}, PARAMS, "other", SPLIT)


def test_stamps_of_two_splits_share_no_pixel() -> None:
    """Of two rows that may, the negative goes, or that of the more plentiful split."""
    rows = [
        (10.0, 0.0, "train", 0), (10.0, 36.0, "val", 0),  # the negative of train goes
        (20.0, 0.0, "train", 1), (20.0, 20.0, "test", 0),  # the negative goes, a lens stays
        (30.0, 0.0, "val", 1), (30.0, 20.0, "test", 1),  # that of val goes
        (40.0, 0.0, "train", 0), (40.0, 1.0, "train", 0),  # one split
        (50.0, 0.0, "train", 0), (50.0, 38.0, "val", 0),  # a stamp's diagonal apart
    ]  # fmt: skip
    made = pa.table(
        {
            "ra": [row[0] for row in rows],
            "dec": [row[1] / 3600.0 for row in rows],
            "split": [row[2] for row in rows],
            "label": pa.array([row[3] for row in rows], pa.int32()),
            "place": list(range(len(rows))),
        }
    )
    assert manifest.guarded(made)["place"].to_pylist() == [1, 2, 5, 6, 7, 8, 9]
    assert manifest.guarded(made.slice(8)).equals(made.slice(8))
    assert manifest.guarded(made.slice(0, 0)).num_rows == 0
