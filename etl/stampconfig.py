"""Parameters of simulated training stamps."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field, PositiveFloat

from etl.config import StampGates
from lake.config import Name, Section


class StampGrid(Section):
    """Configurations of simulated lenses: every combination of these values."""

    theta_e_arcsec: tuple[PositiveFloat, ...] = Field(min_length=1)
    """Einstein radii."""
    src_dmag: tuple[float, ...] = Field(min_length=1)
    """Source minus host magnitude in r: the source's unlensed, the host's as observed."""
    src_re_arcsec: tuple[PositiveFloat, ...] = Field(min_length=1)
    """Half-light radii of the source, intermediate axis."""
    src_e: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(min_length=1)
    """Ellipticities of the source: q = (1 - e) / (1 + e)."""
    shear: tuple[Annotated[float, Field(ge=0, lt=0.9)], ...] = Field(min_length=1)
    """Moduli of the external shear."""

    def configurations(self) -> pa.Table:
        """All combinations, one row each: ``config_id``, and a column for each of the fields."""
        names = tuple(type(self).model_fields)
        values = list(zip(*product(*(getattr(self, name) for name in names)), strict=True))
        numbers = pa.array(range(len(values[0])), pa.int32())
        return pa.table([numbers, *(pa.array(column, pa.float64()) for column in values)], names=["config_id", *names])


class PlanSpec(Section):
    """One plan of simulated training stamps."""

    grid: Name
    """The grid of its configurations."""
    controls: Literal["paired", "unpaired"]
    """Galaxies of the controls: those of the lenses, or others."""
    configurations_per_galaxy: int = Field(ge=1)
    """Stamps of a galaxy, each with a configuration of its own; paired: each as lens and as control."""
    max_galaxies: int | None = Field(ge=1)
    """Most galaxies, those first in the order of a keyed hash, or null for all."""


class PlanParams(Section):
    """Which simulated training stamps are planned, on which galaxies."""

    mag_z_max: float
    """Hosts are brighter than this in z (AB mag, as observed)."""
    r_minus_z_min: float
    """Hosts are redder than this in r - z (mag, as observed) ..."""
    z_minus_w1_min: float
    """... and in z - W1."""
    control_share: float = Field(gt=0, lt=1)
    """Share of the galaxies that are controls in unpaired plans."""
    grids: dict[Name, StampGrid]
    """Grids of configurations, by name."""
    plans: dict[Name, PlanSpec]
    """The plans, by name."""


class StampCutting(StampGates):
    """How the hosts of simulated stamps are cut out of the coadds, and how the stamps are stored."""

    stamp_pixels: int = Field(ge=16)
    """Width and height of a stamp (pixels); the host is on pixel side // 2."""
    coadd_pixels: int = Field(ge=16)
    """Width and height of a brick's coadd (the survey's: 3600)."""
    shards: int = Field(ge=1)
    """Number of shards of a set, each of whole bricks: a task holds the hosts of one shard in memory."""
    maskbits: tuple[int, ...]
    """Mask bits of pixels that count as masked."""
    ring_masked_above: float = Field(ge=0, le=1)
    """A stamp's ring counts as masked where a larger share of it is masked or non-finite."""


class StampManifestSpec(Section):
    """One named manifest of simulated stamps."""

    set_name: Name
    """The set whose stamps it takes."""
    controls: Literal["paired", "unpaired"]
    """What its controls must be: of the lenses' galaxies, or of others; a set where they are not is refused."""
    theta_e_over_fwhm_nea_min: float = Field(ge=0)
    """Resolvability: smallest ratio of the Einstein radius to the host's r psfsize, of lenses and controls alike."""
    masked_rings: bool
    """Whether stamps whose ring is masked are taken."""


class StampManifestParams(Section):
    """Which manifests of simulated stamps are made."""

    manifests: dict[Name, StampManifestSpec]
    """The manifests, by name."""
    made_anyway: tuple[Name, ...]
    """Manifests, including those with hard negatives, that are made even if no generation in ``train`` needs them."""


class HardNegativesSpec(Section):
    """One manifest with hard negatives."""

    base: Name
    """The manifest of simulated stamps whose rows it has; one with hard negatives keeps these."""
    scorer: Name
    """The generation that scores the controls of the training split."""


class HardNegativesParams(Section):
    """Which manifests get hard negatives, and what counts as one."""

    probability_above: float = Field(gt=0, lt=1)
    """Controls with a higher probability are hard negatives."""
    manifests: dict[Name, HardNegativesSpec]
    """The manifests, by name."""
