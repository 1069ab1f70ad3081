"""Parameters of a training run, and the generations that the package ships as overlays on one base."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import resources
from typing import Any

from lake import yamltext
from lake.config import Name, Section, Seed, merged, overlaid
from lake.errors import not_one_of
from lake.names import generation_name
from modeling.sections import (
    AugmentationParams,
    ExecutionParams,
    LoopParams,
    LossParams,
    NetworkParams,
    OptimiserParams,
    PreprocessingParams,
    ReferenceParams,
    ScheduleParams,
)

Own = Mapping[str, Mapping[str, Any]]
"""Overlays that a project has in addition to those of the package, by name."""
NOTHING_OWN: Own = {}
BASE = "base"


class TrainParams(Section):
    """Everything that defines one generation."""

    generation: Name
    """Name of the generation and of its checkpoint folder."""
    description: str
    """One sentence for tables and reports."""
    manifest: Name
    """Kind of manifest it is trained on."""
    accepted_checks: tuple[str, ...]
    """Names of checks of the manifest that may have failed; a failed check that is not among them stops the run."""
    init: Name | None
    """Generation whose best weights it starts from; null for fresh weights."""
    seed: Seed
    """Seed of the weights, the order of rows and dropout."""
    preprocessing: PreprocessingParams
    """How pixels become network input."""
    network: NetworkParams
    """Architecture."""
    augmentation: AugmentationParams
    """Random changes of training stamps."""
    optimiser: OptimiserParams
    """Optimiser."""
    schedule: ScheduleParams
    """Learning rate."""
    loss: LossParams
    """Training loss."""
    loop: LoopParams
    """Epochs, batches and the choice of the best epoch."""
    execution: ExecutionParams
    """Device and arithmetic."""
    reference: ReferenceParams | None
    """Figures of the reference system; null for generations of this project."""

    def science_digest(self) -> str:
        """Hash of what defines the result: everything except device, reference figures and description."""
        return self.digest(exclude={"execution", "reference", "description"})


def generations() -> tuple[str, ...]:
    """Names of the generations the package ships."""
    folder = resources.files("modeling") / "generations"
    names = (entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return tuple(sorted(name for name in names if name != BASE))


def generation_values(name: str, own: Own = NOTHING_OWN) -> dict[str, Any]:
    """Plain values of a generation, shipped or one of ``own``: the base and the overlays along ``based_on``, not yet
    checked."""
    generation_name(name, "generation")
    return {**overlaid(name, partial(_read, own=own)), "generation": name}


def resolve_generation(name: str, overrides: Mapping[str, Any] | None = None, own: Own = NOTHING_OWN) -> TrainParams:
    """Parameters of a generation, with ``overrides`` on top (nested mappings, or dotted keys)."""
    return TrainParams.load(changed(generation_values(name, own), overrides or {}), f"train.{name}")


def base_values() -> dict[str, Any]:
    """Plain values that every generation shares unless an overlay changes them."""
    return _read(BASE, NOTHING_OWN)


def based_on(name: str, own: Own = NOTHING_OWN) -> str | None:
    """The generation that an overlay changes; None for one that changes the base."""
    found = _read(name, own).get("based_on")
    return None if found is None else str(found)


def changed(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with ``overrides`` on top (nested mappings, or dotted keys)."""
    found = dict(values)
    for key, value in overrides.items():
        found = merged(found, _nested(key, value))
    return found


def _read(name: str, own: Own) -> dict[str, Any]:
    """Values of one overlay, or of the base; overlays do not inherit the reference system's figures."""
    if name in own:
        return {"reference": None, **own[name]}
    known = generations()
    if name not in known and name != BASE:
        raise not_one_of("generation", sorted({*known, *own}), name)
    text = (resources.files("modeling") / "generations" / f"{name}.yaml").read_text(encoding="utf-8")
    return {"reference": None, **yamltext.values(text)}


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: _nested(rest, value) if rest else value}
