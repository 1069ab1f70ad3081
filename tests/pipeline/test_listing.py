"""What lies in the survey's folders never stops DVC, and a stage runs again only when a file's content changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from injection.priors.registry import load_prior
from lake import yamltext
from lake.root import DataRoot
from lake.store import delta
from pipeline.experiment.stampparams import StampsParams
from pipeline.project.project import Project
from pipeline.stages import listing as stage
from pipeline.stages import stamps
from tests.pipeline.checkout import PROJECT, Checkout, project_in

pytestmark = pytest.mark.timeout(600)

NOT_REGULAR = "not a regular file (a pipe, socket or device)"


def ran(done: str) -> list[str]:
    """Stages that `dvc repro` ran."""
    return re.findall(r"Running stage '([^']+)'", done)


def disturb(sweeps: Path) -> dict[str, str]:
    """Put odd files into a folder; the reason that each is not read."""
    (sweeps / "gone.fits").symlink_to(sweeps / "nowhere")
    os.mkfifo(sweeps / "pipe.fits")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(sweeps / "socket.fits"))
    (sweeps / "memory.fits").symlink_to("/proc/self/mem")
    (sweeps / "again").symlink_to(sweeps)
    return {"gone.fits": "a broken link", "pipe.fits": NOT_REGULAR, "socket.fits": NOT_REGULAR}


def test_a_folder_without_files_has_no_empty_listing_of_which_dvc_would_warn(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    listings = project.data.local / "listing"
    (tmp_path / project.survey.folder / "coadds").mkdir(parents=True)
    written = []
    for _ in range(2):
        stage.run(project)
        assert {path.name: path.read_text() for path in listings.iterdir()} == {
            f"{name}.jsonl": "[]\n" for name in (*stage.FOLDERS, "registry", "judged", *stage.SECTIONS)
        }
        written.append({path.name: path.stat().st_mtime_ns for path in listings.iterdir()})
    assert written[0] == written[1], "what has not changed is not written again"
    project.data.judged.mkdir()
    (project.data.judged / "unclean.csv").write_text("a\n")
    stage.run(project)
    assert json.loads((listings / "judged.jsonl").read_text())[:2] == ["unclean.csv", 2]
    (project.data.judged / "unclean.csv").unlink()
    stage.run(project)
    assert (listings / "judged.jsonl").read_text() == "[]\n"


@pytest.mark.usefixtures("whole_stage")
def test_new_manifests_generations_and_finders_are_stages_without_an_edit_of_dvc_yaml(tmp_path: Path) -> None:
    values = yamltext.values((PROJECT / "params.yaml").read_text())
    values["manifest"]["manifests"]["mine"] = {"merge_test_into_val": False}
    values["train"]["other"] = {
        "ancestor": "data/checkpoints/demo1",
        "pixels": "data/cutouts",
        "manifest": "data/cards/manifest.mine.json",
        "parameters": {**values["train"]["demo1"]["parameters"], "manifest": "mine"},
    }
    values["audited"] += ["other", "theirs"]
    (tmp_path / "params.yaml").write_text(yamltext.text(values))
    (tmp_path / "dvc.yaml").write_text((PROJECT / "dvc.yaml").read_text())
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n  no_scm = true\n  analytics = false\n")
    edges = Checkout(tmp_path).run("dvc", "dag", "--dot").stdout
    for early, late in (
        ("code", "manifest@mine"),
        ("cutouts", "manifest@mine"),
        ("manifest@mine", "train@other"),
        ("train@demo1", "train@other"),
        ("train@other", "evaluate@other"),
        ("grid@theirs", "ingest@theirs"),
    ):
        assert f'"{early}" -> "{late}"' in edges


@pytest.mark.usefixtures("whole_stage")
def test_an_editors_lock_in_a_folder_of_code_does_not_stop_dvc(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n  no_scm = true\n  analytics = false\n")
    (tmp_path / ".dvcignore").write_text((PROJECT / ".dvcignore").read_text())
    (tmp_path / "etl").mkdir()
    (tmp_path / "etl" / "a.py").touch()
    (tmp_path / "etl" / ".#a.py").symlink_to("somebody@somewhere.123")
    (tmp_path / "dvc.yaml").write_text("stages: {code: {cmd: 'echo made > made', deps: [etl], outs: [made]}}")
    assert ran(Checkout(tmp_path).run("dvc", "repro").stdout) == ["code"]


@pytest.fixture
def small(tmp_path: Path) -> Checkout:
    """A project with the real stage `listing`, and a stage `pool` that only depends on it."""
    folder = tmp_path / "p"
    for name in ("sweeps", "coadds"):
        (tmp_path / "disk" / name).mkdir(parents=True)
    (tmp_path / "disk" / "candidates.csv").write_text("ra,dec\n")
    (tmp_path / "disk" / "sweeps" / "a.fits").write_bytes(b"one")
    folder.mkdir()
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n  no_scm = true\n  analytics = false\n")
    values = yamltext.values((PROJECT / "params.yaml").read_text())
    (folder / "params.yaml").write_text(
        yamltext.text({**values, "survey": {**values["survey"], "folder": str(tmp_path / "disk")}})
    )
    stages = yamltext.values((PROJECT / "dvc.yaml").read_text())["stages"]
    deps = [path for path in stages["pool"]["deps"] if not path.startswith("data/code")]
    pool = {"cmd": "echo made > pool", "deps": deps, "outs": ["pool"]}
    (folder / "dvc.yaml").write_text(yamltext.text({"stages": {"listing": stages["listing"], "pool": pool}}))
    return Checkout(folder)


def test_odd_files_do_not_stop_dvc_and_only_content_runs_a_stage_again(
    whole_stage: None, small: Checkout, tmp_path: Path
) -> None:
    sweeps = tmp_path / "disk" / "sweeps"
    disturb(sweeps)
    assert ran(small.run("dvc", "repro").stdout) == ["listing", "pool"]
    assert ran(small.run("dvc", "repro").stdout) == ["listing"]
    (sweeps / "a.fits").touch()
    assert ran(small.run("dvc", "repro").stdout) == ["listing"]
    (tmp_path / "disk" / "coadds" / "image.fits").touch()
    assert ran(small.run("dvc", "repro").stdout) == ["listing"]
    (sweeps / "a.fits").write_bytes(b"onf")
    assert ran(small.run("dvc", "repro").stdout) == ["listing", "pool"]
    (sweeps / "gone.fits").unlink()
    assert ran(small.run("dvc", "repro", "pool").stdout) == ["listing", "pool"]


def test_dvc_counts_odd_files_of_a_survey_on_another_disk(twin: Callable[[], Checkout], tmp_path: Path) -> None:
    copy = twin()
    disk = tmp_path / "disk"
    shutil.copytree(copy.folder / "data" / "survey", disk)
    (copy.folder / "data" / "mine").symlink_to(disk)
    values = yamltext.values((copy.folder / "params.yaml").read_text())
    values["survey"]["folder"] = "data/mine"
    (copy.folder / "params.yaml").write_text(yamltext.text(values))
    reasons = disturb(disk / "sweeps")
    done = copy.run("dvc", "repro", "pool")
    assert ran(done.stdout) == ["listing", "pool"]
    counts = delta.read(DataRoot.of(copy.folder / "data"), "ingest_counts", slices=["pool"]).to_pandas()
    found = counts[counts["source_file"].isin([*reasons, "memory.fits"])].set_index("source_file")
    assert found["reason"].drop("memory.fits").to_dict() == reasons
    assert set(found["outcome"]) == {"quarantined"}


def listed(folder: Path, grid: object) -> dict[str, list[object]]:
    """What the stage lists of the files that the section `grid` names."""
    values = yamltext.values((PROJECT / "params.yaml").read_text())
    stage.run(Project(folder, {"survey": values["survey"], "grid": grid}))
    lines = map(json.loads, (folder / "data" / "listing" / "grid.jsonl").read_text().splitlines())
    return {str(line[0]): line[1:] for line in lines if line}


def test_the_users_files_that_the_grid_names_are_listed_and_it_depends_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "sources").mkdir()
    for name in ("mine.yaml", "twins.py", "bank.h5", "sources/cat.fits", "sources/cat_images.fits"):
        (tmp_path / name).write_text("first")
    galaxies = {"path": "sources/cat.fits"}
    grid = {"prior": "mine.yaml", "real_sources": galaxies, "source_model": "twins:Twins"}
    before = listed(tmp_path, grid)
    assert set(before) == {"mine.yaml", "sources/cat.fits", "sources/cat_images.fits", "twins:Twins"}
    for name, file in {**{one: one for one in before}, "twins:Twins": "twins.py"}.items():
        (tmp_path / file).write_text("second, longer")
        after = listed(tmp_path, grid)
        assert {one for one in after if after[one] != before[one]} == {name}
        before = after
    assert set(listed(tmp_path, {"prior": "v1", "real_sources": {"path": "bank.h5"}})) == {"bank.h5"}
    (tmp_path / "sources" / "CAT.FITS").write_text("third")
    capitals = listed(tmp_path, {"prior": "v1", "real_sources": {"path": "sources/CAT.FITS"}})
    assert set(capitals) == {"sources/CAT.FITS", "sources/cat.fits", "sources/cat_images.fits"}
    assert listed(tmp_path, {"prior": "gone.yaml", "source_model": "no.such:Model"}) == {"gone.yaml": ["a broken link"]}
    for name, code in (("faulty", "1 / 0\n"), ("ends", "raise SystemExit(2)\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        assert listed(tmp_path, {"prior": "v1", "source_model": f"{name}.models:Model"}) == {}
    for nothing in (None, "v1", {"prior": "v1", "real_sources": None, "source_model": None}):
        assert listed(tmp_path, nothing) == {}


def test_priors_of_the_users_own_are_listed_for_every_section_that_names_one(tmp_path: Path) -> None:
    """As the sections' own parameters say; a stage whose section can name one depends on its listing."""
    base = yamltext.values((PROJECT / "params.yaml").read_text())
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.yaml").write_text(name)
    base["stamps"]["rendering"]["prior"] = "a.yaml"
    base["trials"]["bright_arcs"]["prior"] = "b.yaml"
    base["diagnose"] |= {"sensitivity_priors": ["v1", "c.yaml"]}
    stage.run(Project(tmp_path, base))
    lines = {
        name: (tmp_path / "data" / "listing" / f"{name}.jsonl").read_text() for name in ("stamps", "trials", "diagnose")
    }
    assert [json.loads(line)[0] for line in lines.values()] == ["a.yaml", "b.yaml", "c.yaml"]
    found = set()
    for file in ("dvc.yaml", "params/simulated/dvc.yaml"):
        for name, body in yamltext.values((PROJECT / file).read_text())["stages"].items():
            if name in stage.SECTIONS:
                assert f"data/listing/{name}.jsonl" in body.get("do", body)["deps"]
                found.add(name)
    assert found == set(stage.SECTIONS)


def test_partial_work_of_simulated_stamps_depends_on_the_content_of_the_prior(tmp_path: Path) -> None:
    values, file = yamltext.values((PROJECT / "params.yaml").read_text())["stamps"], tmp_path / "mine.yaml"
    values["rendering"]["prior"] = str(file)
    keys = []
    for high in (0.4, 0.5, 0.5):
        file.write_text(f"base: training\nmeaning: flat\nlens_q: {{kind: uniform, low: 0.3, high: {high}}}\n")
        load_prior.cache_clear()  # a process reads a prior once
        context = Mock(generation="paired", seed=7, inputs={})
        context.note_input.side_effect = context.inputs.__setitem__
        context.work.side_effect = InterruptedError
        with pytest.raises(InterruptedError):
            stamps.run(context, StampsParams.load(values, "stamps"))
        keys.append(context.work.call_args)
    assert keys[0] != keys[1] == keys[2]
