"""Listed objects without an accepted grade: joined from the lake's tables, scored, and told whether they may count."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lake.root import DataRoot
from lake.sky.survey import STAMPS_OVERLAP_ARCSEC
from lake.store import delta
from pipeline.realism.ungraded import overlapping, ungraded_rows
from tests.pipeline.checkout import Checkout

ARCSEC = 1 / 3600


def places(*east_arcsec: float, dec: float = 60.0) -> pa.Table:
    ra = [120.0 + each * ARCSEC / np.cos(np.radians(dec)) for each in east_arcsec]
    return pa.table({"ra": ra, "dec": [dec] * len(ra)})


def test_stamps_overlap_within_the_diagonal_of_a_stamp() -> None:
    just = STAMPS_OVERLAP_ARCSEC
    assert overlapping(places(just - 0.1, just + 0.1, 500.0), places(0.0, 900.0)).to_pylist() == [True, False, False]
    assert overlapping(places(), places(0.0)).to_pylist() == []
    assert overlapping(places(0.0), places()).to_pylist() == [False]


class Rows:
    """What the lake holds, for a reader of tables."""

    def __init__(self, **tables: pa.Table) -> None:
        self.tables = tables

    def read(self, table: str, columns: list[str], ordered: bool = True) -> pa.Table:
        return self.tables[table].select(columns)


def test_conditions_come_from_the_catalogue_or_else_from_the_coadds() -> None:
    names = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in "grz"]
    ids = ["a", "b", "c", "d"]
    reasons = ["matched, without an accepted grade"] * 3 + ["matched"]
    words = dict.fromkeys(("galaxy_id", "candidate_id", "name", "grading", "kind", "reference"), ids)
    source = {"galaxy_id": ids, **places(0, 100, 200, 300).to_pydict(), "split": ["test"] * 4, "healpix_128": [1] * 4}
    source |= {"ebv": [0.1] * 4} | {name: [1.5, 0.0, None, 1.0] for name in names}
    stamp = {"galaxy_id": ids, "status": ["ok", "ok", "rejected", "ok"], "cutout_version": ids, "sha256": ids}
    stamp |= {"shard": [0] * 4, "shard_row": [0, 1, 2, 3]} | {name: [9.0] * 4 for name in names}
    lake = Rows(
        lens_candidates=pa.table({**words, "match_reason": reasons}),
        tractor_near_candidates=pa.table(source),
        cutouts=pa.table(stamp),
    )
    found = ungraded_rows(lake)
    assert found["galaxy_id"].to_pylist() == ["a", "b"], "c has no cut-out, d is graded"
    assert found["psfsize_r"].to_pylist() == [1.5, 9.0]
    assert not [name for name in found.column_names if name.endswith("_coadd")]


def test_the_finders_table_holds_what_may_be_measured_and_no_object_of_the_manifest(finished: Checkout) -> None:
    root = DataRoot.of(finished.folder / "data")
    held = delta.read(root, "ungraded_scores").to_pandas()
    manifest = delta.read(root, "manifest").to_pandas()
    listed = delta.read(root, "lens_candidates").to_pandas()
    ungraded = listed[listed["match_reason"] == "matched, without an accepted grade"]
    assert len(held)
    assert set(held["galaxy_id"]) <= set(ungraded["galaxy_id"])
    assert not set(held["galaxy_id"]) & set(manifest["galaxy_id"])
    assert set(held["kind"]) <= {"ring galaxy", "merger"}
    assert not held["seen_in_training"].any()
    assert held.loc[held["split"] == "train", "shares_pixels"].any()
