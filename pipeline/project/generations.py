"""Adds a shipped generation, and the generations it starts from, to ``train`` in params.yaml."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import yaml

from etl.config import ManifestParams
from lake.errors import ParameterError, invalid, not_one_of, one_line
from modeling.config import TrainParams, changed, generation_values, generations
from pipeline.project import params
from pipeline.project.project import Project
from pipeline.project.strictyaml import parse

log = logging.getLogger(__name__)


def enlist(project: Project, name: str, settings: Sequence[str] = ()) -> None:
    """Add generation ``name`` and its ancestors to the project's params.yaml if they are not there yet.

    ``settings`` are ``key=value`` with a dotted key of the generation's parameters and a value in YAML; they apply to
    ``name`` alone. A generation that cannot be trained here is refused, and nothing is written.
    """
    train = dict(project.values.get("train") or {})
    added: dict[str, Any] = {}
    changes = dict(_setting(text) for text in settings if text)
    wanted: str | None = name
    while wanted is not None:
        known = train.get(wanted)
        if wanted in added:
            raise invalid(f"train.{wanted}.init", "a generation other than itself", wanted)
        if known is None and wanted not in generations():
            raise not_one_of("generation", sorted({*generations(), *train}), wanted)
        if known is None or changes:
            before = known["parameters"] if known else generation_values(wanted)
            parameters = TrainParams.load(changed(before, changes), f"train.{wanted}")
        else:
            parameters = TrainParams.load(known["parameters"], f"train.{wanted}.parameters")
        _require_manifest(project, parameters)
        added[wanted] = params.generation_entry(parameters)
        wanted, changes = parameters.init, {}
    ordered = {key: added[key] for key in reversed(added)}
    new = [key for key, entry in ordered.items() if train.get(key) != entry]
    values = {**project.values, "train": {**train, **ordered}}
    if new:
        params.save(project.folder, values)
        log.info("params.yaml: `train` now holds %s", ", ".join(new))
    params.warn_of_contamination(values, [name])


def _setting(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise invalid("setting", "KEY=VALUE, such as network.pretrained=false", text)
    try:
        return key, parse(value)
    except (ValueError, yaml.YAMLError) as error:
        raise ParameterError(f"'{key}' must have a value in YAML, got {value!r}: {one_line(error)}") from error


def _require_manifest(project: Project, parameters: TrainParams) -> None:
    made = list(project.section(ManifestParams, "manifest").manifests)
    card = project.data.cards / f"manifest.{parameters.manifest}.json"
    if parameters.manifest not in made and not card.exists():
        name = parameters.generation
        raise ParameterError(
            f"generation '{name}' trains on manifest '{parameters.manifest}', which no stage here makes: train it on "
            f"one of {', '.join(made)}, with `dhs train {name} manifest={made[0]}`"
        )
