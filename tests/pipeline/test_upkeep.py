"""The lake in order: rows that break their contract, files that nothing refers to."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import boto3
import pyarrow as pa
import pytest
from click.testing import CliRunner

from lake import tables
from lake.contract.fingerprint import fingerprint
from lake.store import cards, delta
from lake.upkeep.guard import working
from pipeline.cli import dhs
from pipeline.project import params
from pipeline.tables import verifying
from tests.lake import stores
from tests.pipeline import smallruns
from tests.pipeline.checkout import values_of


@pytest.fixture(scope="module")
def made(small_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project, with a slice written anew."""
    project = smallruns.copied(small_runs, tmp_path_factory.mktemp("upkeep") / "project")
    smallruns.diagnose(project, "demo1", "c-demo1")
    shutil.rmtree(project.data.grid("any").parent)  # of which the small runs have only the lineage
    params.write(project.folder, values_of("test"), "test")
    return project.folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(made, tmp_path / "project")


def run(place: Path, *arguments: str) -> list[str]:
    done = CliRunner().invoke(dhs, [*arguments, "--project", str(place)], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return done.output.splitlines()


@pytest.mark.usefixtures("whole_stage")
def test_what_nothing_refers_to_is_counted_and_then_removed(place: Path) -> None:
    files = set((place / "data" / "lake").rglob("*.parquet"))
    assert run(place, "lake", "gc")[-1].startswith("nothing to remove, ")
    told = run(place, "lake", "gc", "--older-than", "0")
    assert told[0] == "no git repository here: the cards in data/cards alone count"
    assert told[1].startswith("experiments ")
    assert told[-1].endswith("could be removed: `dhs lake gc --remove` does it")
    assert set((place / "data" / "lake").rglob("*.parquet")) == files
    assert any("belong to no version that is pinned" in line for line in run(place, "verify", "--deep"))
    assert run(place, "lake", "gc", "--older-than", "0", "--remove")[-1].startswith("removed ")
    assert set((place / "data" / "lake").rglob("*.parquet")) < files
    assert run(place, "verify", "--deep") == ["everything is intact"]
    assert run(place, "lake", "gc", "--older-than", "0")[-1] == "nothing to remove"


@pytest.mark.usefixtures("whole_stage")
def test_uploads_that_never_ended_are_counted_and_then_aborted(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stores.bucket(monkeypatch) as uri:
        values = values_of("test")
        params.write(place, {**values, "survey": values["survey"] | {"work_uri": f"{uri}/work"}}, "test")
        s3 = boto3.client("s3")
        for key in ("work/cutouts/x.npy", "of/others.npy"):
            s3.create_multipart_upload(Bucket=stores.NAME, Key=key)
        assert "unfinished uploads: 1 could be aborted" in run(place, "lake", "gc", "--older-than", "0")
        with working(params.load(place).data.of_any_survey):
            busy = CliRunner().invoke(dhs, ["lake", "gc", "--remove", "--older-than", "0", "--project", str(place)])
        assert "a stage or another command is working on the lake" in busy.output + busy.stderr + str(busy.exception)
        assert len(s3.list_multipart_uploads(Bucket=stores.NAME)["Uploads"]) == 2, "a stage may be sending them"
        assert "unfinished uploads: 1 could be aborted" in run(place, "lake", "gc")
        assert "unfinished uploads: 1 aborted" in run(place, "lake", "gc", "--remove")
        assert [one["Key"] for one in s3.list_multipart_uploads(Bucket=stores.NAME)["Uploads"]] == ["of/others.npy"]
        assert not [line for line in run(place, "lake", "gc") if "upload" in line]


def test_rows_that_break_their_contract_are_found(place: Path) -> None:
    root = params.load(place).data.of_any_survey
    entry = cards.slices(root, "gates")[0]
    rows = delta.read(root, "gates", slices=[entry.card.slice])
    assert verifying._wrong_rows(entry, rows) is None
    at = rows.column_names.index("status")
    wrong = rows.set_column(at, rows.schema.field("status"), pa.array(["MAYBE"] * rows.num_rows, pa.string()))
    card = replace(entry.card, fingerprint=fingerprint(wrong, tables.spec("gates")))
    found = verifying._wrong_rows(replace(entry, card=card), wrong)
    assert found is not None
    assert "rows break the contract" in found.sentence
    assert verifying._wrong_rows(replace(entry, card=replace(card, schema_hash="earlier")), wrong) is None


def test_which_table_to_export_is_asked_for(place: Path) -> None:
    for name, message in (
        ("nothing", "'table' must be one of"),
        ("tractor_pool", "table 'tractor_pool' has not been made yet"),
        ("gates", "'table' must be one of gates.diagnose-demo1"),
        ("gates.diagnose-demo1", "'table' must be one with positions"),
    ):
        done = CliRunner().invoke(dhs, ["lake", "export", name, "--hats", "out", "--project", str(place)])
        assert message in str(done.exception)
