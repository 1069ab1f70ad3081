"""``dhs`` is about the project that the user is in, at any depth, or names; and about its survey alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lake.store import cards
from pipeline.project import params
from tests.pipeline.checkout import Checkout


def dhs(checkout: Checkout, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``dhs ...`` in a folder, its output captured."""
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=place, env=checkout.environment, capture_output=True, text=True, check=False)


@pytest.fixture
def places(finished: Checkout, tmp_path: Path) -> dict[Path, list[str]]:
    """A folder below the project's and one outside, with the options that name the project there."""
    below = finished.folder / "docs" / "notes"
    below.mkdir(exist_ok=True)
    return {below: [], tmp_path: ["--project", str(finished.folder)]}


@pytest.mark.parametrize(
    "command",
    [
        ("tables",),
        ("query", "select count(*) as n from manifest"),
        ("lineage", "completeness.demo1"),
        ("verify",),
        ("params", "show", "grid"),
        ("discoveries", "--top", "3"),
        ("compare",),
    ],
)
def test_commands_say_the_same_everywhere(
    finished: Checkout, places: dict[Path, list[str]], command: tuple[str, ...]
) -> None:
    home = finished.dhs(*command)
    assert home.stdout.strip()
    for place, option in places.items():
        for there in (dhs(finished, place, *option, *command), dhs(finished, place, *command, *option)):
            assert (there.returncode, there.stdout) == (0, home.stdout), there.stderr


def test_paths_that_the_user_types_start_where_they_are(finished: Checkout, places: dict[Path, list[str]]) -> None:
    for place, option in places.items():
        done = dhs(finished, place, "render", "--n", "2", "--out", "sheets/arcs.png", *option)
        assert done.returncode == 0, done.stderr
        assert (place / "sheets" / "arcs.png").exists()
        done = dhs(finished, place, "query", "select 1 as one", "--out", "one.csv", *option)
        assert (place / "one.csv").read_text().split() == ['"one"', "1"]
    assert not (finished.folder / "one.csv").exists()
    assert not (finished.folder / "sheets").exists()


def test_a_stage_runs_in_the_projects_folder(twin: Callable[[], Checkout], tmp_path: Path) -> None:
    copy = twin()
    (copy.folder / "docs" / "notes").mkdir()
    pin = copy.folder / "data" / "cards" / "experiments.historical.pin.json"
    for place, option in ((copy.folder / "docs" / "notes", []), (tmp_path, ["--project", "twin"])):
        pin.unlink()
        done = dhs(copy, place, "run", "history", *option)
        assert done.returncode == 0, done.stderr
        assert pin.exists()
        assert not (place / "data").exists()


def test_without_a_project_the_error_says_what_to_do(finished: Checkout, tmp_path: Path) -> None:
    for command in (("tables",), ("params", "use", "demo"), ("demo",), ("run", "pool")):
        done = dhs(finished, tmp_path, *command)
        assert done.returncode == 1
        assert done.stderr == (
            f"dhs: no params.yaml in {tmp_path} or above it: run `dhs params use demo` in the project's folder, or "
            "name it with --project\n"
        )


def test_mistyped_names_get_a_suggestion(finished: Checkout) -> None:
    for command, said in (
        (("tabels",), "No such command 'tabels'. Did you mean 'tables'?"),
        (("lineage", "manifset"), "did you mean 'manifest"),
        (("run", "evaluat"), "did you mean 'evaluate'?"),
        (("params", "use", "dem"), "did you mean 'demo'?"),
        (("params", "show", "girds"), "did you mean 'grid'?"),
        (("train", "demo1", "loop.epoch=3"), "epochs, "),
        (("train", "demo1", "loop.epoch=3"), "got 'epoch'; did you mean 'epochs'?"),
    ):
        done = finished.dhs(*command, check=False)
        assert done.returncode
        assert said in done.stderr


def test_every_stage_shows_its_parameters_or_says_that_it_has_none(finished: Checkout) -> None:
    from pipeline.stage import WITHOUT_SECTION, stage_names

    for stage in stage_names():
        option = ["--generation", "demo1"] if stage == "train" else []
        told = finished.dhs("params", "show", stage, *option).stdout
        assert told == f"stage '{stage}' has no parameters\n" if stage in WITHOUT_SECTION else ": " in told


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
