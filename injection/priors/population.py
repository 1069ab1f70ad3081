"""A declared population of lenses: how many there are, and how their parameters are distributed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from pydantic import Field, model_validator

from injection.priors.distributions import Distribution
from injection.priors.prior import AnyPrior, Mixture, Prior
from lake import yamltext
from lake.config import Section
from lake.errors import invalid, not_one_of

SHIPPED = ("collett2015",)


class Range(Section):
    """A factor of the expected number of lenses, with its range."""

    low: float = Field(ge=0)
    """Low value."""
    central: float
    """Central value."""
    high: float
    """High value."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low <= self.central <= self.high:
            raise invalid("central", f"between low ({self.low:g}) and high ({self.high:g})", self.central)
        return self

    @property
    def ends(self) -> tuple[float, float, float]:
        """Low, central, high."""
        return self.low, self.central, self.high


class Population(Section):
    """Lenses on the sky that a survey could show."""

    meaning: str
    """Which lenses, in words."""
    citations: tuple[str, ...] = Field(min_length=1)
    """Where its numbers are from."""
    lenses_per_deg2: Range
    """Lenses per square degree."""
    in_pool: Range
    """Share of them whose lens galaxy passes the cuts of the pool."""
    distributions: dict[str, Distribution] = Field(min_length=1)
    """Of parameters of injections; the others are distributed as in the grid's prior."""

    @model_validator(mode="after")
    def _shares(self) -> Population:
        if self.in_pool.high > 1.0:
            raise invalid("in_pool.high", "at most 1", self.in_pool.high)
        return self

    def prior(self, name: str, drawn: AnyPrior) -> AnyPrior:
        """The prior of a grid with the distributions of the population in their place."""
        if isinstance(drawn, Mixture):
            parts = tuple(part.model_copy(update={"prior": self._replaced(part.prior)}) for part in drawn.components)
            return drawn.model_copy(update={"name": name, "components": parts})
        return self._replaced(drawn).model_copy(update={"name": name})

    def _replaced(self, prior: Prior) -> Prior:
        content = prior.model_dump(mode="json")
        known = [key for key, value in content.items() if isinstance(value, Mapping)]
        for parameter, distribution in self.distributions.items():
            if parameter not in known:
                raise not_one_of("distributions", known, parameter)
            content[parameter] = distribution.model_dump(mode="json")
        return Prior.load(content, "population")


def shipped(name: str) -> dict[str, Any]:
    """The content of a population that comes with the package."""
    return dict(yamltext.values(resources.files("injection.priors").joinpath(f"{name}.yaml").read_text()))
