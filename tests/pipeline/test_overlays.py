"""Generations of one's own: made, found like the shipped ones, compared; a typo is refused with the nearest name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from lake.errors import ParameterError
from modeling.config import generations, resolve_generation
from pipeline.cli import dhs
from pipeline.project import params
from pipeline.project.generations import Wanted, chain, enlist
from pipeline.project.project import Project
from pipeline.training.overlays import compared, make, overview
from tests.pipeline.checkout import PROJECT


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name in ("params", "params.yaml"):
        (shutil.copytree if (PROJECT / name).is_dir() else shutil.copyfile)(PROJECT / name, tmp_path / name)
    return params.load(tmp_path)


def own(project: Project, name: str) -> Path:
    return project.folder / "params" / "generations" / f"{name}.yaml"


def test_a_new_generation_is_a_small_file_and_is_trained_like_a_shipped_one(project: Project) -> None:
    path = make(project, "mine", "demo1", ["loop.epochs=4", "preprocessing.annulus=[8, 15]"], None)
    assert path == own(project, "mine")
    expected = resolve_generation("demo1", {"loop.epochs": 4, "preprocessing.annulus": [8, 15]})
    found = chain(project, Wanted("mine")).trained["mine"]
    told = {"generation": "mine", "description": "demo1 with loop.epochs=4, preprocessing.annulus=[8, 15]."}
    assert found == expected.model_copy(update=told)
    enlist(project, Wanted("mine"))
    assert "mine" in params.load(project.folder).trained
    path.write_text(path.read_text().replace("epochs: 4", "epochs: 5"))
    assert chain(params.load(project.folder), Wanted("mine")).trained["mine"].loop.epochs == 5, "as the file says"


def test_own_generations_build_on_each_other_and_are_named_in_params(project: Project) -> None:
    make(project, "mine", "demo1", ["loop.epochs=4"], "First.")
    make(params.load(project.folder), "mine2", "mine", ["init=mine"], None)
    assert list(chain(project, Wanted("mine2")).trained) == ["mine", "mine2"]
    overlay = project.folder / "params" / "test.yaml"
    overlay.write_text(overlay.read_text().replace("  demo2: null\n", "  demo2: null\n  mine: {loop: {epochs: 2}}\n"))
    assert params.resolve(project.folder, "test")["train"]["mine"]["parameters"]["loop"]["epochs"] == 2


@pytest.mark.parametrize(
    ("name", "base", "settings", "sentence"),
    [
        ("demo2", "demo1", [], "'name' must be one that no generation or finder has, got 'demo2'"),
        ("mine", "demo9", [], r"'based-on' must be one of .*; did you mean 'demo\d'"),
        ("mine", "demo1", ["loop.epoch=4"], r"'train\.mine\.loop\.epoch' must be .*; did you mean 'epochs'"),
        ("mine", "demo1", ["loop.epochs=0"], r"'train\.mine\.loop\.epochs' must be greater than or equal to 1"),
        ("mine", "demo1", ["manifest=audit"], "trains on manifest 'audit', which no stage here makes"),
        ("mine", "demo1", ["generation=demo2"], "'setting' must be a parameter of the training"),
        ("mine", "demo1", ["based_on=gen1"], "'setting' must be a parameter of the training"),
        ("D01", "demo1", [], "'name' must be a name of your own"),
        ("../mine", "demo1", [], "'name' must be up to 64 letters"),
        ("mine", "demo1", ["network.metadata_columns=[theta_e_arcsec]"], "may reveal the label"),
    ],
)
def test_what_is_no_generation_is_not_made(
    project: Project, name: str, base: str, settings: list[str], sentence: str
) -> None:
    with pytest.raises(ParameterError, match=sentence):
        make(project, name, base, settings, None)
    assert not list((project.folder / "params" / "generations").glob("*"))


def test_nothing_is_overwritten(project: Project) -> None:
    path = make(project, "mine", "demo1", ["loop.epochs=4"], None)
    before = path.read_bytes()
    with pytest.raises(ParameterError, match="one that no generation or finder has"):
        make(project, "mine", "demo2", [], None)
    assert path.read_bytes() == before


def test_files_that_hide_a_shipped_one_or_lead_in_a_circle_are_refused(project: Project) -> None:
    own(project, "gen1").parent.mkdir()
    own(project, "gen1").write_text("based_on: demo1\n")
    with pytest.raises(ParameterError, match="a file with another name"):
        chain(project, Wanted("demo1"))
    own(project, "gen1").unlink()
    own(project, "a").write_text("based_on: b\n")
    own(project, "b").write_text("based_on: a\n")
    with pytest.raises(ParameterError, match="'based_on of b' must be an overlay that is not based on it, got 'a'"):
        chain(project, Wanted("a"))


def test_a_typo_is_answered_with_the_nearest_name(project: Project) -> None:
    with pytest.raises(ParameterError, match="did you mean 'gen5a-audit'"):
        chain(project, Wanted("gen5a-audti"))
    with pytest.raises(ParameterError, match=r"did you mean 'pretrained'"):
        chain(project, Wanted("gen5a", ["network.pretraind=false"]))


def test_what_differs_from_what(project: Project) -> None:
    make(project, "mine", "gen5b", ["optimiser.lr=1e-4"], None)
    rows = {row["generation"]: row for row in overview(project.folder).to_pylist()}
    assert set(rows) == {*generations(), "mine"}
    assert rows["gen5c"] == {"generation": "gen5c", "based_on": "gen5a", "differs": "loss.kind=weighted"}
    assert rows["mine"]["differs"] == "optimiser.lr=0.0001"
    assert rows["demo1"]["based_on"] == "base"
    apart = {
        row["parameter"]: (row["gen4"], row["gen5b"]) for row in compared(project.folder, ["gen4", "gen5b"]).to_pylist()
    }
    assert apart == {
        "init": ("gen2", "gen4"),
        "preprocessing.annulus": ("[20.0, 32.0]", "auto"),
        "schedule.warmup_epochs": ("3.0", "0.0"),
        "loop.keep_every_epochs": ("10", "1"),
        "loop.keep_best_epochs": ("0", "10"),
    }
    whole = compared(project.folder, ["gen4"]).to_pylist()
    assert {row["parameter"]: row["gen4"] for row in whole}["optimiser.lr"] == "5.0e-05"


def test_a_parameter_that_only_one_generation_names_is_compared(project: Project) -> None:
    make(project, "mine", "demo1", ["execution.compile=true"], None)
    rows = {row["generation"]: row["differs"] for row in overview(project.folder).to_pylist()}
    assert rows["mine"] == "execution.compile=true"
    expected = [{"parameter": "execution.compile", "demo1": "false", "mine": "true"}]
    assert compared(project.folder, ["demo1", "mine"]).to_pylist() == expected


@pytest.mark.usefixtures("whole_stage")
def test_the_commands_say_what_they_made_and_show(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    at = ["--project", str(project.folder)]
    made = CliRunner().invoke(dhs, ["new", "mine", "--based-on", "demo1", "--set", "loop.epochs=4", *at])
    assert made.exit_code == 0, made.output
    assert "params/generations/mine.yaml made; `dhs train mine --dry-run`" in made.output
    shown = CliRunner().invoke(dhs, ["generations", "--format", "csv", *at])
    assert '"mine","demo1","loop.epochs=4"' in shown.output
    dry = CliRunner().invoke(dhs, ["train", "mine", "--dry-run", *at])
    assert "mine: 4 epochs of pixelnet_small" in dry.output, dry.output
    assert dry.exit_code == 0


@pytest.mark.parametrize(("name", "scorer"), [("R4", "R3"), ("sim-gen4", "sim-gen3"), ("demo4", "demo3")])
def test_a_generation_on_hard_negatives_brings_the_finder_that_chooses_them(
    project: Project, name: str, scorer: str
) -> None:
    found = chain(project, Wanted(name))
    assert list(found.trained) == [scorer, name]
    assert set(found.values["train"]) >= {scorer, name}
