"""What is absent is forgotten; what cannot be read is not."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lake import tables
from lake.errors import DamagedError, LakeError, LostError, UnreachableError
from lake.root import DataRoot
from lake.store import cards, delta, held, writing
from lake.store.query import query
from pipeline.project.context import forget_lost_tables
from pipeline.tables import verifying
from tests.lake.gates import gate, write
from tests.pipeline.checkout import project_of

BROKEN: dict[str, Callable[[DataRoot], None]] = {}


def failure(function: Callable[[DataRoot], None]) -> Callable[[DataRoot], None]:
    BROKEN[function.__name__] = function
    return function


def lake_of(root: DataRoot) -> Path:
    return root.local / "lake"


@failure
def the_lake_is_not_mounted(root: DataRoot) -> None:
    lake_of(root).rename(root.local / "away")
    lake_of(root).mkdir()


@failure
def the_lake_is_missing(root: DataRoot) -> None:
    lake_of(root).rename(root.local / "away")


@failure
def the_lake_is_a_link_to_a_disk_that_is_away(root: DataRoot) -> None:
    lake_of(root).rename(root.local / "away")
    lake_of(root).symlink_to(root.local / "disk" / "lake")


@failure
def the_table_is_a_link_to_a_disk_that_is_away(root: DataRoot) -> None:
    (lake_of(root) / "gates").rename(root.local / "away")
    (root.local / "disk").mkdir()
    (lake_of(root) / "gates").symlink_to(root.local / "disk")


@failure
def a_file_lies_where_the_table_was(root: DataRoot) -> None:
    (lake_of(root) / "gates").rename(root.local / "away")
    (lake_of(root) / "gates").write_text("")


@failure
def a_file_lies_where_the_log_was(root: DataRoot) -> None:
    shutil.move(lake_of(root) / "gates" / "_delta_log", root.local / "away")
    (lake_of(root) / "gates" / "_delta_log").write_text("")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of two tables, one of them pinned twice."""
    made = DataRoot.of(tmp_path_factory.mktemp("pinned") / "data")
    write(made, "a", gate("a", "x"))
    write(made, "b", gate("b", "x"))
    writing.made(made, tables.spec("diagnostics"))
    return made.local


@pytest.fixture
def pinned(root: DataRoot, written: Path) -> DataRoot:
    """A copy of it."""
    shutil.copytree(written, root.local)
    return root


def untouched(root: DataRoot) -> dict[str, str]:
    return {path.name: path.read_text() for path in root.cards.iterdir()}


def refuses_to_forget(root: DataRoot) -> None:
    before = untouched(root)
    with pytest.raises(UnreachableError, match=r"mount"):
        delta.read(root, "gates")
    with pytest.raises(UnreachableError, match=r"mount"):
        forget_lost_tables(root)
    findings = verifying.check(project_of(root), deep=True)
    assert findings
    assert verifying.repair(project_of(root), findings) == []
    assert untouched(root) == before


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_cannot_be_read_is_never_forgotten(pinned: DataRoot, name: str) -> None:
    BROKEN[name](pinned)
    refuses_to_forget(pinned)


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process may open no further file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held_open = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held_open[0], 3), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(held_open[0])


def test_too_many_open_files_are_no_lost_table(pinned: DataRoot) -> None:
    entry = cards.slices(pinned, "gates")[0]
    with no_more_files(), pytest.raises(UnreachableError, match="Too many open files"):
        delta.open_pinned(pinned, entry)
    assert forget_lost_tables(pinned) == []


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_folder_that_may_not_be_listed_is_no_lost_table(
    pinned: DataRoot, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    shutil.rmtree(pinned.table("gates"))
    listed = os.listdir

    def listdir(place: object) -> list[str]:
        if Path(str(place)).parent.name == "gates":
            raise error
        return listed(str(place))

    monkeypatch.setattr(held.os, "listdir", listdir)
    refuses_to_forget(pinned)


def test_an_object_store_that_is_away_is_no_lost_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = DataRoot.of(tmp_path / "data")
    write(local, "a", gate("a", "x"))
    values = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1", "AWS_DEFAULT_REGION": "us-east-1"}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        values[name] = "testing"
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    refuses_to_forget(DataRoot.of(tmp_path / "data", "s3://lake-of-tests/tables"))


_REFUSING = """
import http.server
class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_HEAD = do_GET
server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_a_refusing_object_store_is_no_lost_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(DataRoot.of(tmp_path / "data"), "a", gate("a", "x"))
    command = [sys.executable, "-c", _REFUSING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as store:
        assert store.stdout is not None
        values = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(store.stdout.readline())}", "AWS_DEFAULT_REGION": "r"}
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            values[name] = "testing"
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        try:
            refuses_to_forget(DataRoot.of(tmp_path / "data", "s3://lake-of-tests/tables"))
        finally:
            store.kill()


def test_only_what_is_gone_is_forgotten(pinned: DataRoot) -> None:
    writing.made(pinned, tables.spec("diagnostics"))
    log = Path(pinned.table("gates")) / "_delta_log"
    last = cards.read_slice(pinned, "gates", "s-b").pin.version
    (log / f"{last:020d}.json").unlink()
    with pytest.raises(LostError, match=r"'gates.s-b' is pinned at version \d+, which .* does not hold"):
        delta.read(pinned, "gates")
    assert forget_lost_tables(pinned) == ["gates.s-b"]
    assert [entry.card.slice for entry in cards.slices(pinned, "gates")] == ["s-a"]
    shutil.rmtree(pinned.table("gates"))
    findings = verifying.check(project_of(pinned), deep=False)
    assert verifying.repair(project_of(pinned), findings) == ["dvc repro"]
    assert not list(pinned.cards.iterdir())


def test_a_damaged_log_is_set_aside_and_the_table_made_again(pinned: DataRoot) -> None:
    kept = {name: text for name, text in untouched(pinned).items() if ".pin" not in name}
    first = Path(pinned.table("gates")) / "_delta_log" / f"{0:020d}.json"
    first.write_bytes(first.read_bytes()[:-40])
    with pytest.raises(DamagedError, match=r"0\.json is damaged; run `dhs verify --repair`"):
        delta.read(pinned, "gates")
    with pytest.raises(DamagedError, match="is damaged"):
        forget_lost_tables(pinned)
    assert verifying.repair(project_of(pinned), verifying.check(project_of(pinned), deep=False)) == ["dvc repro"]
    assert (pinned.local / "lake" / ".damaged" / "gates-1" / "_delta_log").is_dir()
    for run in ("a", "b"):
        write(pinned, run, gate(run, "x"))
    assert {name: text for name, text in untouched(pinned).items() if ".pin" not in name} == kept


@pytest.mark.parametrize("content", [None, b"", b"[1]\n"])
def test_a_log_with_a_gap_is_found_though_the_version_opens(root: DataRoot, content: bytes | None) -> None:
    """delta-rs makes do without an early commit; Spark refuses the table."""
    writing.made(root, tables.spec("diagnostics"))
    writing.made(root, tables.spec("gates")).alter.set_table_properties(writing.TABLE_PROPERTIES)
    write(root, "a", gate("a", "x"))
    first = Path(root.table("gates")) / "_delta_log" / f"{1:020d}.json"
    first.unlink()
    if content is not None:
        first.write_bytes(content)
    findings = verifying.check(project_of(root), deep=True)
    assert {finding.table for finding in findings} == {"gates"}
    how = "is missing" if content is None else "is damaged"
    assert all(f"{first.name} {how}; run `dhs verify --repair`, which sets" in f.sentence for f in findings)
    assert verifying.repair(project_of(root), findings) == ["dvc repro"]
    assert (root.local / "lake" / ".damaged" / "gates-1" / "_delta_log").is_dir()


def test_a_card_whose_pin_is_gone_takes_no_rows_with_it(pinned: DataRoot) -> None:
    pin = pinned.cards / "gates.s-b.pin.json"
    pin.unlink()
    told = f"{pin} is missing: restore it (`git checkout -- {pin}`), or delete"
    with pytest.raises(LakeError, match=re.escape(told)):
        query(pinned, "SELECT count(*) AS n FROM gates")
    assert [finding.sentence.startswith(told) for finding in verifying.check(project_of(pinned), deep=False)] == [True]


MERGED = '<<<<<<< HEAD\n{"a": 1}\n=======\n{"a": 2}\n>>>>>>> theirs\n'


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        (MERGED, r"gates\.s-a\.json contains git merge markers: take one side .*git checkout --ours"),
        ("", r"gates\.s-a\.json is not a card of a table: restore it \(`git checkout"),
        ("[1]", r"gates\.s-a\.json is not a card"),
        ("{}", r"gates\.s-a\.json is not a card"),
        ("[" * 100_000, r"gates\.s-a\.json is not a card"),
        (
            '{"table": "gates", "slice": 3, "rows": "1", "schema_hash": "", "fingerprint": "", "where": {}}',
            "is not a card",
        ),
        ("\udcff", r"gates\.s-a\.json is not a card"),
    ],
)
def test_a_card_that_is_none_is_a_sentence_with_its_cure(pinned: DataRoot, text: str, cure: str) -> None:
    (pinned.cards / "gates.s-a.json").write_text(text, errors="surrogateescape")
    with pytest.raises(LakeError, match=cure):
        delta.read(pinned, "gates")
    before = untouched_names(pinned)
    findings = verifying.check(project_of(pinned), deep=False)
    assert len(findings) == 1
    assert verifying.repair(project_of(pinned), findings) == []
    assert untouched_names(pinned) == before


def untouched_names(root: DataRoot) -> list[str]:
    return sorted(path.name for path in root.cards.iterdir())


def test_a_pin_with_marks_of_a_merge_is_named(pinned: DataRoot) -> None:
    (pinned.cards / "gates.s-a.pin.json").write_text(MERGED)
    with pytest.raises(LakeError, match=r"gates\.s-a\.pin\.json contains git merge markers"):
        cards.read_slice(pinned, "gates", "s-a")
