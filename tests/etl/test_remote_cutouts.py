"""Cut-outs whose coadds, partial work and shards lie in an object store: the same as local ones, whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lake.errors import ShardError, StoreError
from lake.files import storage
from lake.store import remoteshards
from lake.store.stamps import StampStore
from tests.etl.noisebricks import BRICKS, SIZE, cut
from tests.etl.survey_files import write_brick, write_bricks
from tests.lake import stores

pytestmark = pytest.mark.usefixtures("whole_stage")


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bricks with coadds of noise."""
    folder, rng = tmp_path_factory.mktemp("survey"), np.random.default_rng(1)
    write_bricks(folder, BRICKS)
    for name, place in BRICKS.items():
        write_brick(folder, name, *place, {b: rng.normal(0.1, 1, (SIZE, SIZE)).astype(np.float32) for b in "grz"})
    return folder


@pytest.fixture(scope="module")
def bucket(survey: Path) -> Iterator[str]:
    """A store that holds the survey under ``sky``."""
    with pytest.MonkeyPatch.context() as patch, stores.bucket(patch) as place:
        for name, _ in storage.files(str(survey)):
            storage.upload(survey / name, f"{place}/sky/{name}")
        yield place


@pytest.fixture
def work(bucket: str, request: pytest.FixtureRequest) -> Iterator[str]:
    yield f"{bucket}/{request.node.name}"
    stores.heal()


def good(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(rows["status"], "ok"))


def test_they_equal_local_ones(survey: Path, bucket: str, work: str, tmp_path: Path) -> None:
    index, local = cut(f"{bucket}/sky", tmp_path / "far", work), cut(str(survey), tmp_path / "near")
    assert index.drop_columns("made_from").equals(local.drop_columns("made_from"))
    assert good(index).num_rows == 24
    for shard in sorted((tmp_path / "near" / "cutouts").iterdir()):
        assert shard.read_bytes() == (tmp_path / "far" / "cutouts" / shard.name).read_bytes()
    asked = len(stores.seen())
    assert cut(f"{bucket}/sky", tmp_path / "far", work).equals(index)
    again = stores.seen()[asked:]
    assert not [each for each in again if each.startswith("GET") and (".fits.fz?" in each or ".npy?" in each)]
    assert not [each for each in again if each.startswith("PUT")]


def test_a_coadd_replaced_under_its_name_is_read_again(survey: Path, bucket: str, work: str, tmp_path: Path) -> None:
    storage.upload(survey / "survey-bricks.fits", f"{work}/sky/survey-bricks.fits")
    for name, _ in storage.files(str(survey / "coadds")):
        storage.upload(survey / "coadds" / name, f"{work}/sky/coadds/{name}")
    first = cut(f"{work}/sky", tmp_path / "data", work)
    other = {band: np.ones((SIZE, SIZE), np.float32) for band in "grz"}
    write_brick(tmp_path, "1000p000", *BRICKS["1000p000"], other)
    changed = "100/1000p000/legacysurvey-1000p000-image-r.fits.fz"
    storage.upload(tmp_path / "coadds" / changed, f"{work}/sky/coadds/{changed}")
    again = cut(f"{work}/sky", tmp_path / "data", work)
    differ = [
        a["galaxy_id"] for a, b in zip(first.to_pylist(), again.to_pylist(), strict=True) if a["sha256"] != b["sha256"]
    ]
    assert differ == [f"x:1000p000_{i:02d}" for i in range(12)]


def test_a_store_that_fails_ends_the_work_and_rejects_no_source(
    bucket: str, work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    stores.fault("status", code=503, name="SlowDown", match="1001p000-image-g", times=1_000)
    with pytest.raises(StoreError, match=r"1001p000-image-g.fits.fz cannot be reached"):
        cut(f"{bucket}/sky", tmp_path, work)
    stores.heal()
    assert good(cut(f"{bucket}/sky", tmp_path, work)).num_rows == 24


def test_a_coadd_that_may_not_be_read_rejects_its_sources_by_name(bucket: str, work: str, tmp_path: Path) -> None:
    stores.fault("status", code=403, name="AccessDenied", match="1001p000-image-g", method="GET", times=1_000)
    rows = [row for row in cut(f"{bucket}/sky", tmp_path, work).to_pylist() if "1001p000" in row["galaxy_id"]]
    (reason,) = {row["reason"] for row in rows}
    assert "legacysurvey-1001p000-image-g.fits.fz cannot be read: " in reason
    assert "the object store refuses access" in reason


_KILLED = """
import sys
from pathlib import Path
from tests.etl.noisebricks import cut
from lake.store import remoteshards
cut(sys.argv[1], Path(sys.argv[3]), sys.argv[2])
remoteshards.send(Path(sys.argv[3]) / "cutouts", sys.argv[2] + "/shards")
"""


@pytest.mark.parametrize("moment", ["1001p000.npy", "1001p000.parquet", "/shards/"])
def test_a_kill_in_the_middle_of_a_write_loses_nothing(
    survey: Path, bucket: str, work: str, tmp_path: Path, moment: str
) -> None:
    stores.fault("stall", method="PUT", match=moment, seconds=60)
    command = [sys.executable, "-c", _KILLED, f"{bucket}/sky", work, str(tmp_path / "data")]
    root = Path(__file__).parents[2]
    before = len(stores.seen())
    with subprocess.Popen(command, cwd=root) as process:
        while not [each for each in stores.seen()[before:] if each.startswith("PUT") and moment in each]:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    stores.heal()
    subprocess.run(command, cwd=root, check=True)
    rows = good(cut(str(survey), tmp_path / "here"))
    stamps = StampStore(tmp_path / "here" / "cutouts").get(rows)
    assert np.array_equal(StampStore(tmp_path / "data" / "cutouts").get(rows), stamps)
    assert [path.name for path in (tmp_path / "data" / "cutouts").iterdir()] == [remoteshards.LIST]


def test_shards_in_a_store_are_fetched_checked_and_kept(survey: Path, work: str, tmp_path: Path) -> None:
    rows, folder = good(cut(str(survey), tmp_path / "data")), tmp_path / "data" / "cutouts"
    stamps = StampStore(folder).get(rows)
    remoteshards.send(folder, f"{work}/shards")
    assert np.array_equal(StampStore(folder).get(rows), stamps)
    objects = sorted(name for name, _ in storage.files(f"{work}/shards"))
    kept = tmp_path / "data" / "work" / "shards"
    assert sorted(os.listdir(kept)) == objects  # noqa: PTH208
    asked = len(stores.seen("GET"))
    assert np.array_equal(StampStore(folder).get(rows), stamps)
    assert len(stores.seen("GET")) == asked
    shutil.rmtree(kept)
    with storage.writing(f"{work}/shards/{objects[0]}") as file:
        file.write(b"other bytes")
    with pytest.raises(ShardError, match=rf"{objects[0]} is damaged: delete it and run `dvc repro cutouts`"):
        StampStore(folder).get(rows)
    storage.remove(f"{work}/shards/{objects[0]}")
    with pytest.raises(
        ShardError, match=r"stamp shard bucket-000\d.npy is missing in s3://.*; run `dvc repro cutouts`"
    ):
        StampStore(folder).get(rows)
