"""The source model that a grid's parameters name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from injection.config import GridParams, Quadrature
from injection.engine.tracing import PARAMETRIC, SourceModel, Traced
from injection.galaxies.banks import load_bank
from injection.galaxies.realsources import BankSources
from injection.priors.prior import Prior
from lake.errors import DarkHaloError, DataError
from lake.plugins import imported, raised

_METHODS = ("identity", "describe", "draw", "faults", "trace")


def source_model(grid: GridParams) -> SourceModel:
    """The user's own model, real galaxies of a bank, or the profiles of the prior."""
    if grid.source_model is not None:
        own: SourceModel = imported(grid.source_model, "source model")
        lacking = [name for name in _METHODS if not hasattr(own, name)]
        if lacking:
            raise DataError(f"the source model '{grid.source_model}' lacks {', '.join(lacking)}")
        return OwnModel(grid.source_model, own)
    if grid.real_sources is None:
        return PARAMETRIC
    chosen = grid.real_sources
    return BankSources(load_bank(chosen), chosen.max_pixel_arcsec, chosen.catalogue_colours, chosen.path)


@dataclass(frozen=True)
class OwnModel:
    """A user's own source model; if a method raises or returns unsuitable values, a DataError names both."""

    path: str
    model: SourceModel

    @property
    def identity(self) -> Any:
        return self._checked(
            "identity", lambda: self.model.identity, "a value that is not null", lambda found: found is not None
        )

    def describe(self) -> str:
        return str(self._checked("describe", self.model.describe))

    def draw(self, rows: pa.Table, prior: Prior, seed: int) -> pa.Table:
        def fits(found: pa.Table) -> bool:
            return (found.num_rows, found.schema.names) == (rows.num_rows, rows.schema.names)

        wanted = "the table it is given, with changed values"
        return self._checked("draw", lambda: self.model.draw(rows, prior, seed), wanted, fits)

    def faults(self, rows: pa.Table) -> list[str | None]:
        def fits(found: list[str | None]) -> bool:
            return len(found) == rows.num_rows

        return list(self._checked("faults", lambda: list(self.model.faults(rows)), "one reason or null per row", fits))

    def trace(self, rows: pa.Table, stamp_pixels: int, quadrature: Quadrature, pixel_scale_arcsec: float) -> Traced:
        shapes = [(rows.num_rows, stamp_pixels**2 + 1), (rows.num_rows,)]

        def call() -> list[Any]:
            return [np.array(part) for part in self.model.trace(rows, stamp_pixels, quadrature, pixel_scale_arcsec)]

        def fits(found: list[Any]) -> bool:
            return [part.shape for part in found] == shapes

        images, rays = self._checked("trace", call, f"arrays of the shapes {shapes[0]} and {shapes[1]}", fits)
        return images.astype(np.float32), rays.astype(np.int64)

    def _checked(
        self, method: str, call: Callable[[], Any], wanted: str = "", fits: Callable[[Any], bool] = lambda found: True
    ) -> Any:
        try:
            found = call()
            fitting = fits(found)
        except DarkHaloError:
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise DataError(f"the source model '{self.path}' failed in {method}: {raised(error)}") from error
        if not fitting:
            raise DataError(f"{method} of the source model '{self.path}' must be {wanted}")
        return found
