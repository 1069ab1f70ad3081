"""One-dimensional prior distributions, each with its quantile function and log density."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, PositiveFloat, model_validator
from scipy.special import ndtri

from lake.config import Section
from lake.errors import invalid

Array = NDArray[np.float64]


class _Interval(Section):
    low: float
    """Lower end."""
    high: float
    """Upper end."""

    @model_validator(mode="after")
    def _ordered(self) -> _Interval:
        if not np.isfinite([self.low, self.high]).all() or self.low >= self.high:
            raise invalid("high", f"finite and above low ({self.low})", self.high)
        return self

    @property
    def support(self) -> tuple[float, float]:
        return self.low, self.high


class Uniform(_Interval):
    """Flat between two ends."""

    kind: Literal["uniform"]
    """Name of the distribution."""

    def quantile(self, u: ArrayLike) -> Array:
        return self.low + np.asarray(u) * (self.high - self.low)

    def log_density(self, x: ArrayLike) -> Array:
        x = np.asarray(x)
        return np.where((x >= self.low) & (x <= self.high), -np.log(self.high - self.low), -np.inf)


class AreaUniform(_Interval):
    """Flat in area: ``sqrt(U(low^2, high^2))``."""

    kind: Literal["area_uniform"]
    """Name of the distribution."""

    def quantile(self, u: ArrayLike) -> Array:
        return np.sqrt(self.low**2 + np.asarray(u) * (self.high**2 - self.low**2))

    def log_density(self, x: ArrayLike) -> Array:
        x = np.asarray(x, dtype=np.float64)
        inside = (x >= self.low) & (x <= self.high) & (x > 0)
        return np.where(inside, np.log(2.0 * np.where(inside, x, 1.0) / (self.high**2 - self.low**2)), -np.inf)


class Normal(Section):
    """Gaussian."""

    kind: Literal["normal"]
    """Name of the distribution."""
    mean: float
    """Mean."""
    sigma: PositiveFloat
    """Standard deviation."""

    @property
    def support(self) -> tuple[float, float]:
        return -np.inf, np.inf

    def quantile(self, u: ArrayLike) -> Array:
        return self.mean + self.sigma * ndtri(u)

    def log_density(self, x: ArrayLike) -> Array:
        return -0.5 * ((np.asarray(x) - self.mean) / self.sigma) ** 2 - np.log(self.sigma * np.sqrt(2.0 * np.pi))


class HalfNormal(Section):
    """Absolute value of a Gaussian about 0."""

    kind: Literal["half_normal"]
    """Name of the distribution."""
    sigma: PositiveFloat
    """Standard deviation of the Gaussian."""

    @property
    def support(self) -> tuple[float, float]:
        return 0.0, np.inf

    def quantile(self, u: ArrayLike) -> Array:
        return self.sigma * ndtri(0.5 + 0.5 * np.asarray(u))

    def log_density(self, x: ArrayLike) -> Array:
        x = np.asarray(x)
        inside = -0.5 * (x / self.sigma) ** 2 - np.log(self.sigma * np.sqrt(0.5 * np.pi))
        return np.where(x >= 0, inside, -np.inf)


class Binned(Section):
    """A histogram: flat within each bin."""

    kind: Literal["binned"]
    """Name of the distribution."""
    edges: tuple[float, ...] = Field(min_length=2)
    """Ascending edges of the bins."""
    shares: tuple[Annotated[float, Field(ge=0)], ...]
    """Share of each bin, up to a common factor (counts)."""

    @model_validator(mode="after")
    def _whole(self) -> Binned:
        if (np.diff(self.edges) <= 0).any():
            raise invalid("edges", "ascending", self.edges)
        if len(self.shares) != len(self.edges) - 1 or not sum(self.shares):
            raise invalid("shares", f"{len(self.edges) - 1} numbers, one a bin, and not all 0", self.shares)
        return self

    @property
    def support(self) -> tuple[float, float]:
        return self.edges[0], self.edges[-1]

    def quantile(self, u: ArrayLike) -> Array:
        shares = np.asarray(self.shares)
        return np.interp(np.asarray(u), np.append(0.0, np.cumsum(shares / shares.sum())), self.edges)

    def log_density(self, x: ArrayLike) -> Array:
        x, shares = np.asarray(x, dtype=np.float64), np.asarray(self.shares)
        density = shares / shares.sum() / np.diff(self.edges)
        place = np.clip(np.searchsorted(self.edges, x, side="right") - 1, 0, len(density) - 1)
        inside = (x >= self.edges[0]) & (x <= self.edges[-1])
        with np.errstate(divide="ignore"):
            return np.where(inside, np.log(density[place]), -np.inf)


Distribution = Annotated[Uniform | AreaUniform | Normal | HalfNormal | Binned, Field(discriminator="kind")]
