"""Auditing is safe: a finder is tried before anything changes, and one that fails leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import warnings
from pathlib import Path

import pytest
import torch

from lake import yamltext
from lake.errors import DarkHaloError, DataError, ParameterError
from pipeline.finders import audit
from pipeline.finders.audit import forget
from pipeline.project import params
from pipeline.project.context import RunContext
from pipeline.project.project import Project
from pipeline.reporting import finderpairs
from pipeline.wiring import of_one_finder
from tests.pipeline.checkout import PROJECT, Checkout

FINDERS = "tests.pipeline.finders"


def state(folder: Path) -> dict[str, bytes | None]:
    """Every file that an audit might change, and params.yaml."""
    places = [folder / "params.yaml", *(folder / "data" / name for name in ("cards", "checkpoints", "grid", "metrics"))]
    files = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*")))]
    return {str(path): path.read_bytes() if path.is_file() else None for path in files}


@pytest.fixture(scope="module")
def finished(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy, in which finders are added and removed."""
    return finished.twin(tmp_path_factory.mktemp("audited") / "project")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What DVC is asked to run, which is not run."""
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(audit, "reproduce", lambda project, *targets: asked.append(targets))
    return asked


@pytest.mark.parametrize(
    ("finder", "said"),
    [
        ("Chances", r'within \[0, 1\].* output = "probabilities"'),
        ("AfraidOfHoles", r"of 64 logits that are not finite: .* \(also for stamps with unobserved pixels\)"),
        ("ByCompany", "scores a stamp differently in another batch"),
        ("TooLarge", "takes stamps of 128 pixels, but these have 101"),
        ("Absent", "cannot be imported"),
    ],
)
def test_a_finder_that_fails_its_trial_changes_nothing(
    finished: Checkout, monkeypatch: pytest.MonkeyPatch, runs: list[tuple[str, ...]], finder: str, said: str
) -> None:
    project = params.load(finished.folder)
    before = state(finished.folder)
    with pytest.raises(DataError, match=said):
        audit.audit(project, f"{FINDERS}:{finder}", "theirs")
    assert state(finished.folder) == before
    assert runs == []


def test_the_trial_holds_the_stamps_with_the_most_holes(finished: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    project = params.load(finished.folder)
    rows = audit._in_order_of_trial(project.data, project.survey.audit_manifest)
    worst = rows["nan_fraction"].nlargest(audit.TRIED // 4).to_numpy()
    assert worst[0] > 0
    assert sorted(rows["nan_fraction"][: audit.TRIED // 4]) == sorted(worst)
    assert not rows["galaxy_id"].duplicated().any()


def test_a_finder_that_passes_is_enlisted_measured_and_reported(
    finished: Checkout, monkeypatch: pytest.MonkeyPatch, runs: list[tuple[str, ...]]
) -> None:
    project = params.load(finished.folder)
    before = state(finished.folder)
    audit.audit(project, f"{FINDERS}:Chances", "theirs", "probabilities")
    own = tuple(f"{stage}@theirs" for stage in of_one_finder(project.folder))
    assert runs == [own, ("--single-item", "pairs@demo1", "pairs@theirs", "report")]
    assert params.load(finished.folder).audited == ["demo1", "theirs"]
    facts = json.loads((project.data.checkpoints("theirs") / "scorer.json").read_text())
    assert facts["output"] == "probabilities"
    assert audit.load_scorer(project.data.checkpoints("theirs")).checkpoint_id == facts["identity"]
    assert forget(project, "theirs") == ["'theirs' in params.yaml", str(project.data.checkpoints("theirs"))]
    assert state(finished.folder) == before


def test_a_finder_that_fails_on_the_way_is_taken_out_again(finished: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    project = params.load(finished.folder)
    before, root = state(finished.folder), project.data

    def stop(project: Project, *targets: str) -> None:
        root.grid("theirs").mkdir(parents=True)
        (root.cards / "scores.theirs.json").write_text("{}")
        raise DarkHaloError("the pipeline stopped")

    monkeypatch.setattr(audit, "reproduce", stop)
    with pytest.raises(DarkHaloError, match="theirs could not be measured and is not audited; nothing else changed"):
        audit.audit(project, f"{FINDERS}:Brightness", "theirs")
    assert state(finished.folder) == before
    monkeypatch.setattr(audit, "reproduce", lambda project, *targets: None)
    audit.audit(project, f"{FINDERS}:Brightness", "theirs")
    enlisted = state(finished.folder)
    monkeypatch.setattr(audit, "reproduce", stop)
    with pytest.raises(DarkHaloError, match="could not be measured"):
        audit.audit(project, f"{FINDERS}:Certain", "theirs")
    (root.cards / "scores.theirs.json").unlink()
    root.grid("theirs").rmdir()
    assert state(finished.folder) == enlisted, "the finder that had the name before is enlisted again"
    forget(project, "theirs")
    assert state(finished.folder) == before


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_finder_whose_audit_is_interrupted_is_taken_out_again(
    finished: Checkout, monkeypatch: pytest.MonkeyPatch, end: signal.Signals
) -> None:
    project = params.load(finished.folder)
    before = state(finished.folder)

    def interrupt(project: Project, *targets: str) -> None:
        (project.data.cards / "scores.theirs.json").write_text("{}")
        if end == signal.SIGINT:  # workers of a parallel run may ignore it
            raise KeyboardInterrupt
        signal.raise_signal(end)

    monkeypatch.setattr(audit, "reproduce", interrupt)
    with pytest.raises(KeyboardInterrupt if end == signal.SIGINT else SystemExit):
        audit.audit(project, f"{FINDERS}:Brightness", "theirs")
    assert state(finished.folder) == before


def test_a_finder_that_is_gone_is_in_no_pair(finished: Checkout) -> None:
    project = params.load(finished.folder)
    key = {"generation": "demo1", "quantity": "ceiling", "threshold_id": "p0.3", "value": 10.0, "n": 1}
    rows = [{**key, "other": other} for other in ("demo2", "theirs")]
    RunContext("pairs", "demo1", project).write(finderpairs.TABLE, rows, "demo1", {"generation": "demo1"})
    assert set(finderpairs.pairs(project.data, ["demo1", "demo2"], {})["other"]) == {"demo2"}
    assert finderpairs.pairs(project.data, ["demo2"], {}).empty


def test_params_use_keeps_the_finders_that_were_enlisted(
    finished: Checkout, monkeypatch: pytest.MonkeyPatch, runs: list[tuple[str, ...]]
) -> None:
    project = params.load(finished.folder)
    before = state(finished.folder)
    audit.audit(project, f"{FINDERS}:Brightness", "theirs")
    assert params.use(finished.folder, "demo") == ["theirs"]
    assert params.load(finished.folder).audited == ["demo1", "demo2", "theirs"]
    assert params.use(finished.folder, "test") == ["theirs"]
    forget(project, "theirs")
    assert params.use(finished.folder, "test") == []
    assert state(finished.folder) == before


def test_only_somebody_elses_finder_is_forgotten() -> None:
    project = params.load(PROJECT)
    with pytest.raises(ParameterError, match="'name' must be a user's own finder"):
        forget(project, "demo1")
    with pytest.raises(ParameterError, match="'name' must be one of the finders that are not trained here"):
        forget(project, "nobody")
    with pytest.raises(ParameterError, match="'name' must be up to 64 letters"):
        forget(project, "../demo1")


def test_a_name_that_a_generation_has_is_refused(finished: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    project = params.load(finished.folder)
    with pytest.raises(ParameterError, match="'name' must be one that no trained generation has"):
        audit.audit(project, f"{FINDERS}:Brightness", "demo1")
    former = project.data.checkpoints("former")
    shutil.copytree(project.data.checkpoints("demo1"), former)
    try:
        with pytest.raises(ParameterError, match="'name' must be one that no trained generation has"):
            audit.audit(project, f"{FINDERS}:Brightness", "former")
        with pytest.raises(ParameterError, match="not a network that was trained here"):
            forget(project, "former")
        assert (former / "checkpoint.json").exists()
    finally:
        shutil.rmtree(former)


def test_params_yaml_without_a_head_stays_yaml(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yamltext.text({"audited": ["a"], "train": {}}))
    assert params.set_audited(params.load(tmp_path), add="b")
    assert not params.set_audited(params.load(tmp_path), add="b")
    assert params.load(tmp_path).values == {"audited": ["a", "b"], "train": {}}


def test_what_was_edited_during_an_audit_is_kept(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yamltext.text({"audited": ["a"], "train": {}}))
    opened = params.load(tmp_path)
    (tmp_path / "params.yaml").write_text(yamltext.text({"audited": ["a", "c"], "train": {"x": {}}}))
    params.set_audited(opened, add="b")
    assert params.load(tmp_path).values == {"audited": ["a", "c", "b"], "train": {"x": {}}}


class Middle(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 1, 40:61, 40:61].sum(dim=(1, 2)) - 11.0


def test_a_torchscript_file_is_audited_like_any_finder(
    finished: Checkout, tmp_path: Path, runs: list[tuple[str, ...]]
) -> None:
    project = params.load(finished.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Middle()).save(str(tmp_path / "middle.pt"))
        torch.jit.trace(Middle(), torch.zeros(1, 3, 101, 101)).save(str(tmp_path / "other.pt"))
    audit.audit(project, str(tmp_path / "middle.pt"), "middle", "logits")
    found = audit.load_scorer(project.data.checkpoints("middle"))
    assert found.name == "middle"
    (tmp_path / "other.pt").replace(tmp_path / "middle.pt")
    with pytest.raises(DataError, match="is not the one that was audited"):
        audit.load_scorer(project.data.checkpoints("middle"))
    forget(project, "middle")
