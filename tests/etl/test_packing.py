"""Stamps in shards: later batches leave earlier shards as they are, and nothing is taken over that is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from etl.cutouts import packing
from etl.cutouts.cutter import INDEX_SCHEMA, hashed, write
from etl.cutouts.cutting import Sources
from lake.errors import DataError
from lake.store.stamps import StampStore, bucket_of, shard_name, stamp_hash
from tests.etl.survey_files import params

PARAMS = params("cutouts", stamp_pixels=5, buckets=4)


def sources(first: int, last: int) -> Sources:
    ids = np.array([f"x:{i:04d}" for i in range(first, last)], dtype=object)
    ra = np.arange(first, last, dtype=np.float64)
    return Sources(ids, ra, np.zeros(len(ra)), np.full(len(ra), "b"), np.zeros(len(ra), bool))


def stamp(ra: float) -> np.ndarray:
    return np.random.default_rng(round(ra)).normal(size=(3, 5, 5)).astype(np.float32)


class Maker:
    """Makes stamps of noise; every tenth source is rejected, and it says which were asked for."""

    def __init__(self, release: str = "1") -> None:
        self.release, self.asked = release, 0

    def made_from(self, wanted: Sources) -> list[str]:
        return [hashed([self.release, ra]) for ra in wanted.ra.tolist()]

    def make(self, wanted: Sources, folder: Path) -> pa.Table:
        self.asked = len(wanted)
        if not len(wanted):
            return INDEX_SCHEMA.empty_table()
        rows: list[dict[str, object]] = []
        kept: list[np.ndarray] = []
        for name, ra, made in zip(wanted.ids, wanted.ra, self.made_from(wanted), strict=True):
            row = {"galaxy_id": name, "cutout_version": "v", "made_from": made}
            if ra % 10 == 0:
                rows.append({**row, "status": "rejected", "reason": "no light"})
            else:
                rows.append({**row, "status": "ok", "file_row": len(kept), "sha256": stamp_hash(stamp(ra))})
                kept.append(stamp(ra))
        place = folder / f"batch-{wanted.ids[0][2:]}.parquet"
        write(str(place), np.stack(kept), rows)
        return pq.read_table(place)


class Lake:
    """Runs that follow each other, as the stage makes them."""

    def __init__(self, place: Path) -> None:
        self.place, self.folder, self.memory = place, place / "cutouts", place / "made.parquet"

    def run(self, wanted: Sources, maker: Maker) -> pa.Table:
        known = packing.earlier(self.memory, self.folder, PARAMS)
        draft, work = self.place / "draft", self.place / "work"
        work.mkdir(exist_ok=True)
        index = packing.packed(packing.completed(maker, wanted, work, known), work, self.folder, draft, PARAMS)
        if self.folder.exists():
            self.folder.rename(self.place / f"before-{len(list(self.place.iterdir()))}")
        draft.rename(self.folder)
        packing.remember(self.memory, index, self.folder, PARAMS)
        self.check(index, wanted)
        return index

    def check(self, index: pa.Table, wanted: Sources) -> None:
        """Every source is a row, every good one has its pixels, and shards hold nothing else."""
        assert index["galaxy_id"].to_pylist() == wanted.ids.tolist()
        rows = packing.rows(index).filter(pc.equal(index["status"], "ok"))
        found = StampStore(self.folder).get(rows)
        np.testing.assert_array_equal(found, np.stack([stamp(float(n[2:])) for n in rows["galaxy_id"].to_pylist()]))
        shards = [np.load(path, mmap_mode="r") for path in self.folder.iterdir()]
        assert sum(map(len, shards)) == rows.num_rows
        np.testing.assert_array_equal(rows["shard"].to_numpy() % 4, bucket_of(rows["galaxy_id"], 4))

    def files(self) -> dict[str, tuple[int, bytes]]:
        return {path.name: (path.stat().st_ino, path.read_bytes()) for path in self.folder.iterdir()}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(tmp_path)
    made.run(sources(0, 500), Maker())
    return made


@pytest.mark.usefixtures("whole_stage")
def test_a_later_batch_is_added_and_earlier_shards_stay(lake: Lake) -> None:
    before = lake.files()
    maker = Maker()
    lake.run(sources(0, 540), maker)
    assert maker.asked == 40
    after = lake.files()
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {shard_name(4 + bucket) for bucket in range(4)}
    lake.run(sources(0, 570), Maker())
    assert {name: lake.files()[name] for name in after} == after


def test_the_same_again_changes_nothing(lake: Lake) -> None:
    before, maker = lake.files(), Maker()
    lake.run(sources(0, 500), maker)
    assert maker.asked == 0
    assert lake.files() == before


def test_only_shards_that_changed_are_read_to_be_checked(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    sound = packing._sound
    monkeypatch.setattr(
        packing, "_sound", lambda store, number, rows: read.append(number) or sound(store, number, rows)
    )
    lake.run(sources(0, 540), Maker())
    assert read == []
    os.utime(lake.folder / shard_name(2))
    lake.run(sources(0, 540), maker := Maker())
    assert read == [2]
    assert maker.asked == 0


@pytest.mark.usefixtures("whole_stage")
def test_many_new_stamps_are_packed_with_the_old_ones(lake: Lake, tmp_path: Path) -> None:
    """As if all were made at once."""
    maker = Maker()
    index = lake.run(sources(0, 800), maker)
    assert maker.asked == 300
    (tmp_path / "other").mkdir()
    assert packing.rows(index).equals(packing.rows(Lake(tmp_path / "other").run(sources(0, 800), Maker())))


def test_what_is_not_wanted_any_more_leaves(lake: Lake) -> None:
    index = lake.run(sources(3, 499), Maker())
    assert index.num_rows == 496
    maker = Maker()
    lake.run(sources(0, 500), maker)
    assert maker.asked == 4


def test_what_is_made_from_something_else_is_made_again(lake: Lake) -> None:
    maker = Maker("2")
    lake.run(sources(0, 500), maker)
    assert maker.asked == 500


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("damage", ["lost", "changed", "cut short", "not an array"])
def test_a_damaged_shard_is_not_taken_over(lake: Lake, damage: str) -> None:
    place = lake.folder / shard_name(2)
    held = np.load(place)
    place.unlink()
    if damage == "changed":
        held[1, 1, 1, 1] += 1
        np.save(place, held)
    elif damage == "cut short":
        np.save(place, held[:-1])
    elif damage == "not an array":
        place.write_bytes(b"half")
    maker = Maker()
    lake.run(sources(0, 500), maker)
    assert maker.asked == len(held)


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize("damage", [b"", b"PAR1 and nothing more"])
def test_without_a_memory_all_is_made_again(lake: Lake, damage: bytes) -> None:
    lake.memory.write_bytes(damage)
    maker = Maker()
    lake.run(sources(0, 500), maker)
    assert maker.asked == 500


def test_damaged_partial_work_is_not_packed(tmp_path: Path) -> None:
    maker, wanted = Maker(), sources(0, 20)
    index = packing.completed(maker, wanted, tmp_path, packing.PACKED_SCHEMA.empty_table())
    place = tmp_path / "batch-0000.npy"
    held = np.load(place)
    held[3] += 1
    np.save(place, held)
    with pytest.raises(DataError, match=r"batch-0000.npy does not hold the pixels that were written there: remove it"):
        packing.packed(index, tmp_path, tmp_path / "none", tmp_path / "shards", PARAMS)


def test_rows_that_get_lost_are_an_error(tmp_path: Path) -> None:
    class Careless(Maker):
        def make(self, wanted: Sources, folder: Path) -> pa.Table:
            return super().make(wanted, folder).slice(1)

    with pytest.raises(DataError, match="20 cut-outs were requested, but 19 are accounted for"):
        packing.completed(Careless(), sources(0, 20), tmp_path, packing.PACKED_SCHEMA.empty_table())
