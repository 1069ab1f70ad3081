"""What a Spark stage needs on a cluster: its parameters, files and packages, and what it will have made."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from etl.emr.shipping import Submission
from lake import yamltext
from lake.config import SurveyParams
from lake.errors import DataError, invalid, not_one_of
from pipeline import wiring
from pipeline.experiment.stampparams import StampsParams
from pipeline.project import params
from pipeline.project.libraries import libraries
from pipeline.project.project import Project
from pipeline.project.sparkrun import SparkRun

_JUDGED = "data/listing/judged.jsonl"
"""What a stage depends on that reads the lists that people judged."""


def submission(project: Project, stage: str, name: str | None, changes: Mapping[str, object]) -> Submission:
    """The submission of a stage, for the finder or manifest ``name``, with changes of its own parameters."""
    body = wiring.body(project.folder, stage)
    if not runs_on_cluster(stage):
        known = [each for each in wiring.stages(project.folder) if runs_on_cluster(each)]
        raise not_one_of("stage", known, stage)
    values = dict(project.values)
    if changes:
        changed = params.section_class(stage).load({**values.get(stage, {}), **changes}, stage)
        values[stage] = changed.model_dump(mode="json")
    outputs = wiring.outputs(body, name)
    if any(not made.startswith(("data/cards/", "data/lake/")) for made in outputs):
        _require_places(project.survey)
    return Submission(
        arguments=("run", stage, *(("--generation", name) if name else ())),
        parameters=yamltext.text(values),
        cards=wiring.cards(project.folder, stage, name),
        outputs=outputs,
        inputs=(project.survey.folder,),
        files=tuple(
            _files(project, [*wiring.blobs(body, name), *_judged(project, body), *_bank(project, stage, name)])
        ),
        modules=libraries(stage),
    )


def runs_on_cluster(stage: str) -> bool:
    """Whether a stage's ``run`` asks for a Spark session."""
    return get_type_hints(importlib.import_module(f"pipeline.stages.{stage}").run).get("context") is SparkRun


def _require_places(survey: SurveyParams) -> None:
    """Refuse a stage whose tasks write files where only one machine of a cluster would find them."""
    for name in ("work_uri", "shards_uri"):
        if getattr(survey, name) is None:
            raise invalid(f"survey.{name}", "an s3:// prefix on EMR", None)


def _judged(project: Project, body: Mapping[str, Any]) -> list[str]:
    """The folder of judged lists, relative to the project, where there is one and the stage reads it."""
    folder = project.data.judged
    return [str(folder.relative_to(project.folder))] if _JUDGED in body["deps"] and folder.is_dir() else []


def _bank(project: Project, stage: str, name: str | None) -> list[str]:
    """The bank of real galaxies, relative to the project, if a set of simulated stamps takes its sources from it."""
    if stage != "stamps" or name is None:
        return []
    given = project.section(StampsParams, "stamps")
    if given.chosen(name).sources != "bank":
        return []
    bank = (project.folder / given.rendering.bank.path).resolve()
    if not bank.is_relative_to(project.folder.resolve()):
        raise invalid("stamps.rendering.bank.path", "in the project on EMR", given.rendering.bank.path)
    return [str(bank.relative_to(project.folder.resolve()))]


def _files(project: Project, blobs: list[str]) -> Iterator[Path]:
    """Paths, relative to the project, of the cards and pins of all tables and of the stage's other inputs."""
    found = sorted(project.data.cards.glob("[!.]*.json"))
    for blob in blobs:
        place = project.folder / blob
        if not place.exists():
            raise DataError(
                f"{place} is missing, which the stage reads: make it (`dvc repro`) or bring it (`dvc pull`)"
            )
        found += sorted(path for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file())
    yield from (path.relative_to(project.folder) for path in found)
