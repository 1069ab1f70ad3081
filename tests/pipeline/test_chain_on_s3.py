"""The whole chain with survey, tables, partial work, stamps and remote in a simulated S3 gives the local cards."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.spark.java import S3_JARS
from lake import yamltext
from lake.files import storage
from lake.store import remoteshards
from pipeline import wiring
from tests.etl.rehearsal.tools import SPARK_4
from tests.lake import stores
from tests.pipeline.checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
_WHO = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A simulated S3, for which the project starts a Spark of its own."""
    folder = tmp_path_factory.mktemp("store")
    jars = folder / "jars"
    jars.mkdir()
    for jar in SPARK_4.s3_jars:
        if (name := jar.name.rpartition("_")[2]) in S3_JARS:
            (jars / name).symlink_to(jar)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DHS_S3_JARS", str(jars))
        patch.delenv("SPARK_REMOTE", raising=False)
        with stores.bucket(patch) as uri:
            yield uri


def on_s3(finished: Checkout, folder: Path, uri: str) -> Checkout:
    """A project without data whose survey lies in the store, and whose tables, work and stamps go there."""
    made = Checkout.make(folder)
    made.dhs("params", "use", "test")
    place = folder / "params.yaml"
    values = yamltext.values(place.read_text())
    values["survey"]["folder"] = f"{uri}/sky"
    values["survey"] |= {f"{name}_uri": f"{uri}/{name}" for name in ("lake", "work", "shards")}
    values["plan"]["plans"]["paired_small"]["configurations_per_galaxy"] = 2
    place.write_text(yamltext.text(values))
    shutil.copytree(finished.folder / "data" / "truth", folder / "data" / "truth")
    survey = finished.folder / "data" / "survey"
    for name, _ in storage.files(str(survey)):
        storage.upload(survey / name, f"{uri}/sky/{name}")
    return made


@pytest.fixture(scope="module")
def project(finished: Checkout, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A project whose chain has run on the store."""
    made = on_s3(finished, tmp_path_factory.mktemp("chain") / "project", store)
    try:
        made.run("dvc", "repro")
        yield made
    finally:
        made.dhs("server", "stop")


def test_the_whole_chain_gives_the_local_cards_and_is_shared(
    finished: Checkout, project: Checkout, store: str, tmp_path: Path
) -> None:
    local = finished.cards()
    assert "trials.demo1.json" in local
    assert project.cards() == local
    assert not list((project.folder / "data" / "lake").rglob("*.parquet"))
    assert [path.name for path in (project.folder / "data" / "cutouts").iterdir()] == [remoteshards.LIST]
    assert not list(storage.files(f"{store}/work")), "partial work is removed when a stage ends well"
    share(project, f"{store}/team")
    clone = Checkout(tmp_path / "clone")
    project.run("git", "clone", "-q", str(project.folder), str(clone.folder))
    clone.dhs("pull")
    assert clone.cards() == local
    for pattern in ("report/*.html", "checkpoints/*/*.safetensors", "grid/**/*.parquet"):
        assert clone.digest(pattern) == project.digest(pattern)
        assert clone.digest(pattern), pattern


@pytest.mark.parametrize(
    ("kind", "match"),
    [("stall", "plan="), ("stall", "_delta_log/"), ("late", "_delta_log/")],
    ids=["rows", "log", "card"],
)
def test_spark_killed_in_a_commit(project: Checkout, kind: str, match: str) -> None:
    """Spark writes `injection_manifest` itself, by Hadoop's client of S3; stage and Java die while a request waits."""
    command = ("run", "plan", "--generation", "paired_small")
    project.dhs(*command)
    expected = project.cards()
    project.forget(dict.fromkeys(wiring.outputs(wiring.body(project.folder, "plan"), "paired_small")))
    known = stores.seen(f"/injection_manifest/{match}")
    stores.fault(kind, method="PUT", match=f"injection_manifest/{match}", seconds=3600)
    stage = project.start(*command)

    def waits() -> bool:
        new = stores.seen(f"/injection_manifest/{match}")[len(known) :]
        return any(each.startswith("PUT") for each in new)

    try:
        project.wait_for(stage, waits, 300)
        os.kill(json.loads((project.folder / "data" / "spark" / "server.json").read_text())["pid"], signal.SIGKILL)
        os.killpg(stage.pid, signal.SIGKILL)
        stage.wait()
    finally:
        stores.heal()
    assert "injection_manifest.paired_small.json" not in project.cards()
    project.dhs(*command)
    assert project.cards() == expected


def share(project: Checkout, remote: str) -> None:
    """Commit the project and push tables and DVC's files to a remote in the store."""
    project.run("dvc", "remote", "add", "-q", "--default", "team", remote)
    project.run("git", "add", "-A")
    project.run(*_WHO, "commit", "-qm", "Cards and pins of the survey on S3")
    project.dhs("push")
