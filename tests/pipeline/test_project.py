"""``dhs`` is about the project that the user is in, at any depth, or names; and about its survey alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from lake.root import DataRoot
from lake.store import cards, delta
from pipeline import cli
from pipeline.project import params
from pipeline.project.context import RunContext, stage_run
from pipeline.stage import stage_names
from tests.pipeline.checkout import PROJECT, Checkout, project_in


@pytest.fixture(scope="module")
def small(whole_stage: None, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A project whose stage ``history`` has run, which needs neither Spark nor any other stage."""
    made = Checkout(tmp_path_factory.mktemp("small") / "project")
    shutil.copytree(PROJECT / "params", made.folder / "params")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(PROJECT / name, made.folder / name)
    (made.folder / "docs" / "notes").mkdir(parents=True)
    dhs(made.folder, "run", "history")
    return made


def dhs(place: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """``dhs ...`` in a folder, its output captured."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "pipeline", *arguments]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def places(project: Path, outside: Path) -> dict[Path, list[str]]:
    """A folder below the project's and one outside, with the options that name the project there."""
    return {project / "docs" / "notes": [], outside: ["--project", os.path.relpath(project, outside)]}


@pytest.mark.parametrize(
    "command",
    [
        ("tables",),
        ("query", "select count(*) as n from experiments"),
        ("lineage", "experiments"),
        ("verify",),
        ("params", "show", "grid"),
        ("server", "status"),
    ],
)
def test_commands_say_the_same_everywhere(small: Checkout, tmp_path: Path, command: tuple[str, ...]) -> None:
    home = dhs(small.folder, *command).stdout
    assert home.strip()
    for place, option in places(small.folder, tmp_path).items():
        assert dhs(place, *option, *command).stdout == home
        assert dhs(place, *command, *option).stdout == home


def test_paths_that_the_user_types_start_where_they_are(small: Checkout, tmp_path: Path) -> None:
    for place, option in places(small.folder, tmp_path).items():
        (place / "own.yaml").write_text("base: v1_wide\n")
        (place / "none").mkdir()
        sheet = ("--prior", "own.yaml", "--hosts", "none", "--n", "1", "--out", "sheets/arcs.png")
        dhs(place, "render", *sheet, *option)
        assert (place / "sheets" / "arcs.png").exists()
        dhs(place, "query", "select count(*) as n from experiments", "--out", "count.csv", *option)
        assert (place / "count.csv").read_text().split() == ['"n"', "31"]
    assert not (small.folder / "count.csv").exists()
    assert not (small.folder / "sheets").exists()


def test_a_stage_runs_in_the_projects_folder(small: Checkout, tmp_path: Path) -> None:
    root = DataRoot.of(small.folder / "data")
    for place, option in places(small.folder, tmp_path).items():
        cards.remove(root, "experiments", "historical")
        dhs(place, "run", "history", *option)
        assert len(cards.slices(root, "experiments")) == 1
        assert not (place / "data").exists()


@pytest.mark.usefixtures("whole_stage")
def test_without_a_project_the_error_says_what_to_do(tmp_path: Path) -> None:
    for command in (("tables",), ("params", "use", "demo"), ("demo",), ("run", "pool")):
        done = dhs(tmp_path, *command, check=False)
        assert done.returncode == 1
        assert done.stderr == (
            f"dhs: no params.yaml in {tmp_path} or above it: run `dhs params use demo` in the project's folder, or "
            "name it with --project\n"
        )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("tabels",), "no such command 'tabels'; did you mean 'tables'?"),
        (("lineage", "experimnts"), "did you mean 'experiments"),
        (("query", "select * from experimnts"), "did you mean 'experiments'?"),
        (("run", "evaluat"), "did you mean 'evaluate'?"),
        (("params", "use", "dem"), "did you mean 'demo'?"),
        (("params", "show", "girds"), "did you mean 'grid'?"),
        (("train", "demo1", "loop.epoch=3"), "epochs, "),
        (("train", "demo1", "loop.epoch=3"), "got 'epoch'; did you mean 'epochs'?"),
    ],
)
def test_a_mistyped_name_gets_a_suggestion(small: Checkout, command: tuple[str, ...], said: str) -> None:
    assert said in dhs(small.folder, *command, check=False).stderr


def test_every_stage_shows_its_parameters_or_says_that_it_has_none(
    small: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small.folder)
    for stage in stage_names():
        option = ["--generation", "demo1"] if stage == "train" else []
        done = CliRunner().invoke(cli.dhs, ["params", "show", stage, *option])
        assert done.exit_code == 0
        assert done.output == f"stage '{stage}' has no parameters\n" or ": " in done.output
        assert "``" not in done.output
    assert CliRunner().invoke(cli.dhs, ["params", "show", "ingest"]).output == "stage 'ingest' has no parameters\n"


def test_results_are_shown_everywhere(finished: Checkout, tmp_path: Path) -> None:
    (finished.folder / "docs" / "notes").mkdir(exist_ok=True)
    for command in (("discoveries", "--top", "3"), ("compare",)):
        home = finished.dhs(*command).stdout
        for place, option in places(finished.folder, tmp_path).items():
            assert dhs(place, *command, *option).stdout == home


def test_plain_rows_are_written_whole_with_lineage_and_survey(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    epoch = {"run_id": "r", "epoch": 1, "origin": "demo1", "generation": "demo1", "epoch_seconds": 2.5}
    with stage_run("train", "demo1", project, RunContext) as context:
        context.write("training_epochs", [epoch], "demo1", {"origin": "demo1"})
    (row,) = delta.read(project.data, "training_epochs").to_pylist()
    assert epoch.items() <= row.items()
    assert (row["val_auc"], row["pipeline_version"]) == (None, context.code["pipeline_version"])
    assert cards.read_slice(project.data, "training_epochs", "demo1").pin.inputs == {"survey": project.survey.name}


def test_tables_name_the_survey_they_were_made_for(finished: Checkout) -> None:
    root = params.load(finished.folder).data
    found = {
        cards.stem(table, entry.card.slice): entry.pin.inputs.get(cards.SURVEY)
        for table in cards.tables(root)
        for entry in cards.slices(root, table)
    }
    none = {name for name, survey in found.items() if survey is None}
    assert none == {"experiments.historical", "training_epochs.historical"}
    assert {survey for name, survey in found.items() if name not in none} == {"Test survey"}


def test_under_another_survey_nothing_of_the_old_one_is_shown(finished: Checkout, twin: Callable[[], Checkout]) -> None:
    copy = twin()
    copy.dhs("params", "use", "demo")
    for command in (("discoveries",), ("compare",), ("render",), ("query", "select count(*) from manifest")):
        done = copy.dhs(*command, check=False)
        assert done.returncode == 1, command
        assert "for the survey 'Test survey', and params.yaml names 'Demo survey': run `dvc repro`" in done.stderr
    told = copy.dhs("tables").stdout.splitlines()
    assert told[-1].endswith("of the survey 'Test survey'; params.yaml names 'Demo survey'")
    shown = {line.split()[0]: line.split()[1] for line in told[1:-1]}
    assert {name for name, rows in shown.items() if rows not in ("-", "view")} == {"experiments", "training_epochs"}
    assert copy.dhs("verify").stdout == "every pinned version is in the lake\n"
    assert "survey  Test survey" in copy.dhs("lineage", "manifest").stdout
    copy.dhs("params", "use", "test")
    assert copy.dhs("discoveries").stdout == finished.dhs("discoveries").stdout
