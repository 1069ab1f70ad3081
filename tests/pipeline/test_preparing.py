"""What the installation does once: afterwards no stage of the pipeline compiles."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from etl.spark import settings
from lake.config import SurveyParams
from lake.root import cache
from pipeline.commands import services
from pipeline.project import params
from pipeline.project.project import Project
from pipeline.verbs import preparing

HERE = Path(__file__).parents[2]
MANIFEST, FINDER = "audit_70_15_15", "demo1"
STAGES = {
    **dict.fromkeys(("demo", "pool", "candidates", "negatives", "cutouts")),
    "manifest": MANIFEST,
    **dict.fromkeys(("train", "evaluate", "grid", "ingest", "completeness", "trials", "diagnose"), FINDER),
}


@pytest.fixture
def fresh(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing was compiled or archived."""
    shutil.copytree(cache() / "jars", tmp_path / "cache" / "jars")
    return {**os.environ, "DHS_CACHE": str(tmp_path / "cache"), "NUMBA_CACHE_DIR": str(tmp_path / "compiled")}


def dhs(environment: dict[str, str], *words: str) -> None:
    subprocess.run([sys.executable, "-m", "pipeline", *words], env=environment, check=True, cwd=HERE)


def compiled(environment: dict[str, str]) -> set[str]:
    return {path.name for path in Path(environment["NUMBA_CACHE_DIR"]).rglob("*.nbc")}


@pytest.mark.usefixtures("whole_stage")
def test_the_project_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "_STAGES", ("demo",))
    monkeypatch.chdir(tmp_path)
    values = params.resolve(HERE, "test")
    values["survey"] |= {"data_root": str(tmp_path / "lake of the project"), "lake_uri": "s3://no-such-bucket/lake"}
    preparing.prepare(values)
    assert not list(tmp_path.iterdir())


def test_the_small_survey_has_no_place_in_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever parameters name one."""
    asked: list[Project] = []
    monkeypatch.setattr(preparing, "_run", asked.append)
    monkeypatch.setattr(preparing, "compile_loops", lambda _: None)
    monkeypatch.setattr(preparing.compileall, "compile_dir", lambda *_, **__: None)
    values = params.resolve(HERE, "test")
    named = [name for name in SurveyParams.model_fields if name.endswith("_uri")]
    values["survey"] |= dict.fromkeys(named, "s3://no-such-bucket/place")
    preparing.prepare(values)
    assert {"lake_uri", "work_uri", "shards_uri"} <= set(named)
    assert [name for name in named if getattr(asked[0].survey, name) is not None] == []
    assert asked[0].data.lake_uri is None


def test_the_archive_is_made_by_a_server_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[set[str]] = []
    monkeypatch.setenv("SPARK_REMOTE", "sc://elsewhere:15002")
    monkeypatch.setenv("DHS_SPARK", "classic")
    monkeypatch.setattr(preparing, "prepare", lambda _: held.append({"SPARK_REMOTE", "DHS_SPARK"} & set(os.environ)))
    assert CliRunner().invoke(services.prepare, catch_exceptions=False).exit_code == 0
    assert held == [set()]


def test_a_terminated_preparation_leaves_no_server_and_a_killed_one_leaves_it_for_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, before = [], signal.getsignal(signal.SIGTERM)

    def terminated(_: object) -> None:
        held.append(settings.idle_seconds())
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            held.append("cleaned up")

    monkeypatch.setenv("DHS_SPARK_IDLE_SECONDS", "600")
    monkeypatch.setattr(preparing, "prepare", terminated)
    try:
        assert CliRunner().invoke(services.prepare).exit_code == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert held == [60.0, "cleaned up"]


@pytest.mark.slow
def test_what_a_first_run_would_compile_is_compiled_before(fresh: dict[str, str], tmp_path: Path) -> None:
    dhs(fresh, "prepare")
    before, place = compiled(fresh), tmp_path / "survey"
    assert len(before) > 50
    assert len(list((tmp_path / "cache" / "classes").iterdir())) == 1
    place.mkdir()
    values = params.resolve(HERE, "test")
    values["diagnose"]["feature_pictured"] = 40
    params.write(place, values, "test")
    for stage, name in STAGES.items():
        dhs(fresh, "run", "--project", str(place), stage, *(["--name", name] if name else []))
    dhs(fresh, "server", "--project", str(place), "stop")
    assert compiled(fresh) == before
