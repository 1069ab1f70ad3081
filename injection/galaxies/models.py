"""The source model that a grid's parameters name."""

from __future__ import annotations

from injection.config import GridParams
from injection.engine.tracing import PARAMETRIC, SourceModel
from injection.galaxies.banks import load_bank
from injection.galaxies.realsources import BankSources
from lake.errors import DataError
from lake.plugins import imported

_METHODS = ("identity", "describe", "draw", "faults", "trace", "scene")


def source_model(grid: GridParams) -> SourceModel:
    """Real galaxies, a model of the user's own, or profiles as the prior draws them."""
    if grid.source_model is not None:
        own: SourceModel = imported(grid.source_model, "source model")
        lacking = [name for name in _METHODS if not hasattr(own, name)]
        if lacking:
            raise DataError(f"the source model '{grid.source_model}' lacks {', '.join(lacking)}")
        return own
    if grid.real_sources is None:
        return PARAMETRIC
    chosen = grid.real_sources
    return BankSources(load_bank(chosen), chosen.max_pixel_arcsec, chosen.catalogue_colours, chosen.path)
