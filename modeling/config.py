"""Parameters of a training run, and the generations that the package ships as overlays on one base."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from lake.config import Name, Section, merged, overlaid
from lake.errors import not_one_of
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
    """Name of the generation; names its checkpoint folder."""
    description: str
    """One sentence for tables and reports."""
    manifest: Name
    """Name of the manifest kind it is trained on."""
    init: Name | None
    """Generation whose best weights it starts from; none starts fresh."""
    seed: int
    """Seed of weights, order and dropout."""
    preprocessing: PreprocessingParams
    """Pixels to network input."""
    network: NetworkParams
    """Architecture."""
    augmentation: AugmentationParams
    """Training-time changes of stamps."""
    optimiser: OptimiserParams
    """Weight updates."""
    schedule: ScheduleParams
    """Learning rate."""
    loss: LossParams
    """Training loss."""
    loop: LoopParams
    """Epochs, batches, selection."""
    execution: ExecutionParams
    """Device and arithmetic."""
    reference: ReferenceParams | None
    """Figures of the reference system; null for generations of this project."""

    def science_digest(self) -> str:
        """Hash of what defines the result: everything but device, layout and prose."""
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
    """One file of the package; figures of the reference system are not inherited by overlays."""
    text = (resources.files("modeling") / "generations" / f"{name}.yaml").read_text(encoding="utf-8")
    return {"reference": None, **yaml.load(text, Loader=_LOADER)}


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: _nested(rest, value) if rest else value}
