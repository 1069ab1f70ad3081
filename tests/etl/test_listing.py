"""Listings of the survey's folders: nothing odd is opened, and only what changed is hashed again."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import xxhash

from etl.files import listing


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """A folder that is a link to another place, with two sweeps, one of them in a subfolder."""
    disk = tmp_path / "disk"
    (disk / "10.1").mkdir(parents=True)
    (disk / "a.fits").write_bytes(b"one")
    (disk / "10.1" / "b.fits").write_bytes(b"two")
    (tmp_path / "sweeps").symlink_to(disk)
    return tmp_path / "sweeps"


def listed(folder: Path) -> dict[str, list[object]]:
    target = folder.parent / "listing.jsonl"
    listing.write(str(folder), target, folder.parent / "memory.jsonl")
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    return {name: rest for name, *rest in filter(None, lines)}


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were opened."""
    opened: list[str] = []
    real = listing._hash
    monkeypatch.setattr(listing, "_hash", lambda path: opened.append(Path(path).name) or real(path))
    return opened


def test_files_that_cannot_be_read_are_named_and_the_others_hashed(survey: Path) -> None:
    (survey / "gone.fits").symlink_to(survey / "nowhere.fits")
    (survey / "10.1" / "again").symlink_to(survey)
    os.mkfifo(survey / "pipe.fits")
    (survey / "memory.fits").symlink_to("/proc/self/mem")
    (survey / os.fsdecode(b"\xff.fits")).touch()
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(survey / "socket.fits"))
    content = {name: [3, xxhash.xxh3_128(text).hexdigest()] for name, text in (("a", b"one"), ("b", b"two"))}
    assert listed(survey) == {
        "a.fits": content["a"],
        "10.1/b.fits": content["b"],
        "gone.fits": ["a broken link"],
        "pipe.fits": ["not a regular file (a pipe, socket or device)"],
        "socket.fits": ["not a regular file (a pipe, socket or device)"],
        "memory.fits": ["it cannot be read: Input/output error"],
        os.fsdecode(b"\xff.fits"): [0, xxhash.xxh3_128(b"").hexdigest()],
    }


def test_only_what_changed_is_hashed_again(survey: Path, hashed: list[str]) -> None:
    first = listed(survey)
    assert sorted(hashed) == ["a.fits", "b.fits"]
    hashed.clear()
    written = (survey.parent / "listing.jsonl").stat().st_mtime_ns
    assert listed(survey) == first
    assert not hashed
    (survey / "a.fits").touch()
    assert listed(survey) == first
    assert hashed == ["a.fits"]
    assert (survey.parent / "listing.jsonl").stat().st_mtime_ns == written, "a stage would compare it again"
    before = (survey / "a.fits").stat()
    (survey / "a.fits").write_bytes(b"two")
    os.utime(survey / "a.fits", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert listed(survey) == {**first, "a.fits": first["10.1/b.fits"]}
    (survey / "new").write_bytes(b"one")
    os.utime(survey / "new", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    (survey / "new").replace(survey / "a.fits")
    assert listed(survey) == first, "another inode with the same size and time"
    (survey / "a.fits").unlink()
    assert listed(survey) == {"10.1/b.fits": first["10.1/b.fits"]}


def test_a_killed_first_run_resumes(survey: Path, hashed: list[str]) -> None:
    first = listed(survey)
    hashed.clear()
    memory = survey.parent / "memory.jsonl"
    lines = memory.read_text().splitlines(keepends=True)
    kept = json.loads(lines[0])[0]
    memory.write_text(lines[0] + lines[1][:20])
    assert listed(survey) == first
    assert hashed == [Path(name).name for name in first if name != kept]


def test_a_missing_folder_has_no_files(tmp_path: Path) -> None:
    assert listed(tmp_path / "coadds") == {}


@pytest.mark.parametrize("damage", [b"5\nnull\n[1, 2, 3]\n", b"\xff\xfe\n", b"\0" * 20])
def test_a_damaged_memory_or_listing_is_made_again(survey: Path, damage: bytes) -> None:
    first = listed(survey)
    (survey.parent / "memory.jsonl").write_bytes(damage)
    (survey.parent / "listing.jsonl").write_bytes(damage)
    assert listed(survey) == first
