"""The generations of a project: those that the package ships, its own in params/generations, and what trains them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from etl.config import ManifestParams
from lake.errors import ParameterError, invalid, not_one_of, one_line
from lake.files.strictyaml import parse
from modeling.config import TrainParams, changed, generations, resolve_generation
from modeling.scoring.card import CARD
from modeling.sections import OF_TORCHVISION
from pipeline.project import params, simulated
from pipeline.project.project import Project

log = logging.getLogger(__name__)

REHEARSAL = "rehearsal-"
_REHEARSED_BATCH = 32
_WHOSE = ("generation", "based_on")


@dataclass(frozen=True)
class Wanted:
    """A training as a user asks for it."""

    name: str
    settings: Sequence[str] = ()
    """``key=value`` with a dotted key of the generation's parameters and a value in YAML; for ``name`` alone."""
    rehearse: bool = False
    """Whether it is rehearsed: see :func:`rehearsed`."""


@dataclass(frozen=True)
class Chain:
    """A generation and what it starts from."""

    trained: Mapping[str, TrainParams]
    """By name, ancestors first."""
    values: Mapping[str, Any] = field(repr=False)
    """The project's parameters with all of them in ``train``."""

    @property
    def name(self) -> str:
        """The generation that is wanted."""
        return list(self.trained)[-1]


def enlist(project: Project, wanted: Wanted) -> Chain:
    """Add a generation and its ancestors to the project's params.yaml if they are not there yet.

    A generation that cannot be trained here is refused, and nothing is written.
    """
    found = chain(project, wanted)
    before = project.values.get("train") or {}
    new = [name for name in found.trained if before.get(name) != found.values["train"][name]]
    if new:
        params.save(project.folder, found.values)
        log.info("params.yaml: `train` now holds %s", ", ".join(new))
    params.warn_of_contamination(found.values, [found.name])
    return found


def chain(project: Project, wanted: Wanted) -> Chain:
    """What would be trained, with the parameters of each; nothing is written."""
    train = dict(project.values.get("train") or {})
    found: dict[str, TrainParams] = {}
    changes = dict(setting(text) for text in wanted.settings if text)
    name: str | None = wanted.name
    asked = "generation"
    while name is not None:
        if name in found:
            raise invalid(f"train.{name}.init", "a generation other than itself", name)
        found[name] = _parameters(project, name, train, changes, asked)
        require_manifest(project, found[name])
        start, changes, asked = found[name].init, {}, f"train.{name}.init"
        name = None if start is None or _is_imported(project, start, train) else start
    ordered = [found[key] for key in reversed(found)]
    if wanted.rehearse:
        ordered = [rehearsed(each, project.values) for each in ordered]
    else:
        ordered = [*_scorers(project, found, train), *ordered]
    entries = {one.generation: params.generation_entry(one, project.values) for one in ordered}
    values = {**project.values, "train": {**train, **entries}}
    return Chain({one.generation: one for one in ordered}, values)


def _scorers(project: Project, found: Mapping[str, TrainParams], train: Mapping[str, Any]) -> list[TrainParams]:
    """The generations, with what they start from, that find the hard negatives which those in ``found`` train on."""
    names = [simulated.hard_scorer(project.values, each.manifest) for each in found.values()]
    lacking = [
        name for name in names if name and name not in {*found, *train} and not _is_imported(project, name, train)
    ]
    return [each for name in lacking for each in chain(project, Wanted(name)).trained.values()]


def _is_imported(project: Project, name: str, train: Mapping[str, Any]) -> bool:
    """Whether the name is that of a checkpoint that is no generation: it is not trained here."""
    known = {*generations(), *params.own_generations(project.folder), *train}
    return name not in known and (project.data.checkpoints(name) / CARD).exists()


def parameters_of(project: Project, wanted: Wanted) -> TrainParams:
    """Parameters of a generation with the settings, whatever it is trained on."""
    train, changes = project.values.get("train") or {}, dict(setting(text) for text in wanted.settings if text)
    return _parameters(project, wanted.name, train, changes)


def _parameters(
    project: Project, name: str, train: Mapping[str, Any], changes: Mapping[str, Any], asked: str = "generation"
) -> TrainParams:
    """Parameters of a generation: as params.yaml has them, or else as its overlay says; an own one as its file says.

    An unknown name is the fault of the parameter ``asked``.
    """
    own, known = params.own_generations(project.folder), train.get(name)
    if known is None and name not in {*generations(), *own}:
        raise not_one_of(asked, sorted({*generations(), *own, *train}), name)
    if known is None or name in own:
        return resolve_generation(name, changes, own)
    read = project.section(TrainParams, f"train.{name}.parameters")
    return TrainParams.load(changed(known["parameters"], changes), f"train.{name}") if changes else read


def rehearsed(parameters: TrainParams, values: Mapping[str, Any]) -> TrainParams:
    """A small version of the generation, under a separate name: one epoch, small batches, ImageNet weights if here.

    Controls that another finder mines are left out: it would have to be trained in full first.
    """
    from modeling.networks import imagenet  # torch takes as long to import as other commands take

    network, fresh = parameters.network, parameters.init is None
    batch = min(parameters.loop.batch, _REHEARSED_BATCH)
    small: dict[str, Any] = {
        "generation": f"{REHEARSAL}{parameters.generation}",
        "description": f"{parameters.generation} rehearsed: one epoch, to try that it trains.",
        "init": None if parameters.init is None else f"{REHEARSAL}{parameters.init}",
        "reference": None,
        "manifest": simulated.unmined(values, parameters.manifest),
        "network": {"pretrained": fresh and network.pretrained and imagenet.is_here(OF_TORCHVISION[network.name])},
        "loop": {"epochs": 1, "batch": batch, "micro_batch": min(parameters.loop.micro_batch, batch)},
    }
    return TrainParams.load(changed(parameters.model_dump(mode="json"), small), f"train.{parameters.generation}")


def setting(text: str) -> tuple[str, Any]:
    """Dotted key and value of ``key=value``."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise invalid("setting", "KEY=VALUE, such as network.pretrained=false", text)
    if key.partition(".")[0] in _WHOSE:
        raise invalid(
            "setting", f"a parameter of the training ({' and '.join(_WHOSE)} say which generation it is)", text
        )
    try:
        return key, parse(value)
    except (ValueError, yaml.YAMLError) as error:
        raise ParameterError(f"'{key}' must have a value in YAML, got {value!r}: {one_line(error)}") from error


def require_manifest(project: Project, parameters: TrainParams) -> None:
    """Refuse a generation on a manifest that is not here and that no stage makes."""
    if simulated.stamp_set(project.values, parameters.manifest) is not None:
        return
    made = list(project.section(ManifestParams, "manifest").manifests)
    card = project.data.cards / f"manifest.{parameters.manifest}.json"
    if parameters.manifest not in made and not card.exists():
        name = parameters.generation
        raise ParameterError(
            f"generation '{name}' trains on manifest '{parameters.manifest}', which no stage here makes: train it on "
            f"one of {', '.join(made)}, with `dhs train {name} manifest={made[0]}`"
        )
