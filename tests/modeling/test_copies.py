"""Copies of a run in an object store: another machine goes on from them exactly, after kills and faults."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lake.errors import StoreError
from lake.files import storage
from modeling.training.copies import Copies
from modeling.training.state import STATE
from tests.lake import stores
from tests.modeling.runs import whole_run


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, stores.bucket(patch) as place:
        yield place


@pytest.fixture
def place(bucket: str, request: pytest.FixtureRequest) -> Iterator[str]:
    yield f"{bucket}/{request.node.name}"
    stores.heal()


CHILD = """
import sys
from pathlib import Path
from tests.modeling.runs import whole_run
whole_run(Path(sys.argv[1]), 7, sys.argv[2])
"""


@pytest.mark.usefixtures("whole_stage")
def test_another_machine_goes_on_exactly(place: str, tmp_path: Path) -> None:
    """Killed in the middle of copying a state; a fresh folder then resumes from the store alone."""
    first, other = tmp_path / "first", tmp_path / "other"
    for folder in (first, other):
        folder.mkdir()
    command = [sys.executable, "-c", CHILD, str(first), place]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], env=environment) as machine:
        while len([each for each in stores.seen("PUT") if STATE in each]) < 5:
            assert machine.poll() is None
            time.sleep(0.02)
        stores.fault("stall", method="PUT", match=STATE, seconds=60)
        asked = len(stores.seen("PUT"))
        while not [each for each in stores.seen("PUT")[asked:] if STATE in each]:
            assert machine.poll() is None
            time.sleep(0.02)
        machine.send_signal(signal.SIGKILL)
    stores.heal()
    assert not (other / "work" / STATE).exists()
    resumed, whole = whole_run(other, 7, place), whole_run(tmp_path / "whole", 7)
    for name in (STATE, "best.safetensors"):
        assert (other / "work" / name).read_bytes() == (tmp_path / "whole" / "work" / name).read_bytes()
        assert storage.read(f"{place}/{name}") == (other / "work" / name).read_bytes()
    rows = [[replace(row, epoch_seconds=0.0) for row in run.rows] for run in (resumed, whole)]
    assert rows[0] == rows[1]


def test_a_failing_store_stops_no_training_and_the_next_copy_makes_up_for_it(
    place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    copies = Copies(tmp_path, place)
    (tmp_path / STATE).write_bytes(b"one")
    (tmp_path / "epochs.jsonl").write_bytes(b"1")
    stores.fault("status", code=403, name="AccessDenied", match="epochs", method="PUT")
    copies.send()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the object store refuses access" in caplog.text
    assert list(storage.files(place)) == []  # the state is copied last
    (tmp_path / STATE).write_bytes(b"two")
    copies.send()
    assert storage.read(f"{place}/{STATE}") == b"two"
    asked = len(stores.seen("PUT"))
    copies.send()
    assert len(stores.seen("PUT")) == asked  # nothing changed


def test_a_run_that_cannot_be_fetched_is_not_begun_anew(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    Copies(tmp_path / "none", place).fetch()
    assert not (tmp_path / "none").exists()
    for name in (STATE, "run.json"):
        with storage.writing(f"{place}/{name}") as file:
            file.write(b"theirs")
    stores.fault("status", code=503, name="SlowDown", match="run.json", times=10)
    with pytest.raises(StoreError, match=r"run\.json cannot be reached"):
        Copies(tmp_path / "new", place).fetch()
    assert not (tmp_path / "new" / STATE).exists()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / STATE).write_bytes(b"mine")
    Copies(tmp_path / "own", place).fetch()
    assert (tmp_path / "own" / STATE).read_bytes() == b"mine"
