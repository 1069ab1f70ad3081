"""How parameters of injections become the columns of the emulator's regression.

Each parameter is scaled to 0 to 1, so that p rises with it if it is monotone. The logit of p is a sum of

- a natural cubic spline in the Einstein radius;
- for every other parameter, a piecewise linear function with breaks at quantiles;
- products of all pairs of free parameters, and a bilinear surface over the Einstein radius and the first of the others,
  if that is free (the source's magnitude, along which everything else changes most);
- for every monotone parameter u, u times piecewise linear functions of the Einstein radius and of that first parameter.

p rises with a monotone parameter if the coefficients of its own columns are not negative, as these are products of
what rises with it and of what is nowhere negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Floats = NDArray[np.float64]

_KNOTS = 8
"""Most knots of the spline."""
_PIECES = 4
"""Of the piecewise linear function of each parameter."""
_RADIUS_NODES, _FIRST_NODES, _SURFACE_NODES = 3, 5, 4
"""Nodes of the functions that slopes of monotone parameters follow, and of each side of the surface."""


@dataclass(frozen=True)
class Basis:
    """How radii (n) and parameters (n, k) become the columns of the regression."""

    bounded: NDArray[np.bool_]
    """Whether the coefficient of each column, the last one of them constant, must not be negative"""
    signs: NDArray[np.int64]
    """Of the radius (0) and of each parameter: 1 p rises with it, -1 it falls, 0 free"""
    low: Floats
    """Smallest radius and smallest value of each parameter"""
    width: Floats
    """Their ranges, 1 where there is one value only"""
    nodes: tuple[Floats, ...]
    """Ends and breaks of the scaled radius and parameters"""
    spline: CubicSpline | None
    """None if there is one radius only"""
    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, radii: Floats, values: Floats, signs: Sequence[int]) -> Basis:
        """The basis of some injections; ``signs`` (k) are those of the parameters."""
        both = np.column_stack([radii, values])
        low, width = both.min(axis=0), np.ptp(both, axis=0)
        empty, declared, spline = np.zeros(0), np.array([0, *signs], dtype=np.int64), None
        if width[0] > 0.0:
            knots = _knots(radii)
            spline = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")
        width = np.where(width > 0.0, width, 1.0)
        raw = cls(empty.astype(bool), declared, low, width, (), spline, empty, empty)
        nodes = tuple(_quantiles(column, _PIECES + 1) for column in raw._scaled(radii, values).T)
        raw = cls(empty.astype(bool), declared, low, width, nodes, spline, empty, empty)
        parts, bounded = raw._parts(radii, values)
        mean, scale = parts.mean(axis=0), parts.std(axis=0)
        return cls(np.r_[bounded, False], declared, low, width, nodes, spline, mean, np.where(scale > 0.0, scale, 1.0))

    def columns(self, radii: Floats, values: Floats) -> Floats:
        """Columns (n, m) of the regression, standardised; the last one is constant."""
        parts, _ = self._parts(radii, values)
        return np.column_stack([(parts - self.mean) / self.scale, np.ones(len(parts))])

    def _scaled(self, radii: Floats, values: Floats) -> Floats:
        """All from 0 to 1, in the sense in which p rises; constant beyond the range."""
        scaled = np.clip((np.column_stack([radii, values]) - self.low) / self.width, 0.0, 1.0)
        return np.where(self.signs < 0, 1.0 - scaled, scaled)

    def _parts(self, radii: Floats, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Columns before they are standardised, and which of their coefficients must not be negative."""
        u, rises = self._scaled(radii, values), self.signs != 0
        free = [place for place in range(u.shape[1]) if not rises[place] and (place or self.spline is not None)]
        found: list[tuple[Floats, bool]] = [(np.zeros((len(u), 0)), False)]
        if self.spline is not None:
            found.append((self.spline(np.clip(radii, self.low[0], self.low[0] + self.width[0])), False))
        found += [(_ramps(u[:, place], self.nodes[place]), bool(rises[place])) for place in range(1, u.shape[1])]
        found += [(u[:, [a]] * u[:, [b]], False) for a, b in combinations(free, 2)]
        leading = [(0, _RADIUS_NODES), (1, _FIRST_NODES)]
        along = [(place, count) for place, count in leading if place in free]
        if len(along) == len(leading):
            first, second = (self._hats(u, place, _SURFACE_NODES) for place, _ in leading)
            found.append(((first[:, :, None] * second[:, None, :]).reshape(len(u), -1), False))
        for place in np.flatnonzero(rises):
            found += [(u[:, [place]] * self._hats(u, other, count), True) for other, count in along]
        columns = np.hstack([part for part, _ in found])
        return columns, np.concatenate([np.full(part.shape[1], bound) for part, bound in found])

    def _hats(self, u: Floats, place: int, count: int) -> Floats:
        """Piecewise linear functions (n, nodes) that add up to 1, each 1 at one node and 0 at all others."""
        nodes = np.unique(
            np.interp(np.linspace(0.0, 1.0, count), np.linspace(0.0, 1.0, len(self.nodes[place])), self.nodes[place])
        )
        return np.column_stack([np.interp(u[:, place], nodes, one) for one in np.eye(len(nodes))])


def _knots(radii: Floats) -> Floats:
    """Radii at which the spline is free: those of a grid, so that it interpolates between them without oscillating."""
    distinct = np.unique(radii)
    return distinct if len(distinct) <= _KNOTS else np.quantile(distinct, np.linspace(0.0, 1.0, _KNOTS))


def _quantiles(scaled: Floats, count: int) -> Floats:
    """Ends and breaks of a scaled parameter, none of them twice."""
    return np.unique(np.r_[0.0, np.quantile(scaled, np.linspace(0.0, 1.0, count))[1:-1], 1.0])


def _ramps(u: Floats, nodes: Floats) -> Floats:
    """Columns (n, pieces) that rise along one piece each."""
    return np.clip(u[:, None], nodes[:-1], nodes[1:]) - nodes[:-1]
