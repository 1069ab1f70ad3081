"""A bundle holds what the report was made from, reads without this program, and never replaces a file."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from lake.errors import ParameterError
from lake.store import cards
from pipeline.cli import dhs
from pipeline.project.edge import explained
from pipeline.project.project import Project
from pipeline.tables import bundle, publication
from tests.fulldisk import no_file_over
from tests.pipeline.smallruns import copied

READ = "completeness"


@pytest.fixture
def project(whole_stage: None, small_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose report reads one table, in a git repository with a change that is not committed."""
    folder = tmp_path / "project"
    made = copied(small_runs, folder)
    (folder / "params.yaml").write_text("a: 1\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "params.yaml"], [*who, "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    (folder / "params.yaml").write_text("a: 1\n# changed\n")
    (made.data.report / "figures").mkdir(parents=True)
    prints = " ".join(entry.card.fingerprint for entry in cards.slices(made.data, READ))
    (made.data.report / "index.html").write_text(f"page, from {prints}")
    (made.data.report / "figures" / "roc.csv").write_text("a\n1\n")
    monkeypatch.setattr(bundle, "gather", lambda context, params: context.note_table(READ, None))
    return Project(folder, made.values)


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {m.name.partition("/")[2]: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]


def test_it_holds_tables_page_code_and_records_with_their_checksums(project: Project, tmp_path: Path) -> None:
    held = members(bundle.write_bundle(project, tmp_path / "review.tar.gz", 100))
    assert {"report/index.html", "report/figures/roc.csv", "README.md", "code.tar", "code.diff"} <= set(held)
    assert {"configuration/params.yaml", "priors/priors.yaml", "priors/collett2015.yaml"} <= set(held)
    assert b"# changed" in held["code.diff"]
    with tarfile.open(fileobj=io.BytesIO(held["code.tar"])) as archive:
        assert archive.getnames() == ["params.yaml"]
    listed = json.loads(held["tables.json"])
    assert {one["table"] for one in listed} == {READ}
    for one in listed:
        rows = pq.read_table(io.BytesIO(held[one["file"]]))
        assert rows.num_rows == one["rows"]
        pinned = cards.read_slice(project.data, READ, one["slice"])
        assert (one["version"], one["fingerprint"]) == (pinned.pin.version, pinned.card.fingerprint)
    sums = dict(reversed(line.split("  ", 1)) for line in held["SHA256SUMS"].decode().splitlines())
    assert set(sums) == set(held) - {"SHA256SUMS"}
    assert all(hashlib.sha256(held[name]).hexdigest() == digest for name, digest in sums.items())


def test_the_same_content_gives_the_same_bytes(project: Project, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = bundle.write_bundle(project, tmp_path / "review.tar.gz", 100).read_bytes()
    (project.data.report / "index.html").touch()
    assert bundle.write_bundle(project, tmp_path / "other" / "review.tar.gz", 100).read_bytes() == first


def test_its_files_lie_in_one_folder_named_after_the_archive(project: Project, tmp_path: Path) -> None:
    made = bundle.write_bundle(project, tmp_path / "my.review-2.tgz", 100)
    with tarfile.open(made) as archive:
        assert {name.partition("/")[0] for name in archive.getnames()} == {"my.review-2"}


def test_the_code_is_that_of_the_project_alone_whatever_is_around_it(project: Project, tmp_path: Path) -> None:
    (project.folder / ".git").rename(tmp_path / "own.git")
    (tmp_path / "private.txt").write_text("a\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "private.txt", "project/params.yaml"], [*who, "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    (tmp_path / "private.txt").write_text("secret\n")
    (project.folder / "params.yaml").write_text("a: 2\n")
    held = members(bundle.write_bundle(project, tmp_path / "review.tar.gz", 100))
    assert b"secret" not in held["code.diff"]
    assert b"+a: 2" in held["code.diff"]
    with tarfile.open(fileobj=io.BytesIO(held["code.tar"])) as archive:
        assert archive.getnames() == ["params.yaml"]


def test_large_tables_are_left_out_and_listed(project: Project, tmp_path: Path) -> None:
    held = members(bundle.write_bundle(project, tmp_path / "review.tar.gz", 0))
    assert not [name for name in held if name.endswith(".parquet")]
    assert {one["file"] for one in json.loads(held["tables.json"])} == {None}


def test_it_replaces_nothing_and_needs_a_report(project: Project, tmp_path: Path) -> None:
    place = tmp_path / "review.tar.gz"
    place.write_text("mine")
    with pytest.raises(ParameterError, match="'file' must be one that does not exist"):
        bundle.write_bundle(project, place, 100)
    assert place.read_text() == "mine"
    with pytest.raises(ParameterError, match=r"'file' must be a name that ends in \.tar\.gz"):
        bundle.write_bundle(project, tmp_path / "review.zip", 100)
    for unnamed in (".tar.gz", "...tar.gz", ".hidden.tgz"):
        with pytest.raises(ParameterError, match=f"and does not begin with a dot, got '{tmp_path}"):
            bundle.write_bundle(project, tmp_path / unnamed, 100)
    (project.data.report / "index.html").write_text("page, from other tables")
    with pytest.raises(ParameterError, match="'report' must be made from the tables as they are now"):
        bundle.write_bundle(project, tmp_path / "new.tar.gz", 100)
    (project.data.report / "index.html").unlink()
    with pytest.raises(ParameterError, match="'report' must be made before"):
        bundle.write_bundle(project, tmp_path / "new.tar.gz", 100)


def test_a_kill_leaves_no_archive(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle, "_pack", ends)
    with pytest.raises(KeyboardInterrupt):
        bundle.write_bundle(project, tmp_path / "review.tar.gz", 100)
    assert not list(tmp_path.glob("*review*")) + list(tmp_path.glob(".*review*"))


def test_a_full_disk_leaves_no_archive_and_no_paper(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.data.report / "large").write_bytes(random.Random(1).randbytes(100_000))
    files = {"main.tex": b"m", "figures/figure-1.pdf": bytes(100_000)}
    monkeypatch.setattr(publication, "gather", lambda context, params: None)
    monkeypatch.setattr(publication, "paper_files", lambda inputs: files)

    def write(make: Callable[[], object], most: int) -> str:
        with no_file_over(most), pytest.raises(OSError, match="File too large") as raised:
            make()
        return str(explained(raised.value)).partition(": ")[0]

    archive, paper = tmp_path / "review.tar.gz", tmp_path / "paper"
    note = project.data.local / "work" / "report.pid"
    assert write(lambda: bundle.write_bundle(project, archive, 100), 0) == str(note)
    assert str(project.data.local / "work") in write(lambda: bundle.write_bundle(project, archive, 100), 90_000)
    assert write(lambda: bundle.write_bundle(project, archive, 100), 100_000) == str(archive)
    assert write(lambda: publication.write_paper(project, paper), 90_000) == str(paper)
    assert not [path for path in tmp_path.iterdir() if path.name != "project"]


def test_a_paper_goes_into_a_new_or_empty_folder(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "gather", lambda context, params: None)
    monkeypatch.setattr(publication, "paper_files", lambda inputs: {"main.tex": b"m", "tables/table-1.tex": b"t"})
    place = tmp_path / "paper"
    place.mkdir()
    assert publication.write_paper(project, place) == [place / "main.tex", place / "tables/table-1.tex"]
    assert (place / "tables/table-1.tex").read_bytes() == b"t"
    with pytest.raises(ParameterError, match="'paper' must be a folder that does not exist or is empty"):
        publication.write_paper(project, place)
    with pytest.raises(ParameterError, match="'paper' must be in a folder that exists"):
        publication.write_paper(project, tmp_path / "no" / "paper")
    assert [path.name for path in tmp_path.glob(".paper*")] == []
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = CliRunner().invoke(dhs, ["report", "--paper", "."])
    assert "'paper' must be another folder than the working directory" in str(done.exception)
