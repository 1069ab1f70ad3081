"""Networks that were trained or imported here are audited by their name, and start others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from lake import yamltext
from lake.errors import DarkHaloError, ParameterError
from lake.store import delta
from modeling.scoring.card import read_card
from pipeline.cli import dhs
from pipeline.experiment.trainedon import seen_by, trained_by
from pipeline.finders import audit
from pipeline.finders.weights import import_checkpoint
from pipeline.project import params
from pipeline.project.generations import Wanted, chain, enlist
from pipeline.project.project import Project
from pipeline.stage import run_stage
from pipeline.training.readiness import readiness
from pipeline.wiring import of_one_finder, per_finder
from tests.pipeline.checkout import PROJECT
from tests.pipeline.trainable import AUDIT, SMALL, problems, project_with_manifests

TINY = ("network.width=8", "execution.threads=1")


@pytest.fixture(scope="module")
def imported(
    whole_stage: None, once: Callable[[str, Callable[[Path], object]], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project with demo1, and the same weights imported as `theirs`."""
    folder = tmp_path_factory.mktemp("imported") / "project"
    shutil.copytree(once("trainable", project_with_manifests), folder)
    shutil.copyfile(PROJECT / "dvc.yaml", folder / "dvc.yaml")
    enlist(params.load(folder), Wanted("demo1", SMALL))
    project = params.load(folder)
    run_stage(project, "train", "demo1")
    weights = weights_of(project, folder / "best.pt")
    import_checkpoint(project, weights, "theirs", "demo1", TINY, None)
    return folder


@pytest.fixture
def project(imported: Path, tmp_path: Path) -> Project:
    shutil.copytree(imported, tmp_path / "project")
    return params.load(tmp_path / "project")


def weights_of(project: Project, path: Path) -> Path:
    from modeling.scoring.checkpoint import Checkpoint

    torch.save({"state_dict": Checkpoint.load(project.data.checkpoints("demo1")).weights(), "epoch": 1}, path)
    return path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What DVC is asked to run, which is not run."""
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(audit, "reproduce", lambda project, *targets: asked.append(targets))
    return asked


def test_a_trained_network_is_audited_by_its_name(project: Project, runs: list[tuple[str, ...]]) -> None:
    audit.audit_trained(project, "demo1")
    own = tuple(f"{stage}@demo1" for stage in of_one_finder(project.folder))
    assert runs == [own, ("--single-item", "pairs@demo1", "report")]
    assert {stage.partition("@")[0] for stage in own} == per_finder(project.folder).keys() - {"pairs"}
    assert params.load(project.folder).audited == ["demo1"]


def test_one_that_cannot_be_measured_is_not_audited(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(project: Project, *targets: str) -> None:
        raise DarkHaloError("the pipeline stopped")

    monkeypatch.setattr(audit, "reproduce", stop)
    before = (project.folder / "params.yaml").read_bytes()
    with pytest.raises(DarkHaloError, match="the pipeline stopped"):
        audit.audit_trained(project, "demo1")
    assert (project.folder / "params.yaml").read_bytes() == before


def test_the_command_takes_names_of_trained_networks_and_answers_a_typo(
    project: Project, runs: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr("pipeline.finders.reproduce.closing_words", lambda place: "done")
    found = CliRunner().invoke(dhs, ["audit", "theirs", "--project", str(project.folder)])
    assert found.output == "done\n", found
    assert params.load(project.folder).audited == ["theirs"]
    typo = CliRunner().invoke(dhs, ["audit", "demo11", "--project", str(project.folder)])
    assert "did you mean 'demo1'" in str(typo.exception)
    untrained = CliRunner().invoke(dhs, ["audit", "demo3", "--project", str(project.folder)])
    assert "'FINDER' must be trained first (`dhs train demo3`), got 'demo3'" in str(untrained.exception)
    mine = CliRunner().invoke(dhs, ["audit", "mine:finder", "--project", str(project.folder)])
    assert "'--name' must be given with a finder of your own" in str(mine.exception)


def test_what_imported_weights_were_trained_on_is_unknown_unless_listed(project: Project, tmp_path: Path) -> None:
    rows = delta.read(project.data, "manifest", slices=[AUDIT])
    assert seen_by(project.data.checkpoints("theirs"), rows).null_count == rows.num_rows
    listed = tmp_path / "list.csv"
    listed.write_text("galaxy_id\nring:003\nring:004\n")
    import_checkpoint(project, project.folder / "best.pt", "listed", "demo1", TINY, listed)
    known = trained_by(project.data.checkpoints("listed"), rows)
    assert known.null_count == 0
    assert known.to_pylist().count(True) == 2


def test_a_generation_may_start_from_imported_weights_and_does_not_know_what_they_have_seen(project: Project) -> None:
    wanted = Wanted("demo2", [*SMALL, "init=theirs"])
    found = chain(project, wanted)
    assert list(found.trained) == ["demo2"]
    assert problems(readiness(project, found)) == []
    enlist(project, wanted)
    assert yamltext.values((project.folder / "params.yaml").read_text())["train"]["demo2"]["ancestor"] == (
        "data/checkpoints/theirs"
    )
    run_stage(params.load(project.folder), "train", "demo2")
    folder = project.data.checkpoints("demo2")
    assert read_card(folder).ancestors == (read_card(project.data.checkpoints("theirs")).checkpoint_id,)
    rows = delta.read(project.data, "manifest", slices=[AUDIT])
    seen = dict(zip(rows["galaxy_id"].to_pylist(), seen_by(folder, rows).to_pylist(), strict=True))
    splits = dict(zip(rows["galaxy_id"].to_pylist(), rows["split"].to_pylist(), strict=True))
    assert {(splits[name], one) for name, one in seen.items()} == {("train", True), ("val", True), ("test", None)}


def test_imports_overwrite_nothing_and_are_forgotten(project: Project) -> None:
    with pytest.raises(ParameterError, match="one that no generation or finder has"):
        import_checkpoint(project, project.folder / "best.pt", "theirs", "demo1", TINY, None)
    assert audit.forget(project, "theirs") == [str(project.data.checkpoints("theirs"))]
    assert not project.data.checkpoints("theirs").exists()
    with pytest.raises(ParameterError, match="not a network that was trained here"):
        audit.forget(project, "demo1")
    assert json.loads((project.data.checkpoints("demo1") / "checkpoint.json").read_text())
