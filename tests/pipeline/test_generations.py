"""Every shipped generation becomes part of the pipeline by its name, or is refused in a sentence that says the cure."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lake import yamltext
from lake.errors import ParameterError
from lake.root import DataRoot
from lake.store import delta
from modeling.config import generations, resolve_generation
from modeling.scoring.card import read_card
from pipeline.experiment.trainedon import seen_by
from pipeline.project import params, simulated
from pipeline.project.generations import Wanted, enlist
from pipeline.reporting.results import contamination
from tests.pipeline.checkout import PROJECT, Checkout

MADE = ("audit_70_15_15", "parity_70_30")
TRAINABLE = [name for name in generations() if resolve_generation(name).manifest in MADE]
SIMULATED = [name for name in generations() if resolve_generation(name).manifest not in MADE]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params", "params.yaml", "dvc.yaml"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if (PROJECT / name).is_dir() else shutil.copyfile)(PROJECT / name, target)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = yamltext.values(Path("params.yaml").read_text())["train"]
    return found


def test_the_shipped_generations_are_those_of_the_table_and_their_audit_variants() -> None:
    fast = [name for name in generations() if name.endswith("-fast")]
    assert fast == ["gen5a-audit-fast", "gen5a-fast"]
    assert len([name for name in generations() if not name.endswith("-audit")]) - len(fast) == 26
    assert [name for name in generations() if name.endswith("-audit")] == [
        *("gen1-audit", "gen2-audit", "gen3-audit", "gen4-audit", "gen5a-audit", "gen5b-audit")
    ]
    assert ["R0", "R1", "R3", "R4", "R5", "R6", "demo3", "demo4", *(f"sim-gen{n}" for n in range(1, 6))] == SIMULATED


@pytest.mark.parametrize("name", TRAINABLE)
def test_a_generation_brings_what_it_starts_from(project: Path, name: str) -> None:
    enlist(params.load(project), Wanted(name))
    resolved = trained()
    chain: list[str] = []
    one: str | None = name
    while one is not None:
        chain.append(one)
        loaded = params.section(params.load(project), "train", one)
        assert loaded == resolve_generation(one)
        one = resolve_generation(one).init
        start = f"data/checkpoints/{one}" if one else "data/code/nothing.json"
        assert resolved[chain[-1]]["ancestor"] == start
    assert set(resolved) == {"demo1", "demo2", *chain}
    before = Path("params.yaml").read_bytes()
    enlist(params.load(project), Wanted(name))
    assert Path("params.yaml").read_bytes() == before


@pytest.mark.parametrize("name", SIMULATED)
def test_a_generation_on_simulated_stamps_brings_them(project: Path, name: str) -> None:
    enlist(params.load(project), Wanted(name))
    manifest, entry = resolve_generation(name).manifest, trained()[name]
    assert entry["manifest"] == f"data/cards/stamp_manifest.{manifest}.json"
    assert entry["pixels"] == f"data/stamps/{simulated.stamp_set(params.load(project).values, manifest)}"
    enlist(params.load(project), Wanted(name, ["manifest=audit_70_15_15"]))
    assert trained()[name]["manifest"] == "data/cards/manifest.audit_70_15_15.json"
    assert trained()[name]["pixels"] == "data/cutouts"


def test_a_manifest_that_no_stage_makes_is_refused_or_taken_from_the_lake(project: Path) -> None:
    before = Path("params.yaml").read_bytes()
    with pytest.raises(ParameterError, match=r"no stage here makes: .* `dhs train R1 manifest=audit_70_15_15`"):
        enlist(params.load(project), Wanted("R1", ["manifest=mine"]))
    assert Path("params.yaml").read_bytes() == before
    card = Path("data/cards/manifest.mine.json")
    card.parent.mkdir(parents=True)
    card.write_text("{}")
    enlist(params.load(project), Wanted("R1", ["manifest=mine"]))
    assert params.section(params.load(project), "train", "R1") == resolve_generation("R1", {"manifest": "mine"})


@pytest.mark.parametrize(
    ("section", "change", "sentence"),
    [
        (
            "stamps",
            {"sets": {"unpaired": {"plan": "none"}}},
            r"'stamps\.sets\.unpaired\.plan' must be one of paired_small",
        ),
        ("stamp_manifest", {"manifests": {"sim_paired": {"set_name": "none"}}}, "sim_paired.set_name' must be one of"),
        (
            "hard_negatives",
            {"manifests": {"unpaired_hard_negatives": {"base": "none"}}},
            "base' must be one of sim_pai",
        ),
        (
            "hard_negatives",
            {"manifests": {"sim_paired": {"base": "sim_unpaired", "scorer": "R3"}}},
            "'manifests' must be named differently in manifest, stamp_manifest, hard_negatives, got 'sim_paired'",
        ),
    ],
)
def test_manifests_name_what_there_is(project: Path, section: str, change: dict[str, object], sentence: str) -> None:
    Path("params/mine.yaml").write_text(yamltext.text({"based_on": "demo", section: change}))
    with pytest.raises(ParameterError, match=sentence):
        params.resolve(project, "mine")


def test_hard_negatives_may_be_mined_by_several_in_turn(project: Path) -> None:
    chain = {"first": {"base": "sim_unpaired", "scorer": "R3"}, "second": {"base": "first", "scorer": "R5"}}
    mine = {"based_on": "demo", "hard_negatives": {"manifests": chain}}
    Path("params/mine.yaml").write_text(yamltext.text(mine))
    assert simulated.stamp_set(params.resolve(project, "mine"), "second") == "unpaired_gaussian"


@pytest.mark.usefixtures("whole_stage")
def test_dvc_knows_every_one_of_them(project: Path) -> None:
    from dvc.repo import Repo

    values = params.load(project).values
    train = {name: params.generation_entry(resolve_generation(name), values) for name in generations()}
    whole = {**values, "train": train}
    Path("params.yaml").write_text(json.dumps({**whole, "simulated": simulated.needed(whole)}))
    with Repo.init(no_scm=True) as repo:
        stages = {stage.name: stage for stage in repo.stage.collect("train")}
        of_stamps = {stage.name for stage in repo.stage.collect("params/simulated/dvc.yaml")}
    assert set(stages) == {f"train@{name}" for name in generations()}
    needs = {dep.def_path for dep in stages["train@gen5b-audit"].deps}
    assert {"data/checkpoints/gen4-audit", "data/cards/manifest.audit_70_15_15.json", "data/cutouts"} <= needs
    needs = {dep.def_path for dep in stages["train@sim-gen4"].deps}
    assert {"data/cards/stamp_manifest.sim_unpaired_hard_negatives.json", "data/stamps/unpaired"} <= needs
    assert {"plan@unpaired", "stamps@unpaired_cosmos", "hard_negatives@unpaired_hard_negatives"} <= of_stamps


def test_settings_hold_for_the_named_generation_alone(project: Path) -> None:
    enlist(params.load(project), Wanted("gen4-audit", ["loop.epochs=2", "preprocessing.annulus=[8, 15]", ""]))
    changes = {"loop.epochs": 2, "preprocessing.annulus": [8, 15]}
    assert params.section(params.load(project), "train", "gen4-audit") == resolve_generation("gen4-audit", changes)
    assert params.section(params.load(project), "train", "gen2-audit") == resolve_generation("gen2-audit")
    enlist(params.load(project), Wanted("gen4-audit", ["loop.epochs=3"]))
    again = resolve_generation("gen4-audit", {**changes, "loop.epochs": 3})
    assert params.section(params.load(project), "train", "gen4-audit") == again, "what was set before stays"


@pytest.mark.parametrize(
    ("name", "setting", "sentence"),
    [
        ("gen9", "", "'generation' must be one of R0, .*, got 'gen9'"),
        ("gen1", "epochs", "'setting' must be KEY=VALUE"),
        ("gen1", "loop.epoch=2", r"'train\.gen1\.loop\.epoch' must be one of the known parameters"),
        ("gen1", "loop.epochs=[", r"'loop\.epochs' must have a value in YAML"),
        ("gen1", "loop.epochs=true", r"train\.gen1\.loop: 'epochs' must be a number, got True"),
        ("gen1", "optimiser.betas=[true, 0.9]", r"train\.gen1\.optimiser: 'betas' must be a number"),
        ("gen1", "seed=-1", r"'train\.gen1\.seed' must be greater than or equal to 0"),
        ("gen1", "augmentation.seed=4294967296", r"'train\.gen1\.augmentation\.seed' must be less than 2147483648"),
        ("gen1", "network.metadata_columns=[psfsize_r, psfsize_r]", r"metadata_columns' must be different columns"),
        ("gen1", "generation=gen2", r"'setting' must be a parameter of the training .*, got 'generation=gen2'"),
        ("gen1", "init=gen1", r"'train\.gen1\.init' must be a generation other than itself"),
        ("gen4", "init=gen22", r"'train\.gen4\.init' must be one of R0, .*, got 'gen22'; did you mean 'gen2'\?"),
        ("gen1", "network.name=resnet-18", r"'resnet18', .*, got 'resnet-18'; did you mean 'resnet18'\?"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_written(
    project: Path, name: str, setting: str, sentence: str
) -> None:
    before = Path("params.yaml").read_bytes()
    with pytest.raises(ParameterError, match=sentence):
        enlist(params.load(project), Wanted(name, [setting]))
    assert Path("params.yaml").read_bytes() == before


def test_mlflow_trains_a_generation_by_its_name() -> None:
    entry = yamltext.values((PROJECT / "MLproject").read_text())["entry_points"]["train"]
    assert entry["command"] == "dhs train {generation} {setting}"
    assert set(entry["parameters"]) == {"generation", "setting"}


def test_the_real_survey_is_not_trained_on_its_own_test_split(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in params.overlays(project):
        resolved = params.resolve(project, name)
        params.warn_of_contamination(resolved, resolved["audited"])
        assert not caplog.records, name
    assert params.resolve(project, "dr10")["audited"] == ["gen5a-audit"]
    with caplog.at_level(logging.WARNING):
        for name, guilty in (("gen5a", "gen5a"), ("gen4", "gen4 and gen2")):
            enlist(params.load(project), Wanted(name))
            assert f"{name} selects on test galaxies of audit_70_15_15" in caplog.text
            assert f"of {guilty})" in caplog.text
            caplog.clear()
        enlist(params.load(project), Wanted("gen4-audit"))
    assert not caplog.records


@pytest.mark.timeout(900)
def test_a_generation_is_trained_and_its_contaminated_test_figures_are_refused(
    twin: Callable[[], Checkout],
) -> None:
    """One epoch of a small network in the place of resnet18_baseline_v1, whose manifest has no test split."""
    copy = twin()
    settings = ("network.name=pixelnet_small", "loop.epochs=1", "loop.batch=32", "loop.micro_batch=32")
    copy.dhs("train", "resnet18_baseline_v1", *settings)
    root = DataRoot.of(copy.folder / "data")
    card = read_card(root.checkpoints("resnet18_baseline_v1"))
    assert (card.config.loss.kind, card.manifest_id, card.epochs_run) == ("weighted", "parity_70_30", 1)
    rows = delta.read(root, "manifest", slices=["audit_70_15_15"])
    seen = seen_by(root.checkpoints("resnet18_baseline_v1"), rows)
    tested = rows.append_column("seen_in_training", seen).to_pandas().query("split == 'test'")
    assert len(tested)
    assert tested.seen_in_training.all()
    marked = contamination(tested)
    assert marked == {
        "test figures": f"refused: {len(tested)} of {len(tested)} test galaxies were trained or selected on"
    }
    unknown = contamination(tested.assign(seen_in_training=None))
    assert unknown == {"test figures": f"training status is unknown for {len(tested)} of {len(tested)} test galaxies"}
    assert contamination(delta.read(root, "scores", slices=["demo1"]).to_pandas().query("split == 'test'")) == {}
