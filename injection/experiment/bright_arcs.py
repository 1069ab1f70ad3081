"""The experiment `bright_arcs`: arcs of one Einstein radius in bins of source magnitude, at small source offsets."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from injection.experiment.setting import Setting
from injection.experiment.trials import Experiment, Variant, given
from injection.keyed import Keyed
from injection.priors.distributions import AreaUniform, Uniform
from lake.config import Section
from lake.errors import invalid
from lake.tables.trials import BASELINE

NAME = "bright_arcs"

Range = tuple[Annotated[float, Field(ge=0)], PositiveFloat]
"""Lower and upper end."""


class BrightArcParams(Section):
    """Its sizes, bins and variants, declared before any result."""

    hosts_per_bin: PositiveInt
    """Injections per bin of magnitude, each into a host of its own; fewer if there are fewer hosts."""
    src_mag_edges: tuple[float, ...] = Field(min_length=2)
    """Edges of the bins in the source's unlensed magnitude in the reference band (AB mag, as observed)."""
    theta_e_arcsec: PositiveFloat
    """Einstein radius of all injections (arcsec)."""
    prior: str
    """Prior of everything else, by its name in the registry or the path of a file."""
    beta_frac: Range
    """Range of the source's offset over the Einstein radius."""
    beta_frac_unrestricted: Range
    """The same in the variant `unrestricted`."""
    poisson_gain_e_per_nmgy: PositiveFloat
    """Gain of the arc's Poisson noise in the variants with it (electrons per nanomaggy). The default is the
    reference's."""
    high_gain_e_per_nmgy: PositiveFloat
    """A gain at which the noise is negligible: the variant `high_gain` must give the baseline's answers."""
    core_suppression_radius_arcsec: PositiveFloat
    """Radius around the lens's centre within which `core_suppressed` removes the arc's light (arcsec)."""
    clip_ranges: tuple[PositiveFloat, ...]
    """Clip ranges of the preprocessing that networks of this project are scored with, beside their own."""
    clip_ranges_with_poisson: tuple[PositiveFloat, ...]
    """Those that they are scored with on arcs with Poisson noise, too."""

    @model_validator(mode="after")
    def _ordered(self) -> BrightArcParams:
        for name in ("src_mag_edges", "beta_frac", "beta_frac_unrestricted"):
            values = getattr(self, name)
            if any(b <= a for a, b in pairwise(values)):
                raise invalid(name, "strictly increasing", values)
        return self


def bright_arcs(params: BrightArcParams) -> Experiment:
    """The experiment: the reference's D01 to D05, with each host once in a bin."""
    noise = {"poisson_gain_e_per_nmgy": params.poisson_gain_e_per_nmgy}
    clips = [Variant(f"clip{clip:g}", preprocessing={"clip_range": clip}) for clip in params.clip_ranges]
    noisy = [Variant(f"poisson_clip{clip:g}", noise, {"clip_range": clip}) for clip in params.clip_ranges_with_poisson]
    variants = (
        Variant(BASELINE),
        Variant("unrestricted", rows=partial(_with_offsets, params.beta_frac_unrestricted)),
        Variant("poisson", noise),
        Variant("high_gain", {"poisson_gain_e_per_nmgy": params.high_gain_e_per_nmgy}),
        Variant("core_suppressed", {"core_suppression_radius_arcsec": params.core_suppression_radius_arcsec}),
        *clips,
        *noisy,
    )
    plain = {"prior": params.prior, "poisson_gain_e_per_nmgy": None, "core_suppression_radius_arcsec": None}
    return Experiment(NAME, plain, partial(_bright_arcs, params), variants)


def _bright_arcs(params: BrightArcParams, setting: Setting) -> pa.Table:
    parts = [_of_bin(params, setting, *edges) for edges in pairwise(params.src_mag_edges)]
    return _with_offsets(params.beta_frac, setting, pa.concat_tables(parts).combine_chunks())


def _of_bin(params: BrightArcParams, setting: Setting, bright: float, faint: float) -> pa.Table:
    """Trials of one bin of magnitude; any subset of its hosts keeps its trials."""
    hosts, name = setting.hosts, f"{bright:g}-{faint:g}"
    chosen = hosts.ordered(np.arange(len(hosts.ids)), setting.seed, f"{NAME}/{name}")[: params.hosts_per_bin]
    galaxies = hosts.ids.take(pa.array(chosen)).to_pylist()
    rows = pa.table(
        {
            "trial_id": [f"{NAME}/{name}/{galaxy_id}" for galaxy_id in galaxies],
            "galaxy_id": galaxies,
            "bin": [name] * len(galaxies),
            "lens_theta_e_arcsec": np.full(len(galaxies), params.theta_e_arcsec),
        }
    )
    magnitude = hosts.imaging.source_columns[0]
    drawn = Keyed(setting.seed, rows["trial_id"]).uniform(magnitude)
    return given(rows, magnitude, Uniform(kind="uniform", low=bright, high=faint).quantile(drawn))


def _with_offsets(beta_frac: tuple[float, float], setting: Setting, trials: pa.Table) -> pa.Table:
    """Source offsets drawn uniformly in area from a range, by the random numbers that a prior uses for them."""
    low, high = beta_frac
    drawn = Keyed(setting.seed, trials["trial_id"]).uniform("src_beta_frac")
    return given(trials, "src_beta_frac", AreaUniform(kind="area_uniform", low=low, high=high).quantile(drawn))
