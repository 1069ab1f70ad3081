"""What a training needs is looked at before it starts, and a run that lacks it is refused with nothing written."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lake.errors import DataError, ParameterError, ShardError
from lake.store import cards, delta
from modeling.config import generations, resolve_generation
from modeling.networks import imagenet
from modeling.scoring.card import CARD, read_card
from modeling.scoring.checkpoint import Checkpoint, file_sha256
from pipeline.project import params, simulated
from pipeline.project.context import RunContext, stage_run
from pipeline.project.generations import Wanted, chain, enlist
from pipeline.project.project import Project
from pipeline.stage import run_stage
from pipeline.training.readiness import readiness
from tests.pipeline.trainable import AUDIT, SMALL, add_manifest, members, problems, project_with_manifests, write_checks


@pytest.fixture(scope="session")
def made(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    return once("trainable", project_with_manifests)


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Project:
    shutil.copytree(made, tmp_path / "project")
    return params.load(tmp_path / "project")


@pytest.fixture(scope="module")
def after_demo1(whole_stage: None, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(made, folder)
    trained(params.load(folder), Wanted("demo1", SMALL))
    return folder


@pytest.fixture
def with_demo1(after_demo1: Path, tmp_path: Path) -> Project:
    """A project in which demo1 is trained."""
    shutil.copytree(after_demo1, tmp_path / "with demo1")
    return params.load(tmp_path / "with demo1")


def trained(project: Project, wanted: Wanted) -> Project:
    """Train as `dhs train` has DVC do it: every generation of the chain by its stage."""
    found = enlist(project, wanted)
    project = params.load(project.folder)
    for name in found.trained:
        run_stage(project, "train", name)
    return project


def files(project: Project) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("whole_stage")
def test_a_dry_run_says_what_would_be_trained_on_what_and_changes_nothing(project: Project) -> None:
    before = files(project)
    found = readiness(project, chain(project, Wanted("demo2", SMALL[1:3])))
    assert problems(found) == []
    assert files(project) == before
    told = "\n".join(each.line() for each in found)
    assert "demo1: 8 epochs of pixelnet_small, 64 stamps a step, 64 at a time, bce loss, cosine rate from 0.002" in told
    assert "demo2: 3 epochs of pixelnet_small, 16 stamps a step, 8 at a time" in told
    assert "demo1, start: random weights" in told
    assert "demo2, start: demo1, which is trained first" in told
    assert f"{AUDIT}, 24 lenses and 48 negatives to train and 8 lenses and 16 negatives to select on, 4 steps" in told
    assert "stamps: 1 shards of 65 pixels" in told


def test_a_dry_run_knows_what_is_trained_already(with_demo1: Project) -> None:
    found = readiness(with_demo1, chain(with_demo1, Wanted("demo2", SMALL)))
    identity = read_card(with_demo1.data.checkpoints("demo1")).checkpoint_id
    assert found[0].line() == (
        f"ok      demo1: trained with these parameters (checkpoint {identity}); not trained again"
    )
    assert f"demo1 (checkpoint {identity})" in found[2].found


def test_a_dry_run_names_an_altered_checkpoint_and_what_to_do(with_demo1: Project) -> None:
    path = with_demo1.data.checkpoints("demo1") / "best.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    sentence = (
        f"PROBLEM demo1, checkpoint: {path} was altered: its bytes are not those the checkpoint was made with (SHA-256 "
        "differs); fetch the folder again, or remove it and run `dhs train demo1`"
    )
    assert problems(readiness(with_demo1, chain(with_demo1, Wanted("demo2", SMALL)))) == [
        sentence, "PROBLEM demo2, start: it starts from demo1, which cannot be used",
    ]  # fmt: skip
    assert problems(readiness(with_demo1, chain(with_demo1, Wanted("demo1", SMALL)))) == [sentence]


def test_a_dry_run_names_every_problem(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checks(project, AUDIT, [{"name": "ks/psfsize_r", "passed": False, "detail": "p = 1e-9"}])
    (project.data.cutouts / "bucket-0000.npy").unlink()
    monkeypatch.setattr("pipeline.training.readiness.psutil.virtual_memory", lambda: type("", (), {"available": 1e9}))
    found = problems(readiness(project, chain(project, Wanted("demo1"))))
    assert [line.split(":")[0] for line in found] == [
        f"PROBLEM demo1, {what}" for what in ("manifest", "stamps", "disk and memory")
    ]
    assert "failed 1 of its checks: ks/psfsize_r (p = 1e-9)" in found[0]
    assert "bucket-0000.npy is missing" in found[1]
    assert "1.5 GB of memory are needed and 1.0 GB are free" in found[2]


def test_a_dry_run_on_a_manifest_without_rows_says_so_once(project: Project) -> None:
    with stage_run("manifest", AUDIT, project, RunContext) as context:
        context.write("manifest", [], AUDIT, {"manifest_id": AUDIT})
    wanted = Wanted("demo1", SMALL)
    sentence = f"manifest '{AUDIT}' has 0 lenses and 0 negatives in its training split; demo1 needs both"
    assert problems(readiness(project, chain(project, wanted))) == [f"PROBLEM demo1, manifest: {sentence}"]
    with pytest.raises(DataError, match=sentence):
        trained(project, wanted)


def test_a_dry_run_on_a_manifest_that_cannot_be_read_says_so_and_goes_on(project: Project) -> None:
    (project.data.cards / f"{cards.stem('manifest', AUDIT)}.pin.json").unlink()
    found = readiness(project, chain(project, Wanted("demo1", SMALL)))
    (problem,) = problems(found)
    assert re.search(rf"^PROBLEM demo1, manifest: .*manifest.{AUDIT}.*run `dvc repro`", problem)
    assert found[-1].what == "demo1, disk and memory"


def test_a_dry_run_looks_for_the_bank_of_real_galaxies(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    wanted = chain(project, Wanted("demo3", ["manifest=sim_cosmos_sources"]))
    assert problems(readiness(project, wanted)) == [
        "PROBLEM demo3, manifest: data/bank.h5 is missing: `dhs bank build` makes it"
    ]
    Path("data/bank.h5").write_bytes(b"")
    told = "\n".join(each.line() for each in readiness(project, wanted))
    assert "sim_cosmos_sources is not made yet: the stages that make it run first" in told


def test_a_dry_run_counts_stamps_as_they_are_held_and_says_where(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """96 training and validation stamps of three bands and 65 pixels, 4 bytes each: 0.0049 GB."""
    monkeypatch.setattr("pipeline.training.readiness.STAMP_PIXELS", 100_000)
    wanted = chain(project, Wanted("demo1", ["preprocessing.crop_pixels=0"]))
    found = readiness(project, wanted)[-1].found
    assert found.startswith("0.0 GB of stamps on the processor")
    monkeypatch.setattr("modeling.training.data.MAPPED_ABOVE", 0.0)
    assert readiness(project, wanted)[-1].found.startswith("0.0 GB of stamps in a file, as they would fill the memory")
    monkeypatch.setattr("pipeline.training.readiness.shutil.disk_usage", lambda place: SimpleNamespace(free=1e6))
    assert "GB of disk are needed and 0.0 GB are free" in readiness(project, wanted)[-1].found


@pytest.mark.usefixtures("whole_stage")
def test_weights_of_imagenet_are_looked_for_before_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*given: object, **named: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    wanted = chain(project, Wanted("gen5a-audit", ["loop.batch=64", "loop.keep_every_epochs=0"]))
    cached = tmp_path / "hub" / "checkpoints" / "efficientnet_v2_s-dd5fe13b.pth"
    (line,) = problems(readiness(project, wanted))
    assert f"the ImageNet weights of efficientnet_v2_s are not at {cached} and cannot be fetched (no route)" in line
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half of it")
    (line,) = problems(readiness(project, wanted))
    assert f"{cached} is not the published file of ImageNet weights" in line
    torch.save({}, cached)
    name = f"whole-{file_sha256(cached)[:8]}.pth"
    file = imagenet.Published("efficientnet_v2_s", f"https://download.example/{name}")
    cached.rename(file.path)
    monkeypatch.setattr(imagenet, "_published", lambda network: file)
    found = readiness(project, wanted)
    assert problems(found) == []
    assert found[1].line() == f"ok      gen5a-audit, start: ImageNet weights, {file.path}"


def test_a_parent_of_another_network_is_refused(project: Project, with_demo1: Project) -> None:
    wanted = Wanted("demo2", ["network.width=16", "loop.batch=16", "loop.micro_batch=16"])
    (line,) = problems(readiness(project, chain(project, wanted)))
    assert "demo2, start: it starts from demo1, but the weights do not fit network pixelnet_small" in line
    with pytest.raises(DataError, match="the weights of demo1 do not fit network pixelnet_small"):
        trained(with_demo1, wanted)
    assert not with_demo1.data.checkpoints("demo2").exists()


@pytest.mark.usefixtures("whole_stage")
def test_a_manifest_whose_checks_failed_is_refused_unless_they_are_accepted_by_name(project: Project) -> None:
    write_checks(project, AUDIT, [{"name": "overlap/galaxy_id", "passed": False, "detail": "3 in two splits"}])
    with pytest.raises(DataError, match=r"failed 1 of its checks: overlap/galaxy_id \(3 in two splits\)"):
        trained(project, Wanted("demo1", SMALL))
    assert not project.data.checkpoints("demo1").exists()
    project = trained(project, Wanted("demo1", [*SMALL, "accepted_checks=[overlap/galaxy_id]"]))
    assert read_card(project.data.checkpoints("demo1")).config.accepted_checks == ("overlap/galaxy_id",)


@pytest.mark.usefixtures("whole_stage")
@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"label": 0}, DataError, "has 0 lenses and 72 negatives in its training split; demo1 needs both"),
        ({"split": "train"}, DataError, "has 0 lenses and 0 negatives in its validation split"),
        ({"tier": None}, DataError, "24 of 24 lenses have no tier A or B"),
        ({"psfsize_r": None}, DataError, "psfsize_r must be positive in every training row, but 72 of 72 lack it"),
    ],
)
def test_rows_that_cannot_serve_are_refused_before_any_pixel_is_read(
    project: Project, change: dict[str, object], kind: type[Exception], sentence: str
) -> None:
    rows = [{**row, "manifest_id": AUDIT, **change} for row in members()]
    with stage_run("manifest", AUDIT, project, RunContext) as context:
        context.write("manifest", rows, AUDIT, {"manifest_id": AUDIT})
    shutil.rmtree(project.data.cutouts)
    settings = [*SMALL, "loss.kind=weighted", "network.metadata_columns=[psfsize_r]"]
    with pytest.raises(kind, match=sentence):
        trained(project, Wanted("demo1", settings))
    assert any(sentence in line for line in problems(readiness(project, chain(project, Wanted("demo1", settings)))))


def test_stamps_of_a_side_that_the_network_cannot_take_are_refused(project: Project) -> None:
    wanted = Wanted("demo1", [*SMALL, "preprocessing.crop_pixels=0"])
    sentence = "'preprocessing.crop_pixels' must be a multiple of 4 for pixelnet_small, or 0 with stamps of such a side"
    (line,) = problems(readiness(project, chain(project, wanted)))
    assert f"demo1, stamps: {sentence}, got 65" in line
    with pytest.raises(ParameterError, match=sentence):
        trained(project, wanted)


def test_an_annulus_outside_the_stamps_is_refused(project: Project) -> None:
    wanted = Wanted("demo1", [*SMALL, "preprocessing.annulus=[60, 70]"])
    (line,) = problems(readiness(project, chain(project, wanted)))
    assert "demo1, stamps: 'preprocessing.annulus' must be inside a 65 x 65 stamp, got (60.0, 70.0)" in line


def test_missing_shards_and_large_batches_are_refused(project: Project) -> None:
    with pytest.raises(ParameterError, match=r"'loop\.batch' must be at most the 72 training rows, got 128"):
        trained(project, Wanted("demo1", ["loop.batch=128"]))
    (project.data.cutouts / "bucket-0000.npy").unlink()
    with pytest.raises(ShardError, match=r"bucket-0000\.npy is missing"):
        trained(project, Wanted("demo1", SMALL))
    assert not project.data.checkpoints("demo1").exists()


def test_the_test_split_is_neither_trained_nor_selected_on(with_demo1: Project) -> None:
    rows = delta.read(with_demo1.data, "manifest", slices=[AUDIT])
    seen = Checkpoint.load(with_demo1.data.checkpoints("demo1")).has_seen(rows["galaxy_id"])
    assert {(split, bool(one)) for split, one in zip(rows["split"].to_pylist(), seen, strict=True)} == {
        ("train", True), ("val", True), ("test", False),
    }  # fmt: skip


def test_a_run_is_recorded_with_machine_software_command_and_times(with_demo1: Project) -> None:
    project = with_demo1
    (row,) = delta.read(project.data, "training_runs", slices=["demo1"]).to_pylist()
    card = read_card(project.data.checkpoints("demo1"))
    assert (row["run_id"], row["checkpoint_id"], row["data_fingerprint"]) == (
        card.run_id, card.checkpoint_id, card.manifest_fingerprint,
    )  # fmt: skip
    assert row["preprocessing_digest"] == card.preprocessing.digest()
    assert (row["torch"], row["cuda"], row["driver"], row["attempts"]) == (torch.__version__, None, None, 1)
    assert row["started_at"] <= row["ended_at"]
    assert row["started_at"].utcoffset().total_seconds() == 0
    assert "pytest" in row["command_line"] or "-c" in row["command_line"]
    assert row["device"]
    assert [json.loads(line)["mode"] for line in row["attempt_log"].splitlines()] == ["eager"]
    before = cards.read_slice(project.data, "training_runs", "demo1").card
    run_stage(project, "train", "demo1")
    after = cards.read_slice(project.data, "training_runs", "demo1").card
    assert after == before, "when and where it ran are no part of what it made"


def test_what_torch_compiles_is_kept_in_the_data_folder_unless_another_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "TORCHINDUCTOR_CACHE_DIR"
    monkeypatch.delenv(name, raising=False)
    with stage_run("train", "demo1", project, RunContext):
        assert Path(os.environ[name]) == project.data.local.resolve() / "work" / "compiled"
    assert name not in os.environ
    monkeypatch.setenv(name, "elsewhere")
    with stage_run("train", "demo1", project, RunContext):
        assert os.environ[name] == "elsewhere"
    assert os.environ[name] == "elsewhere"


@pytest.mark.usefixtures("whole_stage")
def test_a_rehearsal_trains_the_whole_line_in_small_under_names_of_its_own(project: Project) -> None:
    project = trained(project, Wanted("demo2", ["execution.threads=1"], rehearse=True))
    card = read_card(project.data.checkpoints("rehearsal-demo2"))
    assert (card.config.init, card.epochs_run, card.config.loop.batch) == ("rehearsal-demo1", 1, 32)
    assert not project.data.checkpoints("demo2").exists()
    assert project.trained == ["rehearsal-demo1", "rehearsal-demo2"]


def test_a_rehearsal_starts_from_imagenet_weights_where_their_file_is(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    wanted = Wanted("gen4", rehearse=True)
    assert [each.network.pretrained for each in chain(project, wanted).trained.values()] == [False, False]
    held = tmp_path / "hub" / "checkpoints" / "efficientnet_v2_s-dd5fe13b.pth"
    held.parent.mkdir(parents=True)
    held.touch()
    found = chain(project, wanted).trained.values()
    assert [each.network.pretrained for each in found] == [True, False], "gen4 starts from gen2"
    plain = Wanted("gen2", ["network.pretrained=false"], rehearse=True)
    assert not chain(project, plain).trained["rehearsal-gen2"].network.pretrained


@pytest.fixture(scope="module")
def rehearsing(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with every manifest that a rehearsal trains on."""
    folder = tmp_path_factory.mktemp("rehearsing") / "project"
    shutil.copytree(made, folder)
    project = params.load(folder)
    for name in {resolve_generation(name).manifest for name in generations()}:
        add_manifest(project, simulated.unmined(project.values, name))
    return params.load(folder)


@pytest.mark.parametrize(
    ("name", "scorer", "base"),
    [
        ("R4", "R3", "unpaired_baseline"),
        ("R6", "R3", "unpaired_baseline"),
        ("sim-gen4", "sim-gen3", "sim_unpaired_resolved"),
    ],
)
def test_a_rehearsal_needs_no_finder_of_hard_negatives(project: Project, name: str, scorer: str, base: str) -> None:
    assert scorer in chain(project, Wanted(name)).trained
    (own,) = chain(project, Wanted(name, rehearse=True)).trained.values()
    assert (own.generation, own.manifest, own.loss) == (f"rehearsal-{name}", base, resolve_generation(name).loss)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", generations())
def test_every_generation_trains_at_small_scale(rehearsing: Project, name: str) -> None:
    """Those that a generation starts from are trained once: they are cases of their own, in any order."""
    wanted, folder = resolve_generation(name), rehearsing.folder
    # Simulated stamps have 64 pixels, those of this lake 65.
    crop = ["preprocessing.crop_pixels=64"] if wanted.network.name == "pixelnet_small" else []
    found = enlist(params.load(folder), Wanted(name, ["execution.threads=1", *crop], rehearse=True))
    for one in found.trained:
        if not (rehearsing.data.checkpoints(one) / CARD).exists():
            run_stage(params.load(folder), "train", one)
    card = read_card(rehearsing.data.checkpoints(f"rehearsal-{name}"))
    assert card.epochs_run == 1
    assert (card.config.network.name, card.config.loss, card.preprocessing.kind) == (
        wanted.network.name, wanted.loss, wanted.preprocessing.kind,
    )  # fmt: skip
    assert card.manifest_id == simulated.unmined(rehearsing.values, wanted.manifest)
    parents = [read_card(rehearsing.data.checkpoints(one)).checkpoint_id for one in list(found.trained)[:-1]]
    assert list(card.ancestors) == parents[::-1]
    (epoch,) = delta.read(rehearsing.data, "training_epochs", slices=[f"rehearsal-{name}"]).to_pylist()
    assert epoch["hard_negatives"] > 0
