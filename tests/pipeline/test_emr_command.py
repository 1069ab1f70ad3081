"""``dhs emr submit`` hands the stage, its parameters and its cards to the submission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lake import yamltext
from lake.errors import DataError, ParameterError
from pipeline.cli import dhs
from pipeline.project import params
from pipeline.project.project import Project
from pipeline.verbs.submitting import submission
from pipeline.wiring import cards
from tests.pipeline.checkout import values_of

REPOSITORY = Path(__file__).resolve().parents[2]


def test_cards_come_from_the_wiring() -> None:
    assert "tractor_pool" in cards(REPOSITORY, "pool", None)
    assert "injections.gen1" in cards(REPOSITORY, "ingest", "gen1")
    assert cards(REPOSITORY, "manifest", "mine") == ["manifest.mine", "quarantine.manifest.mine"]
    assert not [name for name in cards(REPOSITORY, "pool", None) if "pin" in name]
    with pytest.raises(
        ParameterError, match=r"'stage' must be one of demo, plan, .*, code, listing, pool, .*, got 'pol'"
    ):
        cards(REPOSITORY, "pol", None)


@pytest.fixture
def project_folder(tmp_path: Path) -> Path:
    """A project without data."""
    (tmp_path / "dvc.yaml").write_text((REPOSITORY / "dvc.yaml").read_text())
    (tmp_path / "params").symlink_to(REPOSITORY / "params")
    (tmp_path / "params.yaml").write_text(yamltext.text(values_of("test")))
    return tmp_path


@pytest.mark.usefixtures("whole_stage")
def test_limits_reach_the_parameters(project_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from etl.emr import submission

    seen: list[Any] = []
    monkeypatch.setattr(submission, "submit", lambda *arguments: seen.append(arguments) or ["tractor_pool.json"])
    monkeypatch.chdir(project_folder)
    example = (REPOSITORY / "docs/emr.md").read_text().split("```yaml\n")[1].split("```")[0]
    (project_folder / "emr.yaml").write_text(example)
    result = CliRunner().invoke(dhs, ["emr", "submit", "pool", "--cluster", "emr.yaml", "--limit-files", "2"])
    assert result.exit_code == 0, result.output
    work = seen[0][0]
    assert work.arguments == ("run", "pool")
    assert yamltext.values(work.parameters)["pool"]["limit_files"] == 2
    assert "tractor_pool" in work.cards
    assert {"data/cards/tractor_pool.json", "data/lake/tractor_pool/_witness/whole.json"} <= set(work.outputs)
    assert {"astropy", "deltalake", "pyarrow", "xxhash"} <= set(work.modules)
    assert not {"torch", "grpc", "scipy"} & set(work.modules)


def test_only_stages_that_run_on_spark_are_submitted(project_folder: Path) -> None:
    with pytest.raises(ParameterError, match=r"'stage' must be one of plan, .*pool, .*completeness, got 'history'"):
        submission(params.load(project_folder), "history", None, {})
    with pytest.raises(ParameterError, match=r"must be one of plan, stamps, stamp_manifest, pool, .*, got 'train'"):
        submission(params.load(project_folder), "train", "demo1", {})


def test_a_stage_that_makes_stamps_needs_places_on_s3(project_folder: Path) -> None:
    place = params.load(project_folder)
    survey = place.values["survey"]
    with pytest.raises(ParameterError, match=r"'survey\.work_uri' must be an s3:// prefix on EMR, got None"):
        submission(place, "cutouts", None, {})
    with pytest.raises(ParameterError, match=r"'survey\.shards_uri' must be an s3:// prefix on EMR, got None"):
        submission(
            Project(project_folder, {**place.values, "survey": survey | {"work_uri": "s3://bucket/work"}}),
            "cutouts",
            None,
            {},
        )
    there = on_s3(place)
    assert "data/cutouts" in submission(there, "cutouts", None, {}).outputs
    made = submission(there, "stamps", "paired", {})
    assert {"data/stamps/paired", "data/cards/stamps.paired.json"} <= set(made.outputs)
    assert {"numba", "scipy"} <= set(made.modules)
    assert "torch" not in made.modules


def on_s3(place: Project) -> Project:
    """The same project with its partial work and stamps on S3."""
    both = {"work_uri": "s3://bucket/work", "shards_uri": "s3://bucket/shards"}
    return Project(place.folder, {**place.values, "survey": place.values["survey"] | both})


def test_stamps_take_the_bank_of_their_sources_along(project_folder: Path) -> None:
    place = on_s3(params.load(project_folder))
    assert submission(place, "stamps", "paired", {}).files == ()
    with pytest.raises(DataError, match=r"data/bank\.h5 is missing, which the stage reads"):
        submission(place, "stamps", "unpaired_cosmos", {})
    (project_folder / "data").mkdir()
    (project_folder / "data" / "bank.h5").touch()
    assert [str(path) for path in submission(place, "stamps", "unpaired_cosmos", {}).files] == ["data/bank.h5"]
    place.values["stamps"]["rendering"]["bank"]["path"] = "../bank.h5"
    with pytest.raises(
        ParameterError, match=r"'stamps\.rendering\.bank\.path' must be in the project on EMR, got '\.\./bank"
    ):
        submission(place, "stamps", "unpaired_cosmos", {})


def test_a_manifest_takes_the_judged_lists_along(project_folder: Path) -> None:
    place = params.load(project_folder)
    assert submission(place, "manifest", "mine", {}).files == ()
    (project_folder / "data" / "judged").mkdir(parents=True)
    (project_folder / "data" / "judged" / "unclean.csv").touch()
    assert [str(path) for path in submission(place, "manifest", "mine", {}).files] == ["data/judged/unclean.csv"]
    assert submission(place, "negatives", None, {}).files == ()


@pytest.mark.usefixtures("whole_stage")
def test_a_stage_takes_its_files_along(project_folder: Path) -> None:
    place = params.load(project_folder)
    with pytest.raises(DataError, match=r"grid/mine is missing, which the stage reads"):
        submission(place, "ingest", "mine", {})
    names = {"data/grid/mine/grid.json", "data/grid/mine/batch-0.parquet", "data/cards/scores.mine.json"}
    for name in (*names, "data/cards/.draft.json", "data/grid/other/grid.json"):
        (project_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (project_folder / name).touch()
    assert {str(path) for path in submission(place, "ingest", "mine", {}).files} == names
    assert {str(path) for path in submission(place, "completeness", "mine", {}).files} == {
        "data/grid/mine/grid.json",
        "data/cards/scores.mine.json",
    }
