"""Each sweep is read once: files that are added, changed, removed or limited, kills, and what the table then holds."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from etl.catalogues import partfile, pool
from etl.files import sweepfiles
from lake import yamltext
from lake.files import storage
from lake.store import cards, delta
from lake.upkeep import collecting
from lake.upkeep.references import references
from pipeline.project.project import Project
from pipeline.tables import verifying
from tests.etl.inprocess import Here
from tests.etl.pooled import Survey, sweep
from tests.lake import stores
from tests.pipeline.checkout import PROJECT

pytestmark = pytest.mark.usefixtures("whole_stage")


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sweeps; tests copy them."""
    folder = tmp_path_factory.mktemp("survey") / "sweeps"
    for i in range(3):
        sweep(folder, f"{i}", 100 * i)
    return folder


@pytest.fixture
def survey(sweeps: Path, tmp_path: Path) -> Survey:
    made = Survey(tmp_path)
    shutil.copytree(sweeps, made.folder)
    return made


def fresh(survey: Survey, place: Path) -> cards.Card:
    """The card of the same files in a new lake."""
    other = Survey(place)
    place.mkdir()
    other.folder.symlink_to(survey.folder)
    return other.published()[1]


def test_only_what_is_new_or_changed_is_read(survey: Survey, tmp_path: Path) -> None:
    seen, _ = survey.published()
    assert seen == ["sweep-0.fits", "sweep-1.fits", "sweep-2.fits"]
    seen, card = survey.published()
    assert seen == []
    commits = len(survey.log())
    survey.published()
    assert len(survey.log()) == commits
    sweep(survey.folder, "3", 300)
    sweep(survey.folder, "1", 500, 25)
    (survey.folder / "sweep-0.fits").unlink()
    seen, card = survey.published()
    assert seen == ["sweep-1.fits", "sweep-3.fits"]
    assert card.rows == 20 + 25 + 20
    assert card == fresh(survey, tmp_path / "other")
    assert len(survey.log()) == commits + 1


def test_a_file_that_returns_is_not_read_again(survey: Survey) -> None:
    _, before = survey.published()
    content = (survey.folder / "sweep-1.fits").rename(survey.folder.parent / "kept")
    assert survey.published()[1].rows == 40
    content.rename(survey.folder / "sweep-1.fits")
    assert survey.published() == ([], before)


def test_repeated_names_follow_the_files_that_have_them(survey: Survey, tmp_path: Path) -> None:
    """A row returns when the earlier file that has its name goes, and leaves when one comes."""
    _, alone = survey.published()
    sweep(survey.folder, "00", 210, 5)
    seen, card = survey.published()
    assert seen == ["sweep-00.fits"]
    assert (card.rows, card) == (60, fresh(survey, tmp_path / "a"))
    (survey.folder / "sweep-00.fits").rename(survey.folder / "sweep-9.fits")
    seen, card = survey.published()
    assert seen == ["sweep-9.fits"]
    assert (card.rows, card) == (60, fresh(survey, tmp_path / "b"))
    assert card.fingerprint == alone.fingerprint
    (survey.folder / "sweep-9.fits").unlink()
    assert survey.published() == ([], alone)


def test_other_parameters_or_code_read_again(survey: Survey) -> None:
    survey.published()
    assert len(survey.published(min_nobs=5)[0]) == 3
    assert survey.published(limit_files=2)[0] == []
    here = Here()
    pool.build(here, sweepfiles.find(str(survey.folder)), survey.recipe(), {}, "other code")
    assert len(here.seen) == 3


def test_limits_open_no_file_beyond_them(survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = sweepfiles.storage.open_file
    monkeypatch.setattr(sweepfiles.storage, "open_file", lambda path: opened.append(Path(path).name) or real(path))
    made = survey.made(limit_rows=25)
    assert {n for n in opened if n.startswith("sweep")} == {"sweep-0.fits", "sweep-1.fits"}
    counts = {c["source_file"]: (c["rows"], c["sha256"] is None) for c in made.counts.to_pylist()}
    assert counts == {"sweep-0.fits": (20, False), "sweep-1.fits": (5, True)}
    assert survey.published(limit_rows=20)[1].rows == 20
    assert survey.published(limit_files=1)[0] == []


def test_a_pool_of_an_object_store_in_an_object_store(
    survey: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read once, and equal to the same pool on this disk."""
    sweep(survey.folder, "00", 210, 5)
    with stores.bucket(monkeypatch) as bucket:
        remote = Survey(tmp_path / "remote", bucket)
        for path in survey.folder.iterdir():
            with storage.writing(f"{bucket}/dr10/{path.name}") as file:
                file.write(path.read_bytes())
        seen, card = remote.published()
        assert (len(seen), card) == (4, survey.published()[1])
        assert remote.published() == ([], card)


def test_a_part_or_account_that_was_lost_or_damaged_is_made_again(survey: Survey) -> None:
    _, before = survey.published()
    table = Path(survey.root.table("tractor_pool"))
    lost, cut = sorted(table.glob("part-*.parquet"))[:2]
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:-10])
    seen, card = survey.published()
    assert (len(seen), card) == (2, before)
    for account in (table / "_parts").iterdir():
        account.write_bytes(account.read_bytes()[:100])
    seen, card = survey.published()
    assert (len(seen), card) == (3, before)


def test_a_part_whose_rows_were_damaged_is_made_again_once_the_table_is_forgotten(survey: Survey) -> None:
    """Its size is the same, so nothing else tells it from a good one."""
    _, before = survey.published()
    part = sorted(Path(survey.root.table("tractor_pool")).glob("part-*.parquet"))[1]
    good = part.read_bytes()
    part.write_bytes(good[:500] + bytes([good[500] ^ 4]) + good[501:])
    assert survey.made().parts.fingerprint == before.fingerprint, "what is there is not read again"
    values = yamltext.values((PROJECT / "params.yaml").read_text())
    project = Project(survey.folder.parent, {"survey": values["survey"]})
    (finding,) = verifying.check(project, deep=True)
    assert verifying.repair(project, [finding]) == ["dvc repro"]
    seen, card = survey.published()
    assert (len(seen), card) == (3, before)
    assert verifying.check(project, deep=True) == []


def test_a_file_that_could_not_be_read_is_tried_again(survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sweepfiles.storage.open_file

    def failing(path: str) -> Any:
        if path.endswith("sweep-1.fits"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(sweepfiles.storage, "open_file", failing)
    seen, card = survey.published()
    assert (len(seen), card.rows) == (3, 40)
    monkeypatch.setattr(sweepfiles.storage, "open_file", real)
    assert survey.published()[0] == ["sweep-1.fits"]


_TASK = """
import pickle, sys
from pathlib import Path
from etl.catalogues import partfile
task, recipe = pickle.loads(Path(sys.argv[1]).read_bytes())
partfile.make(task, recipe)
print([name for name in ("scipy", "healpy", "astropy", "pyspark", "torch") if name in sys.modules])
"""


def test_a_task_needs_no_scipy(survey: Survey, tmp_path: Path) -> None:
    """Nor others that are large or not shipped to executors; the recipe travels as bytes."""
    recipe = survey.recipe()
    task = pool.planned(sweepfiles.find(survey.sweeps), recipe, {}, "code")[0]
    (tmp_path / "task").write_bytes(pickle.dumps((task, recipe)))
    command = [sys.executable, "-c", _TASK, str(tmp_path / "task")]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_error_of_the_work_leaves_nothing_that_counts(survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while a part is written is no fault of the sweep."""
    with monkeypatch.context() as patch:
        patch.setattr(partfile, "_complete", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            survey.published()
    assert not list(Path(survey.root.table("tractor_pool")).rglob("*.*"))
    assert len(survey.published()[0]) == 3


def test_gc_keeps_what_spares_reading_and_removes_what_no_version_needs(survey: Survey) -> None:
    sweep(survey.folder, "00", 210, 5)
    _, before = survey.published()
    table = Path(survey.root.table("tractor_pool"))
    assert len(list(table.glob("part-*"))) == 5
    assert collecting.waste(survey.root, references(survey.root), 0.0) == []
    sweep(survey.folder, "00", 900, 5)
    _, after = survey.published()
    waste = collecting.waste(survey.root, references(survey.root), 0.0)
    (found,) = [one for one in waste if one.table == "tractor_pool"]
    assert sorted(name.partition("/")[0].partition("-")[0] for name in found.files) == ["_parts", "part"]
    collecting.remove(survey.root, [found])
    assert survey.published() == ([], after)
    sweep(survey.folder, "00", 210, 5)
    assert survey.published() == (["sweep-00.fits"], before)


_KILLED = """
import sys
from pathlib import Path
from tests.etl.pooled import Survey
survey = Survey(Path(sys.argv[1]))
print("begin", flush=True)
survey.published()
"""


def test_killed_at_any_moment_and_repeated(survey: Survey, tmp_path: Path) -> None:
    for i in range(3, 12):
        sweep(survey.folder, f"{i}", 90 * i, 400)
    expected, rng = fresh(survey, tmp_path / "whole"), random.Random(3)
    killed = 0
    for _ in range(4):
        command = [sys.executable, "-c", _KILLED, str(survey.folder.parent)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[2])
        assert worker.stdout is not None
        worker.stdout.readline()
        time.sleep(rng.uniform(0.02, 0.5))
        killed += worker.poll() is None
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
    assert killed
    assert survey.published()[1] == expected


@pytest.mark.parametrize("step", ["parts.replace", "quarantine.replace", "writing.pin"])
def test_interrupted_between_commit_quarantine_and_pin(
    survey: Survey, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    sweep(survey.folder, "twice", 0)
    module, name = step.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(f"lake.store.{module}.{name}", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            survey.published()
    assert not cards.slices(survey.root, "tractor_pool")
    seen, card = survey.published()
    assert (seen, card.rows) == ([], 60)
    assert card == fresh(survey, survey.folder.parent / "other")
    assert delta.read(survey.root, "quarantine").num_rows == 20
