"""Places: local paths, and an object store behind ``s3://`` and ``s3a://``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from etl.files import listing, sweepfiles, sweeps
from etl.files.candidatelist import read_list
from etl.files.sweepfiles import Sweep
from lake.errors import DataError, ParameterError
from lake.files import storage
from tests.etl.survey_files import sources, sweep_of, write_sweep
from tests.lake import stores


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A prefix of a simulated S3 that holds two sweeps and a note; without its scheme."""
    with stores.bucket(monkeypatch, "us-east-2") as address:
        place = f"{address}/dr10"
        for i in (1, 0):
            path = write_sweep(tmp_path / f"sweep-{i}.fits", sources(9, i))
            storage.upload(path, f"{place}/{path.name}")
        with storage.writing(f"{place}/note.txt") as note:
            note.write(b"x")
        yield place.removeprefix("s3://")


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_sweeps_of_an_object_store(bucket: str, tmp_path: Path, scheme: str) -> None:
    found = sweepfiles.find(f"{scheme}://{bucket}")
    assert [sweep.name for sweep in found] == ["note.txt", "sweep-0.fits", "sweep-1.fits"]
    assert [sweep.problem for sweep in found] == ["not a table, by its name", None, None]
    paths = [sweep.path for sweep in found[1:]]
    local = tmp_path / "sweep-0.fits"
    remote_facts, local_facts = sweeps.inspect(found[1]), sweeps.inspect(sweep_of(local))
    assert remote_facts == local_facts
    with sweeps.reading(found[1], 7) as there, sweeps.reading(sweep_of(local), 7) as here:
        for (start, theirs), (same, ours) in zip(there.rows(), here.rows(), strict=True):
            assert start == same
            assert np.array_equal(theirs, ours)
    assert sweeps.identity(found[1]).startswith(f"{local.stat().st_size} ")
    assert (storage.find(paths[0]) or (0,))[0] == local.stat().st_size
    assert storage.find(paths[0] + ".absent") is None
    assert sweeps.inspect(Sweep("absent.fits", f"{scheme}://{bucket}/absent.fits")).problem
    listing.write(f"{scheme}://{bucket}", tmp_path / "listing", tmp_path / "memory")
    lines = [json.loads(line) for line in (tmp_path / "listing").read_text().splitlines()]
    assert [name for name, _, _ in lines] == [sweep.name for sweep in found]
    assert lines[1][1:] == [local.stat().st_size, hashlib.md5(local.read_bytes()).hexdigest()]


def test_a_candidate_list_of_an_object_store(bucket: str, tmp_path: Path) -> None:
    local = tmp_path / "candidates.csv"
    local.write_text("name,ra,dec,grading\na,150,2,confident\nb,150.1,2,odd\nc,,2,confident\n")
    with storage.writing(f"s3://{bucket}/candidates.csv") as file:
        file.write(local.read_bytes())
    assert read_list(f"s3a://{bucket}/candidates.csv", {"confident": "A"}) == read_list(str(local), {"confident": "A"})
    for name in ("absent.csv", ""):
        with pytest.raises(DataError, match=f"list s3://{bucket}/{name} cannot be read: it does not exist or is not a"):
            read_list(f"s3://{bucket}/{name}", {"confident": "A"})


def test_local_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("a.fits") == str(tmp_path / "a.fits")
    assert storage.absolute("s3://sky/a.fits") == "s3://sky/a.fits"


@pytest.mark.parametrize("place", ["ftp://host/folder", "nothing://x"])
def test_an_address_of_no_store_is_named(place: str) -> None:
    with pytest.raises(ParameterError, match=f"^'address' must be s3://bucket/prefix .*, got '{place}'"):
        list(storage.files(place))
