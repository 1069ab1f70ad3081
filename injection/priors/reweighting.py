"""Importance weights that turn injections of one prior into those of another, and how much of it they cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from injection.config import GridParams
from injection.priors.distributions import Distribution
from injection.priors.prior import AnyPrior, Mixture
from injection.priors.registry import draw, log_density
from lake import arrays
from lake.sky.imaging import Imaging

Array = NDArray[np.float64]

THETA_E = "lens_theta_e_arcsec"
_DRAWS = 50_000
"""Draws of the target that measure its support to 0.5 % (two standard errors)."""
_QUANTILES = 10_000


@dataclass(frozen=True)
class Change:
    """A change from the prior that rows were drawn from to another prior."""

    drawn: AnyPrior
    target: AnyPrior
    imaging: Imaging
    fixed: tuple[str, ...]
    """Parameters that were not drawn from the prior, see :func:`injection.priors.registry.log_density`"""

    def log_weights(self, rows: pa.Table) -> Array:
        """Log density of each row under the target over that under its own prior; -inf where the target's is zero."""
        return log_density(self.target, rows, self.imaging, self.fixed) - log_density(
            self.drawn, rows, self.imaging, self.fixed
        )

    def support(self, injections: int, theta_e: tuple[float, float] | None = None) -> float:
        """Share of the target's mass that a number of injections of the drawn prior can represent.

        It is the mass where the weight is at most ``injections``, the expected sum of all weights: a single injection
        with a larger weight would outweigh the whole sample. Normal distributions have no ends, so the range alone does
        not show that one lies in the tail of another. ``theta_e`` are the ends of the Einstein radii that count
        (arcsec); None for no limit.
        """
        if self.target is self.drawn and theta_e is None:
            return 1.0
        rows = _draws(self.target, self.imaging)
        with np.errstate(invalid="ignore"):
            covered = self.log_weights(rows) <= np.log(max(injections, 1))
        if theta_e is not None:
            values = arrays.values(rows[THETA_E])
            covered &= (values >= theta_e[0]) & (values <= theta_e[1])
        return float(covered.mean())


def not_of_prior(grid: GridParams, imaging: Imaging) -> tuple[str, ...]:
    """What a grid does not draw from its prior, besides what its rows give: ``fixed`` of ``log_density``."""
    shape = ("lens_q", "shear") if grid.lens_shape == "conditioned" else ()
    profiles = grid.real_sources is None and grid.source_model is None
    light = () if profiles else ("src_n", "src_q", "clumps")
    colours = imaging.source_columns[1:] if grid.real_sources and grid.real_sources.catalogue_colours else ()
    return (*shape, *light, *colours)


def theta_e_shares(target: AnyPrior, values: Sequence[float]) -> tuple[Array, tuple[float, float]]:
    """Mass of the target's Einstein radii nearest to each value of a grid, and the ends of what the grid spans.

    Each value represents the range half-way to its neighbours; end values reach as far outwards. The shares add
    up to the target's mass between the ends.
    """
    centres = np.asarray(values, dtype=np.float64)
    if len(centres) == 1:
        return np.ones(1), (-np.inf, np.inf)
    inner = (centres[1:] + centres[:-1]) / 2.0
    ends = (1.5 * centres[0] - 0.5 * centres[1], 1.5 * centres[-1] - 0.5 * centres[-2])
    edges = np.array([ends[0], *inner, ends[1]])
    if isinstance(target, Mixture):
        parts = [_mass(prior.lens_theta_e_arcsec, edges) for prior in target.priors]
        return np.asarray(target.shares @ np.array(parts)), ends
    return _mass(target.lens_theta_e_arcsec, edges), ends


def _mass(distribution: Distribution, edges: ArrayLike) -> Array:
    places = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return np.histogram(distribution.quantile(places), bins=np.asarray(edges))[0] / _QUANTILES


@cache
def _draws(target: AnyPrior, imaging: Imaging) -> pa.Table:
    return draw(target, arrays.texts(f"support-{number}" for number in range(_DRAWS)), 0, imaging)
