"""A project whose survey and tables lie in the simulated S3, and stages of it submitted as a user does."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from etl.emr import submission
from pipeline import wiring
from pipeline.cli import dhs
from tests.etl.rehearsal.cloud import REGION, Cloud
from tests.etl.rehearsal.tools import Release
from tests.pipeline.checkout import Checkout


def move(project: Checkout, cloud: Cloud, kept: Sequence[str] = ()) -> None:
    """Move the survey and the ``kept`` tables of a finished project to S3, and forget all other tables."""
    place = project.folder / "params.yaml"
    values = yaml.safe_load(place.read_text())
    places = {name: f"s3://{cloud.lake}/{name}" for name in ("work", "shards")}
    values["survey"] |= {"folder": f"s3a://{cloud.survey}/dr10", "lake_uri": f"s3://{cloud.lake}/tables"}
    values["survey"] |= {f"{name}_uri": place for name, place in places.items()}
    place.write_text(yaml.safe_dump(values, sort_keys=False))
    cloud.upload(project.folder / "data" / "survey", cloud.survey, "dr10")
    for table in kept:
        cloud.upload(project.folder / "data" / "lake" / table, cloud.lake, f"tables/{table}")
    for card in (project.folder / "data" / "cards").glob("*.json"):
        if card.name.split(".")[0] not in kept:
            card.unlink()
    for name in ("lake", "survey", "cutouts"):
        shutil.rmtree(project.folder / "data" / name, ignore_errors=True)


def describe(project: Checkout, cloud: Cloud, release: Release) -> Path:
    """Write the description of a small cluster."""
    values = {
        "region": REGION,
        "subnet_id": cloud.subnet,
        "staging_uri": f"s3a://{cloud.staging}/dhs",
        "release": release.label,
        "primary_type": "m6i.xlarge",
        "core_type": "m6i.xlarge",
        "core_count": 2,
        "executor_memory_gb": 1,
        "executor_overhead_gb": 1,
        "executor_cores": 1,
        "python": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "step_hours_max": 1,
    }
    place = project.folder / "emr.yaml"
    place.write_text(yaml.safe_dump(values, sort_keys=False))
    return place


@contextmanager
def submitting(project: Checkout, cloud: Cloud) -> Iterator[pytest.MonkeyPatch]:
    """This process in the project's folder, with the simulated AWS around it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setattr(submission, "_POLL_SECONDS", 1.0)
        patch.chdir(project.folder)
        yield patch


def submit(stage: str, name: str | None, cluster: Path) -> list[str]:
    """``dhs emr submit``; returns the paths that it brought back."""
    given = ["--generation", name] if name else []
    result = CliRunner().invoke(dhs, ["emr", "submit", stage, *given, "--cluster", str(cluster)])
    if result.exception is not None:
        raise result.exception
    return [line for line in result.output.splitlines() if line.startswith("data/")]


def cards(project: Checkout, stage: str, name: str | None) -> list[str]:
    """File names of the cards that a stage makes."""
    return [f"{card}.json" for card in wiring.cards(project.folder, stage, name)]
