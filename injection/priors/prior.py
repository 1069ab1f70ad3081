"""What injections are drawn from: a joint prior, or a mixture of several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from injection.keyed import Keyed
from injection.priors.distributions import Distribution
from injection.scene.ranges import is_light, limits, refuse
from lake.config import Section
from lake.errors import invalid
from lake.sky.imaging import Imaging

LENS = ("lens_theta_e_arcsec", "lens_q", "lens_x_arcsec", "lens_y_arcsec")
SHAPE = ("src_beta_frac", "src_re_arcsec", "src_n", "src_q")


class Prior(Section):
    """A joint prior: the distribution of each ``lens_*`` and ``src_*`` parameter of an injection.

    Further fields give the light of the sources, in any number of bands: unlensed magnitudes ``src_mag_<band>`` and
    colours ``src_<bluer>_minus_<redder>``.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Distribution]

    name: str
    """Name in the registry."""
    meaning: str
    """Purpose of the prior, in words."""
    lens_theta_e_arcsec: Distribution
    """Einstein radius, if the grid does not fix it (arcsec)."""
    lens_q: Distribution
    """Lens axis ratio."""
    lens_x_arcsec: Distribution
    """Lens centre along x (arcsec)."""
    lens_y_arcsec: Distribution
    """Lens centre along y (arcsec)."""
    shear: Distribution
    """Modulus of the external shear."""
    src_beta_frac: Distribution
    """Source offset from the lens centre, over theta_E."""
    src_re_arcsec: Distribution
    """Half-light radius, intermediate axis (arcsec)."""
    src_n: Distribution
    """Sersic index."""
    src_q: Distribution
    """Source axis ratio."""
    clump_probability: float = Field(ge=0, le=1)
    """Probability that a source has clumps; 1, 2 and 3 clumps are then equally likely."""
    clump_fraction: Distribution
    """Share of the flux in the clumps."""
    clump_offset: Distribution
    """Elliptical radius of a clump's position, over the half-light radius."""
    clump_size: Distribution
    """Half-light radius of a clump over that of the source."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            if name not in cls.model_fields and not is_light(name):
                known = ", ".join(sorted((*cls.model_fields, "src_mag_<band>", "src_<bluer>_minus_<redder>")))
                raise invalid(f"prior {values['name']}.{name}", f"one of the known parameters ({known})", name)
        return values

    def model_post_init(self, context: object) -> None:
        for name in (*LENS, *self.light, *SHAPE):
            low, high = limits(name)
            support = getattr(self, name).support
            for edge in support:
                if np.isfinite(edge) and not low <= edge <= high:
                    raise refuse(name, edge)

    @property
    def light(self) -> tuple[str, ...]:
        """Names of its magnitudes and colours."""
        return tuple(self.__pydantic_extra__)

    def direct(self, imaging: Imaging) -> tuple[str, ...]:
        """Columns of injections that are drawn from the distributions of their names; ParameterError if one lacks."""
        lacking = [name for name in imaging.source_columns if name not in self.light]
        if lacking:
            allowed = f"one with {', '.join(imaging.source_columns)}, for the bands of {imaging.name}"
            raise invalid("prior", allowed, f"{self.name} with {', '.join(self.light)}")
        return (*LENS, *imaging.source_columns, *SHAPE)


class Component(Section):
    """A prior in a mixture."""

    share: float = Field(gt=0, le=1)
    """Share of the injections that are drawn from it."""
    prior: Prior
    """Its distributions."""


class Mixture(Section):
    """Several priors at once: each injection is drawn from one of them, chosen by its share.

    Its density is the weighted sum of theirs, so a grid drawn from it can be reweighted to each of them with weights of
    at most 1 / share.
    """

    name: str
    """Name in the registry."""
    meaning: str
    """What the mixture is for."""
    components: tuple[Component, ...] = Field(min_length=1)
    """The priors and their shares, which add up to 1."""

    @model_validator(mode="after")
    def _whole(self) -> Mixture:
        if abs(sum(self.shares) - 1.0) > 1e-9:
            raise invalid(f"prior {self.name}.mixture", "shares that add up to 1", self.shares)
        return self

    @property
    def shares(self) -> list[float]:
        return [component.share for component in self.components]

    @property
    def priors(self) -> list[Prior]:
        return [component.prior for component in self.components]

    def direct(self, imaging: Imaging) -> tuple[str, ...]:
        """The same columns as for its priors, which must all have the bands."""
        found = [prior.direct(imaging) for prior in self.priors]
        return found[0]

    def chosen(self, ids: pa.Array, seed: int) -> NDArray[np.int64]:
        """Place of the prior that each injection is drawn from; it depends only on (seed, id)."""
        ends = np.cumsum(self.shares)[:-1]
        return np.searchsorted(ends, Keyed(seed, ids).uniform("prior_component"), side="right")


AnyPrior = Prior | Mixture
