"""The parameters that a finished grid was filled with."""

from __future__ import annotations

from injection.config import GridParams
from lake.errors import DataError, ParameterError
from lake.root import DataRoot
from pipeline.project.outputs import grid_facts


def grid_params(root: DataRoot, generation: str) -> GridParams:
    """The parameters that a finished grid was filled with."""
    try:
        return GridParams.load(grid_facts(root, generation)["parameters"], "grid")
    except ParameterError as error:
        why = f"the grid of {generation} was filled with parameters of another version of this project"
        raise DataError(f"{why}: run `dvc repro grid@{generation}`") from error
