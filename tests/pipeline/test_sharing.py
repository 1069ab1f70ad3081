"""A team shares a lake: `dhs push` in one clone, `dhs pull` in another."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lake import yamltext
from lake.upkeep.guard import working
from pipeline.cli import dhs
from pipeline.project import params
from pipeline.tables import blobs, sharing
from tests.lake import stores
from tests.pipeline import smallruns
from tests.pipeline.checkout import PROJECT, project_in, values_of

DEFAULT = "[core]\n    remote = a\n['remote \"a\"']\n"
SQL = "select generation, n, detected from completeness order by all"


def run(folder: Path, *command: str) -> str:
    """A command's output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    named = {f"GIT_{who}_{what}": "t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **named, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def invoke(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(dhs, [*arguments, "--project", str(folder)])


@pytest.fixture(scope="module")
def made(small_runs: Path, tmp_path_factory: pytest.TempPathFactory, whole_stage: None) -> Path:
    """A project under git and DVC with two finders and, in DVC's cache, score batches; its remote is a folder."""
    folder = tmp_path_factory.mktemp("team") / "mine"
    shutil.copytree(small_runs, folder)
    params.write(folder, values_of("test"), "test")
    shutil.copy(PROJECT / ".gitignore", folder)
    (folder / "data" / "grid" / "demo1" / "batch-00000.parquet").write_bytes(b"batch" * 100)
    outs = ["data/grid/demo1", "data/grid/demo2"]
    mine = folder / "data" / "checkpoints" / "mine"
    (mine / "deep").mkdir(parents=True)
    (mine / "deep" / "weights.bin").write_bytes(b"weights")
    (mine / "finder.json").write_text("{}")
    stage = {"cmd": "true", "outs": outs, "deps": ["data/checkpoints/mine"]}
    (folder / "dvc.yaml").write_text(yamltext.text({"stages": {"grid": stage}}))
    (folder.parent / "store").mkdir()
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "dvc", "init", "-q")
    run(folder, "dvc", "commit", "-q", "-f")
    run(folder, "dvc", "remote", "add", "-q", "team", "../store")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "made")
    return folder


@pytest.fixture
def shared(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it and of the empty remote; commands leave it as the working directory, which ends with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    shutil.copytree(made.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "mine"


def test_a_clone_has_what_was_pushed(shared: Path, tmp_path: Path) -> None:
    run(tmp_path, "git", "clone", "-q", "mine", "clone")
    clone = tmp_path / "clone"
    before = invoke(clone, "tables").output
    assert "(absent)" in before
    assert "`dhs pull` brings what was pushed" in before
    unpushed = invoke(clone, "pull")
    assert unpushed.exit_code == 1
    assert "'completeness.demo1' was not pulled: its version is not in the remote" in unpushed.stderr
    assert "grid/demo1 was not pulled: the remote lacks 1 of its files" in unpushed.stderr
    assert "checkpoints/mine was not pulled: the remote lacks it; whoever audited it" in unpushed.stderr
    pushed = invoke(shared, "push")
    assert pushed.exit_code == 0, pushed.stderr
    pulled = invoke(clone, "pull")
    assert pulled.exit_code == 0, pulled.stderr
    assert "absent" not in invoke(clone, "tables").output
    assert invoke(clone, "query", SQL).output == invoke(shared, "query", SQL).output
    batch = Path("data", "grid", "demo1", "batch-00000.parquet")
    assert (clone / batch).read_bytes() == (shared / batch).read_bytes()
    weights = Path("data", "checkpoints", "mine", "deep", "weights.bin")
    assert (clone / weights).read_bytes() == b"weights", "a user's finder"
    assert not run(clone, "git", "status", "--short", "data"), "no card or pin has changed"
    assert "up to date" in run(clone, "dvc", "status")
    assert "Everything is up to date" in run(clone, "dvc", "push", "--remote", "team"), (
        "DVC finds its files in the remote"
    )


def test_an_object_store_is_a_remote_for_tables_and_files(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stores.bucket(monkeypatch) as uri:
        run(shared, "dvc", "remote", "add", "-q", "--default", "far", f"{uri}/team")
        run(shared, "dvc", "remote", "modify", "-q", "far", "endpointurl", os.environ["AWS_ENDPOINT_URL"])
        run(shared, "git", "commit", "-qam", "far")
        monkeypatch.delenv("AWS_ENDPOINT_URL")  # that of the remote's settings is enough
        assert invoke(shared, "push").exit_code == 0
        run(tmp_path, "git", "clone", "-q", "mine", "clone")
        pulled = invoke(tmp_path / "clone", "pull")
        assert pulled.exit_code == 0, pulled.output
        if find_spec("dvc_s3"):  # among the locked packages
            assert "Everything is up to date" in run(tmp_path / "clone", "dvc", "push"), "DVC finds its files there"
    clone = tmp_path / "clone"
    assert invoke(clone, "query", SQL).output == invoke(shared, "query", SQL).output
    batch = Path("data", "grid", "demo1", "batch-00000.parquet")
    assert (clone / batch).read_bytes() == (shared / batch).read_bytes()


def test_single_tables_come_alone(shared: Path, tmp_path: Path) -> None:
    assert invoke(shared, "push", "completeness", "experiments").exit_code == 0
    assert not (tmp_path / "store" / "files").exists()
    run(tmp_path, "git", "clone", "-q", "mine", "clone")
    assert invoke(tmp_path / "clone", "pull", "completeness").exit_code == 0
    assert invoke(tmp_path / "clone", "query", SQL).output == invoke(shared, "query", SQL).output
    listed = invoke(tmp_path / "clone", "tables").output.splitlines()
    absent = {line.split()[0] for line in listed if line.endswith("(absent)")}
    assert "gates" in absent
    assert "completeness" not in absent
    assert "no card pins nothing" in str(invoke(tmp_path / "clone", "pull", "nothing").exception)


@pytest.mark.parametrize(
    ("settings", "named", "message"),
    [
        ("", None, "no remote is named: `dvc remote add team PLACE`"),
        ("['remote \"a\"']\n    url = /\n['remote \"b\"']\n    url = /\n", None, "Of several, name one with --remote"),
        ("['remote \"team\"']\n    url = /\n", "tem", "'remote' must be one of team, got 'tem'; did you mean 'team'?"),
        (
            "[core]\n    remote = a\n['remote \"a\"']\n    url = ssh://x/y\n",
            None,
            "'url of the remote 'a'' must be a fol",
        ),
        (
            "[core]\n    remote = a\n['remote \"a\"']\n    url = /no/where\n",
            None,
            "/no/where cannot be reached: there is",
        ),
        ("[core\n", None, "DVC's configuration cannot be read"),
    ],
)
def test_what_is_wrong_with_the_remote_is_said(settings: str, named: str | None, message: str, tmp_path: Path) -> None:
    params.write(tmp_path, values_of("test"), "test")
    with pytest.raises(Exception, match=r"has no \.dvc"):
        sharing.remote(params.load(tmp_path), None)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(settings)
    with pytest.raises(Exception, match=message.replace("'", ".")):
        sharing.remote(params.load(tmp_path), named)


def test_no_pull_while_a_stage_runs(shared: Path) -> None:
    project = params.load(shared)
    depot = sharing.remote(project, None)
    with working(project.data), pytest.raises(Exception, match=r"working on the lake \(process \d+\): wait for it"):
        sharing.pull(project, depot, [], None, merge=False)


def test_what_the_cache_lost_is_not_pushed(shared: Path) -> None:
    found = blobs.kept(shared, shared / "data" / "checkpoints")
    (out,) = [out for out in found.outs if out.path.name == "demo1"]
    listing = Path(found.cache.place, out.name[:2], out.name[2:])
    listing.chmod(0o644)
    listing.unlink()
    depot = sharing.remote(params.load(shared), None)
    (problem,) = blobs.push(found, depot).problems
    assert "grid/demo1 is not in DVC's cache" in problem


def test_a_finder_that_changed_is_not_pushed(shared: Path) -> None:
    (shared / "data" / "checkpoints" / "mine" / "finder.json").write_text("changed")
    done = invoke(shared, "push")
    assert done.exit_code == 1
    assert "checkpoints/mine differs from what dvc.lock records" in done.stderr


GATES = "select run_id, name, status from gates order by all"


def test_two_who_work_at_the_same_time_end_with_the_same_lake(shared: Path, tmp_path: Path) -> None:
    assert invoke(shared, "push").exit_code == 0
    run(tmp_path, "git", "clone", "-q", "mine", "clone")
    clone = tmp_path / "clone"
    assert invoke(clone, "pull").exit_code == 0
    for folder, name in ((shared, "demo1"), (clone, "demo2")):
        smallruns.diagnose(project_in(folder), name, f"c-{name}")
        run(folder, "git", "commit", "-qam", f"{name} again")
    assert invoke(shared, "push").exit_code == 0
    second = invoke(clone, "push")
    assert second.exit_code == 1
    assert "of 'gates' in the remote is not the one here: someone else has written on" in second.stderr
    run(clone, "git", "pull", "-q", "--no-rebase", "--no-edit")
    alone = invoke(clone, "pull")
    assert alone.exit_code == 1
    assert "'gates' was not pulled: version" in alone.stderr
    merged = invoke(clone, "pull", "--merge")
    assert merged.exit_code == 0, merged.stderr
    run(clone, "git", "commit", "-qam", "slices of demo2 on the team's tables")
    assert invoke(clone, "push").exit_code == 0
    run(shared, "git", "pull", "-q", "../clone", "main")
    assert invoke(shared, "pull").exit_code == 0
    assert invoke(shared, "query", GATES).output == invoke(clone, "query", GATES).output
    assert invoke(shared, "verify").exit_code == 0
    assert (shared / "data" / "lake" / ".replaced").exists() is False, "who was first changes nothing"
