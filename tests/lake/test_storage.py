"""Files in an object store that throttles, breaks off, refuses, or lies in another region; and objects replaced."""

from __future__ import annotations

import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from lake.errors import DataError, ParameterError, StoreError
from lake.files import storage
from lake.files.objects import Store
from lake.root import DataRoot
from lake.store import cards, delta
from lake.upkeep import uploads
from tests.lake import stores
from tests.lake.gates import gate, write

CONTENT = random.Random(1).randbytes(3 << 20)
ALWAYS = 1_000


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, stores.bucket(patch) as place:
        yield place


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts, which are not waited for."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


@pytest.fixture
def place(bucket: str, pauses: list[float], request: pytest.FixtureRequest) -> Iterator[str]:
    """A prefix of its own."""
    yield f"{bucket}/{request.node.name.replace('[', '-').strip(']')}"
    stores.heal()


def put(place: str, content: bytes = CONTENT) -> str:
    with storage.writing(place) as file:
        file.write(content)
    return place


@pytest.mark.parametrize(("code", "name"), [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")])
def test_a_busy_store_is_asked_again_after_growing_pauses(
    place: str, pauses: list[float], code: int, name: str
) -> None:
    for method in ("PUT", "GET", "HEAD"):
        stores.fault("status", code=code, name=name, match=place[-20:], method=method, times=4)
    file = put(f"{place}/file")
    assert storage.read(file) == CONTENT
    assert len(pauses) == 12
    assert all(pause <= limit for pause, limit in zip(pauses, [1, 2, 4, 8] * 3, strict=True))
    assert len(set(pauses)) == 12  # jitter


def test_a_store_that_stays_busy_is_given_up_with_a_sentence(place: str) -> None:
    stores.fault("status", code=503, name="SlowDown", match="absent", times=ALWAYS)
    with pytest.raises(StoreError, match=rf"^{place}/absent cannot be reached \(.*SlowDown.*\): connect, check"):
        put(f"{place}/absent")
    assert len(stores.seen("PUT /lake-of-tests/test_a_store_that_stays_busy")) == 6
    stores.heal()
    assert storage.find(f"{place}/absent") is None


def test_a_read_that_broke_off_goes_on_where_it_ended(place: str) -> None:
    file = put(f"{place}/file")
    for after in (1 << 20, 100):
        stores.fault("drop", method="GET", match="/file", after=after)
    assert storage.read(file) == CONTENT
    stores.fault("drop", method="GET", match="/file", after=10, times=ALWAYS)
    with pytest.raises(StoreError, match="the connection breaks off before its end"):
        storage.read(file)


def test_an_object_replaced_while_it_is_read_is_never_mixed(place: str) -> None:
    name = put(f"{place}/file")
    before = storage.state(name)
    with storage.open_file(name) as file:
        assert file.read(1 << 20) == CONTENT[: 1 << 20]
        put(name, CONTENT[::-1])
        with pytest.raises(DataError, match=f"{name} was replaced while it was read: run the command again"):
            file.read(1 << 20)
    assert storage.state(name) != before
    assert storage.read(name) == CONTENT[::-1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_what_may_not_be_done_is_named_without_secrets(
    place: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = put(f"{place}/file")
    stores.fault("status", code=403, name="AccessDenied", method=method, match="/file", times=ALWAYS)
    with pytest.raises(PermissionError, match="the object store refuses access; check your permissions") as refused:
        (put if method == "PUT" else storage.read)(file)
    assert refused.value.filename == file
    assert "testing" not in f"{refused.value!r}{caplog.text}".replace(stores.NAME, "")


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    for address in ("s3://KEY:SECRET@bucket/sky", "s3://b.ucket?secret=SECRET", "gs://KEY:SECRET@bucket/x"):
        with pytest.raises(ParameterError, match=r"^'address' must be s3://bucket/prefix \(credentials") as refused:
            storage.absolute(address)
        assert "SECRET" not in str(refused.value)
    own = Store({"access_key": "KEY", "secret_key": "SECRET"})
    assert "SECRET" not in f"{own!r}{own.client!r}"


def test_a_bucket_in_another_region_is_found_there(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.fault("region", region="eu-west-3", times=ALWAYS)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-1")
    file = put(f"{place}/file")
    assert storage.read(file) == CONTENT
    assert [name for name, _ in storage.files(place)] == ["file"]
    root = DataRoot.of(tmp_path / "data", f"{place}/tables")
    write(root, "a", gate("a", "x"))
    assert delta.read(root, "gates").num_rows == 1
    assert Store.of_environment().region(stores.NAME) == "eu-west-3"


def test_a_busy_store_does_not_stop_tables(place: str, tmp_path: Path) -> None:
    root = DataRoot.of(tmp_path / "data", f"{place}/tables")
    for _ in range(3):
        stores.fault("status", code=503, name="SlowDown", match="gates", method="PUT")
        stores.fault("status", code=500, name="InternalError", match="gates", method="GET")
    write(root, "a", gate("a", "x"))
    assert delta.read(root, "gates").num_rows == cards.read_slice(root, "gates", "s-a").card.rows == 1


def test_a_bucket_that_is_not_there(place: str) -> None:
    for ask in (lambda there: list(storage.files(there)), lambda there: put(f"{there}/file", b"")):
        with pytest.raises(StoreError, match=r"s3://nowhere-1/x.* cannot be reached .there is no bucket nowhere-1"):
            ask("s3://nowhere-1/x")
    error = pickle.loads(pickle.dumps(StoreError("s3://b", "why")))  # noqa: S301
    assert str(error) == str(StoreError("s3://b", "why"))


def test_small_and_empty_files_at_any_position(place: str) -> None:
    assert storage.read(put(f"{place}/empty", b"")) == b""
    with storage.open_file(put(f"{place}/small", b"0123456789")) as file:
        assert (file.size(), file.read(2), file.read(), file.read(5)) == (10, b"01", b"23456789", b"")
        assert file.read_at(3, 6) == b"678"
        file.seek(-2, os.SEEK_END)
        assert file.read() == b"89"
    with pytest.raises(FileNotFoundError):
        storage.open_file(f"{place}/absent")
    storage.remove(f"{place}/small")
    storage.remove(f"{place}/small")
    assert [name for name, _ in storage.files(place)] == ["empty"]


_UPLOAD = """
import sys
from pathlib import Path
from lake.files import storage
storage.upload(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.usefixtures("whole_stage")
def test_a_kill_in_the_middle_of_an_upload_leaves_the_old_object(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    name = put(f"{place}/file", b"old")
    large = tmp_path / "large"
    large.write_bytes(CONTENT * 12)
    stores.fault("stall", method="PUT", match="/file", seconds=30, times=1)
    with subprocess.Popen([sys.executable, "-c", _UPLOAD, str(large), name]) as upload:
        while not stores.seen("partNumber=3"):
            assert upload.poll() is None
            time.sleep(0.02)
        upload.send_signal(signal.SIGKILL)
    assert storage.read(name) == b"old"
    assert boto3.client("s3").list_multipart_uploads(Bucket=stores.NAME)["Uploads"]
    assert uploads.unfinished([None, str(tmp_path), f"{place}/elsewhere", place], older_than_days=1e5) == []
    left = uploads.unfinished([None, str(tmp_path), f"{place}/elsewhere", place], older_than_days=0)
    assert [one.place for one in left] == [name]
    uploads.end(left)
    assert not boto3.client("s3").list_multipart_uploads(Bucket=stores.NAME).get("Uploads")
    storage.upload(large, name)
    assert storage.read(name) == CONTENT * 12
