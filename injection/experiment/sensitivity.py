"""The experiment `sensitivity`: the grid's own draws with one assumption changed at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt

from injection.experiment.grid import plan
from injection.experiment.setting import Setting
from injection.experiment.trials import Experiment, Variant, given
from injection.priors.prior import Mixture
from injection.scene.ranges import limits
from lake.config import Section
from lake.errors import DataError
from lake.tables.trials import BASELINE

NAME = "sensitivity"

Array = NDArray[np.float64]
_LEAST_Q = 0.05
"""Widened axis ratios end here: thinner lenses are no galaxies."""


class SensitivityParams(Section):
    """Its size, and by how much each assumption changes, either way. The changes are the reference's."""

    per_cell: PositiveInt
    """Injections per cell of the grid; fewer where the cell has fewer hosts."""
    psf_percent: float = Field(gt=0, lt=100)
    """Width of the PSF that arcs are rendered with; hosts and their noise stay."""
    re_percent: float = Field(gt=0, lt=100)
    """Half-light radius of the source, clumps included."""
    colour_mag: PositiveFloat
    """Bluest colour of the source, at fixed magnitude in the reference band (mag)."""
    q_low: float = Field(gt=0, lt=1)
    """Lower end of the lens's axis ratios, which are stretched linearly about their upper end."""
    poisson_gain_e_per_nmgy: PositiveFloat
    """Gain of the arc's Poisson noise in the variant `poisson` (electrons per nanomaggy)."""


def sensitivity(params: SensitivityParams) -> Experiment:
    """The experiment: the reference's eight perturbations and Poisson noise, on the cells of the grid.

    The shape of lenses is drawn from the prior, also where the grid's is conditioned on its hosts.
    """
    signs = (("plus", 1.0), ("minus", -1.0))
    noise = {"poisson_gain_e_per_nmgy": params.poisson_gain_e_per_nmgy}
    variants = [Variant(BASELINE)]
    for word, sign in signs:
        psf, size = 1.0 + sign * params.psf_percent / 100.0, 1.0 + sign * params.re_percent / 100.0
        colour, least = sign * params.colour_mag, sign * params.q_low
        variants += [
            Variant(f"psf_{word}_{params.psf_percent:g}", setting=partial(_with_psf, psf)),
            Variant(
                f"re_{word}_{params.re_percent:g}", rows=partial(_changed, "src_re_arcsec", partial(np.multiply, size))
            ),
            Variant(f"colour_{word}_{params.colour_mag:g}", rows=partial(_redder, colour)),
            Variant(f"q_low_{word}_{params.q_low:g}", rows=partial(_stretched, least)),
        ]
    variants.append(Variant("poisson", noise))
    return Experiment(NAME, {"lens_shape": "independent"}, partial(_of_cells, params.per_cell), tuple(variants))


def _of_cells(per_cell: int, setting: Setting) -> pa.Table:
    """The first injections of each cell of the grid, in the cell's hosts, drawn anew."""
    grid = setting.grid.model_copy(update={"per_cell": per_cell})
    rows = plan(replace(setting, grid=grid)).rows
    if not rows.num_rows:
        raise DataError("no host lies in a cell of the grid")
    return pa.table(
        {
            "trial_id": [f"{NAME}/{name}" for name in rows["injection_id"].to_pylist()],
            "galaxy_id": [hosts[0] for hosts in rows["host_ids"].to_pylist()],
            "bin": rows["cell"],
            "lens_theta_e_arcsec": rows["lens_theta_e_arcsec"],
        }
    )


def _with_psf(factor: float, setting: Setting) -> Setting:
    return replace(setting, hosts=setting.hosts.with_psf_scaled(factor))


def _redder(by_mag: float, setting: Setting, trials: pa.Table) -> pa.Table:
    """Trials whose bluest colour is redder by some magnitudes."""
    colours = setting.hosts.imaging.source_columns[1:]
    if not colours:
        raise DataError("there is one band, so sources have no colour")
    return _changed(colours[0], partial(np.add, by_mag), setting, trials)


def _changed(name: str, change: Callable[[Array], Array], setting: Setting, trials: pa.Table) -> pa.Table:
    """Trials with a parameter changed from what they draw, within the range of the parameter."""
    values = change(_drawn(setting, trials)[name].to_numpy())
    return given(trials, name, np.clip(values, *limits(name)))


def _stretched(by: float, setting: Setting, trials: pa.Table) -> pa.Table:
    """Trials whose axis ratios are stretched so that the least one that their prior can draw is larger by ``by``."""
    low, high = _axis_ratios(setting, trials["trial_id"].combine_chunks())
    least = np.clip(low + by, np.minimum(low, _LEAST_Q), 0.5 * (low + high))
    drawn = _drawn(setting, trials)["lens_q"].to_numpy()
    return given(trials, "lens_q", high - (high - drawn) * (high - least) / (high - low))


def _axis_ratios(setting: Setting, ids: pa.Array) -> tuple[Array, Array]:
    """Ends of the axis ratios that the prior of each trial can draw."""
    prior = setting.prior
    if isinstance(prior, Mixture):
        ends, chosen = [one.lens_q.support for one in prior.priors], prior.chosen(ids, setting.seed)
    else:
        ends, chosen = [prior.lens_q.support], np.zeros(len(ids), np.int64)
    if not np.isfinite(ends).all():
        raise DataError("the prior's axis ratios have no ends")
    low, high = np.asarray(ends)[chosen].T
    return low, high


def _drawn(setting: Setting, trials: pa.Table) -> pa.Table:
    """The parameters of trials as they are drawn."""
    names = ["injection_id" if name == "trial_id" else name for name in trials.column_names]
    return setting.parameters(trials.rename_columns(names))
