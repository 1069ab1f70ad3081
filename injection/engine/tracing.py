"""Source models, and the lensed light of their sources integrated over pixels.

A model is one class with the methods of :class:`SourceModel`. Drawing, planning, rendering, scoring and showing
injections use no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from injection.config import Quadrature
from injection.engine import _image_rays, _pack, _rays
from injection.engine._pack import Scene
from injection.priors.prior import Prior
from injection.scene.lens import Lens
from injection.scene.ranges import PROFILES
from injection.scene.sources import components
from lake.errors import DarkHaloError, invalid

Images = NDArray[np.float32]
Traced = tuple[Images, NDArray[np.int64]]

_CAPACITY = 1 << 16
"""Cells in a list of the work space at first; a list that overflows is made four times as long."""
_PER_ROW = ("lenses", "centres", "turns", "parts", "counts", "reaches")
_NOT_FINITE = "its lensed light is not finite"


class SourceModel(Protocol):
    """The light of the sources of a set of injections."""

    @property
    def identity(self) -> Any:
        """JSON values that decide the light, in addition to parameters and prior; part of a grid's identity."""

    def describe(self) -> str:
        """The model in words, for captions."""

    def draw(self, rows: pa.Table, prior: Prior, seed: int) -> pa.Table:
        """Draws of the prior (``injection.priors.registry.draw``) with the model's own parameters.

        The parameters of a row depend only on its ``injection_id`` and the seed; ``log_prior`` is their log density.
        """

    def faults(self, rows: pa.Table) -> list[str | None]:
        """Why each row cannot be rendered, None if it can; ranges of parameters are checked elsewhere."""

    def trace(self, rows: pa.Table, stamp_pixels: int, quadrature: Quadrature, pixel_scale_arcsec: float) -> Traced:
        """The same as :func:`trace`."""


def trace(rows: pa.Table, stamp_pixels: int, quadrature: Quadrature, pixel_scale_arcsec: float) -> Traced:
    """Pixel integrals of Sersic profiles of unit flux: (batch, y * x + 1), the last value off the stamp; rays."""
    return integrated(_scene(rows, quadrature, pixel_scale_arcsec), stamp_pixels)


def integrated(scene: Scene, stamp_pixels: int, sources: Sequence[Images] | None = None) -> Traced:
    """Pixel integrals of a scene as :func:`trace` returns them; ``sources`` are the rows' images, if not profiles."""
    rays = np.full(len(scene.counts), -1, dtype=np.int64)
    images = np.empty((len(rays), stamp_pixels**2 + 1), dtype=np.float32)
    if sources is None:
        _rays.trace(scene, images, rays, _work_space(_CAPACITY))
    for row in np.flatnonzero(rays < 0).tolist():
        one, capacity = scene._replace(**{name: getattr(scene, name)[row : row + 1] for name in _PER_ROW}), _CAPACITY
        while rays[row] < 0:
            if sources is None:
                _rays.trace(one, images[row : row + 1], rays[row : row + 1], _work_space(capacity))
            else:
                rays[row] = _image_rays.trace(one, sources[row], _work_space(capacity), images[row])
            capacity *= 4
    return images, rays


def _scene(rows: pa.Table, quadrature: Quadrature, pixel_scale_arcsec: float) -> Scene:
    limits = np.array([quadrature.one_ray_below, quadrature.four_rays_below, quadrature.negligible_flux])
    return _pack.scene(
        Lens.from_rows(rows), components(rows), pixel_scale_arcsec, quadrature.levels, limits, quadrature.tail_fraction
    )


def _work_space(capacity: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    return np.empty((9, capacity), np.float32), np.empty((3, capacity), np.int32)


class Parametric:
    """Sersic profiles with clumps, as the prior draws them."""

    identity = None
    trace = staticmethod(trace)

    def describe(self) -> str:
        return "Sersic profiles with clumps"

    def draw(self, rows: pa.Table, prior: Prior, seed: int) -> pa.Table:
        return rows

    def faults(self, rows: pa.Table) -> list[str | None]:
        models = rows.column("src_model").to_pylist()
        return [None if one in PROFILES else str(invalid("src_model", " or ".join(PROFILES), one)) for one in models]


PARAMETRIC = Parametric()


def traced(
    sources: SourceModel, rows: pa.Table, stamp_pixels: int, quadrature: Quadrature, pixel_scale_arcsec: float
) -> tuple[Images, NDArray[np.int64], dict[int, str]]:
    """The same as ``sources.trace``, and why rows failed, which are then empty."""
    how = stamp_pixels, quadrature, pixel_scale_arcsec
    try:
        images, rays = sources.trace(rows, *how)
        failed: dict[int, str] = {}
    except (DarkHaloError, ArithmeticError) as error:
        if rows.num_rows == 1:
            return np.zeros((1, stamp_pixels**2 + 1), np.float32), np.zeros(1, np.int64), {0: str(error)}
        each = [traced(sources, rows.slice(row, 1), *how) for row in range(rows.num_rows)]
        images, rays = (np.concatenate([one[part] for one in each]) for part in (0, 1))
        failed = {row: one[2][0] for row, one in enumerate(each) if one[2]}
    for row in np.flatnonzero(~np.isfinite(images.sum(axis=1))):
        images[row], failed[int(row)] = 0.0, _NOT_FINITE
    return images, rays, failed
