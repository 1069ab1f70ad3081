"""Parameters of a training run, and the generations that the package ships as overlays on one base."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from lake.config import Name, Section, merged, overlaid
from lake.errors import invalid, not_one_of
from lake.names import GENERATION
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

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class TrainParams(Section):
    """Everything that defines one generation."""

    generation: Name
    """Name of the generation and of its checkpoint folder."""
    description: str
    """One sentence for tables and reports."""
    manifest: Name
    """Kind of manifest it is trained on."""
    init: Name | None
    """Generation whose best weights it starts from; null for fresh weights."""
    seed: int
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
    return tuple(sorted(name for name in names if name != "base"))


def generation_values(name: str) -> dict[str, Any]:
    """Plain values of a shipped generation: the base and the overlays along ``based_on``, not yet checked."""
    if name not in generations():
        raise not_one_of("generation", generations(), name)
    if not re.fullmatch(GENERATION, name):
        raise invalid("generation", "named like gen6b, resnet-gen3, sim-gen6, R7 or demo3 (with -audit)", name)
    return {**overlaid(name, _read), "generation": name}


def resolve_generation(name: str, overrides: Mapping[str, Any] | None = None) -> TrainParams:
    """Parameters of a shipped generation, with ``overrides`` on top (nested mappings, or dotted keys)."""
    return TrainParams.load(changed(generation_values(name), overrides or {}), f"train.{name}")


def changed(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with ``overrides`` on top (nested mappings, or dotted keys)."""
    found = dict(values)
    for key, value in overrides.items():
        found = merged(found, _nested(key, value))
    return found


def _read(name: str) -> dict[str, Any]:
    """Values of one shipped file; overlays do not inherit the reference system's figures."""
    text = (resources.files("modeling") / "generations" / f"{name}.yaml").read_text(encoding="utf-8")
    return {"reference": None, **yaml.load(text, Loader=_LOADER)}


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: _nested(rest, value) if rest else value}
