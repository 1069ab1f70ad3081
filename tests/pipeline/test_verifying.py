"""Every changed byte of what was made is found, and the commands that are named make it whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.project import outputs, params
from pipeline.project.project import Project
from pipeline.stage import run_stage
from pipeline.tables import verifying
from tests.pipeline.checkout import PROJECT, Checkout


def flip(path: Path) -> None:
    """Change one byte in the middle of a file whose size and times stay, as a failing disk does."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_is_broken_is_found_and_the_named_commands_mend_it(
    finished: Checkout, twin: Callable[[], Checkout], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = twin()
    monkeypatch.chdir(copy.folder)
    project = params.load(Path())
    root = project.data
    assert verifying.check(project, deep=True) == []
    shard, batch = root.cutouts / "bucket-0001.npy", sorted(root.grid("demo1").glob("batch-*.parquet"))[0]
    seen, page = root.checkpoints("demo1") / "seen.parquet", root.report / "index.html"
    for path in (shard, batch, seen, page):
        flip(path)
    next(Path(root.table("training_epochs")).glob("origin=historical/*.parquet")).unlink()
    findings = verifying.check(project, deep=True)
    told = "\n".join(finding.sentence for finding in findings)
    for part in (shard, batch, seen, page):
        assert str(part) in told
    assert "has lost rows" in told
    outs = "data/checkpoints/demo1 data/cutouts data/grid/demo1 data/report"
    assert verifying.repair(project, findings) == [f"dvc checkout {outs}", "dvc repro"]
    copy.run("dvc", "checkout", *outs.split())
    changed = json.loads(copy.run("dvc", "status", "--json", check=False).stdout)
    assert changed.keys() - {"listing"} == {"history", "report"}, "the card of `history` is gone, an input of `report`"
    run_stage(project, "history", None)
    assert verifying.check(project, deep=True) == []
    assert copy.cards() == finished.cards()
    assert copy.digest("cutouts/*.npy") == finished.digest("cutouts/*.npy")
    assert copy.digest("grid/*/*.parquet") == finished.digest("grid/*/*.parquet")


def test_outputs_that_are_missing_or_not_as_recorded_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project = Project(Path(), params.load(PROJECT).values)
    root = project.data
    names = [
        "data/baselines/a.json",
        "data/baselines/b.json",
        "data/checkpoints/a",
        "data/cards/gates.a.json",
        "README.md",
    ]
    outs = [{"path": name, "md5": hashlib.md5(b"{}").hexdigest()} for name in [*names, "data/report"]]
    Path("dvc.lock").write_text(json.dumps({"stages": {"x": {"outs": outs}, "y": {"cmd": "z"}}}))
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("{}")
    root.report.mkdir()
    (root.report / "index.html").write_text(outputs.sealed("page"))
    Path(names[3]).unlink()
    assert [f.sentence for f in verifying._outputs(project)] == [
        f"{names[3]} is missing, though dvc.lock records it; run `dvc repro`"
    ]
    Path(names[1]).write_text("[]")
    for lost in (names[0], names[2], "data/report/index.html", "README.md"):
        Path(lost).unlink()
    findings = list(verifying._outputs(project))
    assert [f.gone and f.gone.as_posix() for f in findings] == [names[0], None, names[2], names[3], "data/report"]
    assert findings[1].sentence == f"{names[1]} differs from what dvc.lock records; run `dvc repro`"
    outs = "data/baselines/a.json data/baselines/b.json data/checkpoints/a data/report"
    assert verifying.repair(project, findings) == [f"dvc checkout {outs}", "dvc repro"]
    assert Path("data/.damaged/baselines/b.json.1").read_text() == "[]"


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"stages: 3", b"stages: {x: {outs: [3]}}", b"a: &a [*a]", b"\xff"])
def test_a_damaged_lock_file_is_one_sentence(text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("dvc.lock").write_bytes(text)
    findings = verifying.check(Project(Path(), params.load(PROJECT).values), deep=True)
    assert [f.sentence for f in findings] == [
        "dvc.lock is damaged: restore it (`git checkout -- dvc.lock`), or delete it and run `dvc repro`"
    ]


def test_a_grid_knows_its_files(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"batch-{number:05d}.parquet").write_bytes(bytes(range(200)))
    outputs.write_grid_facts(tmp_path, {"grid_id": "g", "width": 0.1})
    assert outputs.grid_problems(tmp_path) == {}
    flip(tmp_path / "batch-00001.parquet")
    (tmp_path / "batch-00000.parquet").unlink()
    assert sorted(path.name for path in outputs.grid_problems(tmp_path)) == [
        "batch-00000.parquet",
        "batch-00001.parquet",
    ]
    facts = tmp_path / "grid.json"
    for text in (facts.read_text().replace("0.1", "0.2"), "{}", "[]", "<<<<<<<", ""):
        facts.write_text(text)
        assert list(outputs.grid_problems(tmp_path)) == [facts]


@pytest.mark.parametrize("page", ["<html>æ\r\n</html>", "", "x\n"])
def test_a_page_knows_its_text(tmp_path: Path, page: str) -> None:
    path = tmp_path / "index.html"
    assert outputs.page_problems(path) == {}
    path.write_bytes(outputs.sealed(page).encode())
    assert outputs.page_problems(path) == {}
    for changed in (
        path.read_bytes()[:-2],
        path.read_bytes().replace(b"sha256", b"sha255"),
        b"",
        b"a" + path.read_bytes(),
    ):
        path.write_bytes(changed)
        assert list(outputs.page_problems(path)) == [path]
        path.write_bytes(outputs.sealed(page).encode())


def test_a_damaged_report_comes_back_from_dvcs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project = Project(Path(), params.load(PROJECT).values)
    Path("dvc.lock").write_text(json.dumps({"stages": {"report": {"outs": [{"path": "data/report", "md5": "x"}]}}}))
    page = project.data.report / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(outputs.sealed("page").replace("page", "pale"))
    findings = verifying.check(project, deep=True)
    assert [finding.blobs for finding in findings] == [(page,)]
    assert verifying.repair(project, findings) == ["dvc checkout data/report", "dvc repro"]


def test_each_figure_beside_the_page_has_a_checksum(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    assert outputs.figure_problems(folder) == {}, "a page that was never made"
    outputs.write_figures(folder, {"roc.csv": b"1", "roc.svg": b"<svg/>"})
    assert outputs.figure_problems(folder) == {}
    (folder / "roc.csv").write_bytes(b"2")
    (folder / "roc.svg").unlink()
    found = outputs.figure_problems(folder)
    assert found[folder / "roc.csv"].endswith("has changed since it was written")
    assert found[folder / "roc.svg"].endswith("is missing")
    (folder / outputs.SUMS).write_text("nonsense")
    assert list(outputs.figure_problems(folder)) == [folder / outputs.SUMS]
