"""Simulated stamps whose rows and shards lie in an object store: the same as local ones, whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.simulated.rendering import _contents
from etl.simulated.shards import ROW_SCHEMA, ShardMaker
from lake.errors import ShardError, StoreError
from lake.files import storage
from lake.root import DataRoot
from lake.store import remoteshards, stamps
from lake.store.stamps import StampStore, shard_name
from tests.etl.stampplans import CUTTING, PLACES, SIZE, planned, renderer
from tests.etl.survey_files import write_brick
from tests.lake import stores

pytestmark = pytest.mark.usefixtures("whole_stage")

BUCKET = shard_name(1)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    """A survey of two bricks of noise, and a plan in one shard."""
    folder, rng = tmp_path_factory.mktemp("survey"), np.random.default_rng(1)
    images = {band: rng.normal(0.1, 1, (SIZE, SIZE)).astype(np.float32) for band in "grz"}
    images |= {f"psfsize-{band}": np.full((SIZE, SIZE), 1.3, np.float32) for band in "grz"}
    return folder, planned({name: write_brick(folder, name, *place, images) for name, place in PLACES.items()})


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, stores.bucket(patch) as place:
        yield place


@pytest.fixture
def work(bucket: str, request: pytest.FixtureRequest) -> Iterator[str]:
    yield f"{bucket}/{request.node.name}"
    stores.heal()


def made(survey: Path, plan: pa.Table, folder: str, store: str | None) -> dict[str, str]:
    """Names and addresses of the shards of a plan."""
    done = ShardMaker(str(survey), folder, CUTTING, renderer, store)(iter(plan.to_batches()))
    found = [row for batch in done for row in batch.to_pylist()]
    assert [row["rows"] for row in found] == [plan.num_rows]
    return {shard_name(row["shard"]): row["place"] for row in found}


def rows_of(place: str) -> pa.Table:
    """Rows as Spark's workers read them."""
    names = pa.RecordBatch.from_pydict({"file": [f"{place}/rows/0001.parquet"]})
    return pa.Table.from_batches(_contents(iter([names])), ROW_SCHEMA)


def test_they_equal_local_ones_and_nothing_is_made_twice(given: Any, work: str, tmp_path: Path) -> None:
    survey, plan = given
    assert made(survey, plan, str(tmp_path), None) == {BUCKET: None}
    there = made(survey, plan, work, f"{work}/shards")
    assert storage.read(there[BUCKET]) == (tmp_path / "shards" / BUCKET).read_bytes()
    assert rows_of(work).equals(pq.read_table(tmp_path / "rows/0001.parquet", schema=ROW_SCHEMA))
    asked = len(stores.seen("PUT"))
    assert made(survey, plan, work, f"{work}/shards") == there
    assert len(stores.seen("PUT")) == asked
    storage.remove(there[BUCKET])
    assert made(survey, plan, work, f"{work}/shards") == there
    assert storage.exists(there[BUCKET]), "rows without their pixels are not taken for a shard"
    elsewhere = made(survey, plan, work, f"{work}/other")
    assert elsewhere[BUCKET].startswith(f"{work}/other/")
    assert storage.exists(elsewhere[BUCKET]), "shards go where the parameters say"


def test_readers_fetch_them_into_the_folder_of_partial_work(given: Any, work: str, tmp_path: Path) -> None:
    survey, plan = given
    root = DataRoot.of(tmp_path / "data")
    folder = root.stamps("mine")
    places = made(survey, plan, work, f"{work}/shards")
    rows = rows_of(work)
    good = rows.filter(pa.compute.equal(rows["status"], "ok"))
    folder.mkdir(parents=True)
    (folder / "bucket-0009.npy").write_bytes(b"of a run that kept its shards here")
    remoteshards.leave_list(folder, places)
    assert [path.name for path in folder.iterdir()] == [remoteshards.LIST]
    pixels = stamps.of_set(root, "mine").get(good)
    assert len(list((root.local / "work" / "shards").iterdir())) == 1
    assert [path.name for path in folder.parent.iterdir()] == ["mine"], "other sets lie there, and nothing else"
    here = tmp_path / "here"
    remoteshards.bring(here, places)
    assert np.array_equal(StampStore(here).get(good), pixels)
    asked = len(stores.seen("GET"))
    remoteshards.bring(here, places)
    assert len(stores.seen("GET")) == asked
    storage.remove(places[BUCKET])
    (here / BUCKET).write_bytes(b"cut off")
    with pytest.raises(ShardError, match=rf"{BUCKET} is missing in s3://.*; run `dvc repro stamps@mine`"):
        remoteshards.bring(here, places, "stamps@mine")


def test_a_store_that_fails_ends_the_work(given: Any, work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    survey, plan = given
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    stores.fault("status", code=503, name="SlowDown", method="PUT", match="/shards/", times=1_000)
    with pytest.raises(StoreError, match=r"/shards/.* cannot be reached"):
        made(survey, plan, work, f"{work}/shards")
    assert list(storage.files(work)) == []
    stores.heal()
    assert made(survey, plan, work, f"{work}/shards")


_KILLED = """
import sys, pyarrow.parquet as pq
from etl.simulated.shards import ShardMaker
from tests.etl.stampplans import CUTTING, renderer
survey, plan, work = sys.argv[1:]
list(ShardMaker(survey, work, CUTTING, renderer, f"{work}/shards")(iter(pq.read_table(plan).to_batches())))
"""


@pytest.mark.parametrize("moment", ["/shards/", "/rows/"])
def test_a_kill_in_the_middle_of_a_write_loses_nothing(given: Any, work: str, tmp_path: Path, moment: str) -> None:
    survey, plan = given
    pq.write_table(plan, tmp_path / "plan.parquet")
    stores.fault("stall", method="PUT", match=moment, seconds=60)
    command = [sys.executable, "-c", _KILLED, str(survey), str(tmp_path / "plan.parquet"), work]
    before = len(stores.seen())
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
        while not [each for each in stores.seen()[before:] if each.startswith("PUT") and moment in each]:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    stores.heal()
    there, here = made(survey, plan, work, f"{work}/shards"), made(survey, plan, str(tmp_path), None)
    assert storage.read(there[BUCKET]) == (tmp_path / "shards" / next(iter(here))).read_bytes()
    assert rows_of(work).equals(rows_of(str(tmp_path)))
