"""The parameters that a finished grid was filled with, and whether the files that they name are still the same."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from injection.config import GridParams
from lake.errors import DataError, ParameterError
from lake.root import DataRoot
from pipeline.project.outputs import grid_facts

if TYPE_CHECKING:  # numba, which it compiles with, takes as long to import as a completeness query
    from injection.experiment.setting import Setting


def grid_params(root: DataRoot, generation: str) -> GridParams:
    """The parameters that a finished grid was filled with."""
    try:
        return GridParams.load(grid_facts(root, generation)["parameters"], "grid")
    except ParameterError as error:
        why = f"the grid of {generation} was filled with parameters of another version of this project"
        raise DataError(f"{why}: run `dvc repro grid@{generation}`") from error


def sources_hash(setting: Setting) -> str | None:
    """Hash of what decides the light of sources besides their parameters; None for profiles."""
    identity = setting.sources.identity
    return None if identity is None else hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def as_filled(root: DataRoot, generation: str, setting: Setting) -> Setting:
    """A setting with the parameters of a finder's grid; DataError if its prior or its sources changed since."""
    facts, sources = grid_facts(root, generation), sources_hash(setting)
    prior = setting.prior.model_dump(mode="json")
    then = {"the prior": facts.get("prior_content", prior), "the source model or its galaxies": facts.get("sources")}
    for (what, filled), value in zip(then.items(), (prior, sources), strict=True):
        if value != filled:
            raise DataError(
                f"{what} changed after the grid of {generation} was filled: run `dvc repro grid@{generation}`"
            )
    return setting
