"""A generation is trained on anybody's labelled cut-outs, remembers them, and is audited on those it has not seen."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from analysis.page.report import Page
from analysis.records import Outcome
from lake.errors import DataError, ParameterError
from lake.store import cards, delta
from pipeline.cli import dhs
from pipeline.finders import cutoutaudit
from pipeline.finders.audit import forget
from pipeline.finders.cutoutaudit import audit_cutouts
from pipeline.finders.cutouttraining import Made, Request, train_on_cutouts
from pipeline.project import params
from pipeline.project.generations import Wanted
from pipeline.project.project import Project
from tests.cutoutsets import write_set
from tests.pipeline.checkout import project_in

pytestmark = pytest.mark.usefixtures("whole_stage")

COUNT, LENSES = 120, 40
SMALL = (
    *("preprocessing.crop_pixels=32", "network.width=8", "execution.threads=1"),
    *("loop.epochs=2", "loop.batch=16", "loop.micro_batch=16", "loop.keep_every_epochs=1"),
)


def project(folder: Path) -> Project:
    values = project_in(folder).values
    params.write(folder, {**values, "evaluate": {**values["evaluate"], "fpr_points": [0.1]}, "audited": []}, "test")
    return params.load(folder)


def request(folder: Path, description: Path, *more: str) -> Request:
    return Request(Wanted("demo1", [*SMALL, *more]), folder / "set", description)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path, Made]:
    """One training: of a set with a bad file and an object that the table lacks."""
    place = tmp_path_factory.mktemp("trained-on-a-set")
    path = write_set(place / "set", COUNT, LENSES)
    table = pd.read_csv(place / "set" / "objects.csv")
    table[table["id"] != "o090"].to_csv(place / "set" / "objects.csv", index=False)
    return project(place), path, train_on_cutouts(project(place), request(place, path))


def test_the_checkpoint_knows_its_set_its_bands_and_what_it_has_seen(done: tuple[Project, Path, Made]) -> None:
    at, _, made = done
    card = made.checkpoint.card
    assert (made.name, card.manifest_id, card.bands, card.stamp_pixels) == ("demo1-own", "own", ("g", "i"), 41)
    assert card.epochs_run == 2
    assert {"epoch-0001.safetensors", "epoch-0002.safetensors"} <= set(card.files)
    seen = made.checkpoint.seen().to_pandas()
    assert seen["galaxy_id"].str.startswith("own:").all()
    assert set(seen["purpose"]) == {"train", "select"}
    assert 0 < COUNT - 1 - seen["galaxy_id"].nunique() < 40, "some are left for a test"
    assert len(delta.read(at.data, "training_epochs", slices=["demo1-own"])) == 2
    (run,) = delta.read(at.data, "training_runs", slices=["demo1-own"]).to_pylist()
    assert (run["checkpoint_id"], run["data_fingerprint"]) == (card.checkpoint_id, card.manifest_fingerprint)
    lost = delta.read(at.data, "quarantine", slices=["train.demo1-own"]).to_pylist()
    assert [row["reason"].partition(":")[2].strip() for row in lost] == ["it is not in objects.csv"]
    assert made.rejected == 1
    counts = delta.read(at.data, "ingest_counts", slices=["train.demo1-own"]).to_pandas()
    assert counts["rows"].sum() == COUNT


def test_the_same_again_is_the_same_checkpoint_and_other_data_are_refused(done: tuple[Project, Path, Made]) -> None:
    at, path, made = done
    assert train_on_cutouts(at, request(at.folder, path)).checkpoint.card == made.checkpoint.card
    with pytest.raises(
        ParameterError, match=r"one without a checkpoint of other data or parameters \(`dhs forget demo1-own`\)"
    ):
        train_on_cutouts(at, request(at.folder, path, "seed=7"))
    assert (
        made.checkpoint.card.checkpoint_id
        == train_on_cutouts(at, request(at.folder, path)).checkpoint.card.checkpoint_id
    )


def test_an_audit_on_the_same_set_leaves_out_what_was_trained_on(
    done: tuple[Project, Path, Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, path, made = done
    monkeypatch.setattr(cutoutaudit, "diagnosed", lambda *given: Outcome("diagnose"))
    monkeypatch.setattr(cutoutaudit, "rendered", lambda inputs, folder: Page("", {}))
    asked = cutoutaudit.Request(str(made.checkpoint.folder), at.folder / "set", path, "net")
    audit_cutouts(at, asked)
    scores = delta.read(at.data, "scores", slices=["net-own"]).to_pandas().set_index("galaxy_id")
    seen = made.checkpoint.seen().to_pandas().drop_duplicates("galaxy_id").set_index("galaxy_id")["purpose"]
    assert set(scores.index[scores["seen_in_training"]]) == set(seen.index)
    assert set(scores.index[scores["trained_on"]]) == set(seen.index[seen == "train"])
    hosts = delta.read(at.data, "set_injections", ["galaxy_id"], slices=["net-own"])["galaxy_id"].to_pylist()
    assert set(hosts).isdisjoint(seen.index[seen == "train"])


def test_the_sets_own_split_is_used(tmp_path: Path) -> None:
    path = write_set(tmp_path / "set", COUNT, LENSES)
    table = pd.read_csv(tmp_path / "set" / "objects.csv")
    table["split"] = ["train" if row % 2 else "val" if row % 4 else "test" for row in range(COUNT)]
    table.to_csv(tmp_path / "set" / "objects.csv", index=False)
    made = train_on_cutouts(project(tmp_path), request(tmp_path, path, "loop.epochs=1"))
    seen = made.checkpoint.seen().to_pandas().groupby("purpose").size().to_dict()
    assert seen == {"train": 60, "select": 30}
    table.assign(split="train and val").to_csv(tmp_path / "set" / "objects.csv", index=False)
    with pytest.raises(DataError, match="'split' of own must hold train, val, test, got train and val"):
        train_on_cutouts(project(tmp_path), request(tmp_path, path, "loop.epochs=1"))


def test_a_set_without_lenses_and_a_parent_of_other_bands_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    path = write_set(tmp_path / "set", COUNT, 0)
    at = project(tmp_path)
    with pytest.raises(DataError, match=r"manifest 'own' has 0 lenses and \d+ negatives in its training split"):
        train_on_cutouts(at, request(tmp_path, path))
    with pytest.raises(DataError, match=r"checkpoint\.json cannot be read as a checkpoint"):
        train_on_cutouts(at, request(tmp_path, path, "init=demo2"))
    assert not at.data.checkpoints("demo1-own").exists()
    assert not cards.slices(at.data, "training_runs")


def test_it_is_forgotten_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_set(tmp_path / "set", COUNT, LENSES)
    at = project(tmp_path)
    monkeypatch.chdir(tmp_path)
    options = ["--cutouts", str(tmp_path / "set"), "--describe", str(path), "--project", str(tmp_path)]
    told = CliRunner().invoke(dhs, ["train", "demo1", *SMALL, "loop.epochs=1", *options])
    assert told.exit_code == 0, told
    assert "demo1-own: checkpoint" in told.output
    assert "`dhs audit demo1-own --cutouts FOLDER" in told.output
    both = CliRunner().invoke(dhs, ["train", "demo1", "--dry-run", *options])
    assert "'--cutouts' must be given without --dry-run" in str(both.exception)
    forget(at, "demo1-own")
    held = [entry.name for table in cards.tables(at.data) for entry in cards.slices(at.data, table)]
    assert held == []
    assert not at.data.checkpoints("demo1-own").exists()
