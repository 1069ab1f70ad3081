"""Source models: how the light of injections is drawn, named, identified and rendered.

A model is one class with the methods of :class:`SourceModel`; whatever draws, plans, scores or shows injections asks
only for those.
"""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa

from injection.config import GridParams
from injection.engine.render import Parametric, Sources
from injection.galaxies.banks import load_bank
from injection.galaxies.realsources import BankSources
from injection.priors.registry import Prior
from lake.errors import DataError
from lake.plugins import imported

_METHODS = ("identity", "describe", "draw", "faults", "trace", "scene")


class SourceModel(Sources, Protocol):
    """The light of the sources of a set of injections."""

    @property
    def identity(self) -> Any:
        """What decides the light, besides parameters and prior, as JSON values: part of a grid's identity."""

    def describe(self) -> str:
        """The model in words, for captions."""

    def draw(self, rows: pa.Table, prior: Prior, seed: int) -> pa.Table:
        """Draws of the prior (``injection.priors.registry.draw``) with the model's own parameters in their place.

        A row's parameters depend on its ``injection_id`` and the seed alone; ``log_prior`` is that of what is drawn.
        """


class Profiles(Parametric):
    """Sersic profiles with clumps, as the prior draws them."""

    identity = None

    def describe(self) -> str:
        return "Sersic profiles with clumps"

    def draw(self, rows: pa.Table, prior: Prior, seed: int) -> pa.Table:
        return rows


def source_model(grid: GridParams) -> SourceModel:
    """The model that a grid's parameters name."""
    if grid.source_model is not None:
        own: SourceModel = imported(grid.source_model, "source model")
        lacking = [name for name in _METHODS if not hasattr(own, name)]
        if lacking:
            raise DataError(f"the source model '{grid.source_model}' lacks {', '.join(lacking)}")
        return own
    if grid.real_sources is None:
        return Profiles()
    chosen = grid.real_sources
    return BankSources(load_bank(chosen), chosen.max_pixel_arcsec, chosen.catalogue_colours, chosen.path)
