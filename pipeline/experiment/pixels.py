"""Pixels of injections from their parameters: the bare host, what a finder is shown, and what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from injection.experiment.measure import measure
from injection.experiment.observation import see
from pipeline.experiment.injecting import Setting

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Pixels:
    """Stamps (batch, band, y, x) nMgy of a batch of injections, on the processor."""

    hosts: Images
    """Bare hosts"""
    seen: Images
    """The same with arcs; without one where the injection failed"""
    measured: dict[str, Any]
    """Columns of ``injection.experiment.measure.measure``"""
    reasons: list[str | None]
    """Why an injection failed; None where it did not"""

    @property
    def arcs(self) -> Images:
        """What the injection added."""
        return self.seen - self.hosts


def draw_pixels(rows: pa.Table, galaxy_ids: Sequence[str], setting: Setting) -> Pixels:
    """Render rows of drawn parameters into their hosts, as the grid's stream does with the same seed."""
    hosts, grid = setting.hosts.hosts, setting.grid.model_copy(update={"device": "cpu"})
    index = hosts.rows_of(galaxy_ids)
    conditions = hosts.psf(index, grid), hosts.pixel_sigma_nmgy[index]
    seen = see(grid, setting.sources, rows, setting.hosts.load(galaxy_ids), conditions, setting.seed)
    measured = measure(rows, seen.arcs, seen.hosts, seen.usable, conditions[0], seen.sky, grid.detectability)
    return Pixels(seen.bare, seen.images, measured, seen.reasons)
