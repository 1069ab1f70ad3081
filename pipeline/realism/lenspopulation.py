"""Weights that turn a grid's injections into the population of a simulated survey's listed lenses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from demo.config import LensParams
from demo.density import AXIS_RATIO_EDGES, magnitude_density, source_density, theta_e_share
from injection.config import GridParams
from injection.experiment.hostset import HostSet
from injection.priors.prior import AnyPrior
from injection.priors.registry import log_density
from injection.priors.reweighting import THETA_E, not_of_prior
from lake.sky.photometry import depth_mag_from_psfdepth
from lake.sky.survey import SURVEY
from pipeline.realism.truelenses import TrueLenses

Floats = NDArray[np.float64]

LEAST_COVERED = 0.95
"""Share of the lenses that a grid's prior must be able to give."""
_BALANCED = ("src_mag_r", "src_re_arcsec", "src_q", "lens_q")
"""Parameters that decide how bright and how smeared an arc is, or how many images there are."""
_PLACES = ("lens_x_arcsec", "lens_y_arcsec")
_ANGLES = -3.0 * np.log(np.pi) - np.log(2.0 * np.pi)
"""Log density of three angles of axes and one of a direction, which are uniform."""


@dataclass(frozen=True)
class Drawn:
    """Injections of a grid that were scored, and what they were drawn from."""

    rows: pa.Table
    """Parameters, `galaxy_id`, `arc_snr`, `arc_flux_<band>_nmgy`, indices of cells"""
    hosts: HostSet
    prior: AnyPrior
    grid: GridParams


def uncovered(drawn: Drawn, lenses: TrueLenses) -> str | None:
    """Why injections cannot stand for the lenses; None if they can."""
    others = not_of_prior(drawn.grid, SURVEY)
    if others:
        return f"the grid does not draw {', '.join(others)} from its prior"
    share = covered_share(drawn.prior, lenses.rows)
    if share < LEAST_COVERED:
        return f"the prior '{drawn.prior.name}' covers {share:.0%} of the lenses, less than {LEAST_COVERED:.0%}"
    return None


def covered_share(prior: AnyPrior, lenses: pa.Table) -> float:
    """Share of lenses that a prior can give, but for their Einstein radii and places."""
    return float(np.isfinite(log_density(prior, lenses, SURVEY, (THETA_E, *_PLACES))).mean())


def population_weights(drawn: Drawn, lenses: TrueLenses, params: LensParams) -> Floats:
    """Weight of each injection: density of the lenses over that of the grid, with its Einstein radii and cells."""
    return source_weights(drawn, lenses, params) * _cell_factor(drawn, lenses, params)


def source_weights(drawn: Drawn, lenses: TrueLenses, params: LensParams) -> Floats:
    """The same for given Einstein radii, seeing and depth."""
    rows, held = drawn.rows, {name: _floats(drawn.rows, name) for name in _NEEDED}
    proposal = log_density(drawn.prior, rows, SURVEY, (THETA_E, *_PLACES)) - _ANGLES
    target = source_density(held) * magnitude_density(params, _snr_g(drawn, lenses)) * (held["src_clumps"] == 0)
    target = target * _axis_ratio_density(held["lens_q"], lenses.truth["lens_q"].to_numpy())
    return np.asarray(target * np.exp(-proposal))


_NEEDED = (
    *("src_beta_frac", "src_re_arcsec", "src_n", "src_q", "src_clumps", "src_g_minus_r", "src_r_minus_z"),
    *("lens_q", "lens_gamma1", "lens_gamma2"),
)


def _floats(rows: pa.Table, name: str) -> Floats:
    return rows[name].to_numpy(zero_copy_only=False).astype(np.float64)


def _snr_g(drawn: Drawn, lenses: TrueLenses) -> Floats:
    """Arc signal-to-noise ratio in g: that in r, changed by colour, noise and PSF (as in the median lens)."""
    sigma = drawn.hosts.pixel_sigma_nmgy[drawn.hosts.rows_of(drawn.rows["galaxy_id"].to_pylist())]
    flux, truth = {band: _floats(drawn.rows, f"arc_flux_{band}_nmgy") for band in "gr"}, lenses.truth
    of_lenses = truth["arc_snr_g"] / truth["arc_snr_r"] * truth["pixel_sigma_nmgy_g"] / truth["pixel_sigma_nmgy_r"]
    by_psf = float(np.median(of_lenses / (truth["arc_flux_g_nmgy"] / truth["arc_flux_r_nmgy"])))
    return _floats(drawn.rows, "arc_snr") * flux["g"] / flux["r"] * sigma[:, 1] / sigma[:, 0] * by_psf


def _axis_ratio_density(values: Floats, of_lenses: Floats) -> Floats:
    edges = np.asarray(AXIS_RATIO_EDGES)
    share = np.histogram(of_lenses, bins=edges)[0] / len(of_lenses) / np.diff(edges)
    return np.asarray(share[np.clip(np.digitize(values, edges) - 1, 0, len(share) - 1)])


def _cell_factor(drawn: Drawn, lenses: TrueLenses, params: LensParams) -> Floats:
    """Share of lenses in each injection's cell of seeing and depth and, in its own seeing, with its Einstein radius,
    over the shares of injections."""
    frame = drawn.rows.select(["psf_index", "depth_index", "theta_e_index", "galaxy_id"]).to_pandas()
    band, grid = SURVEY.reference_band, drawn.grid
    width, depth = (lenses.truth[f"{kind}_{band}"].to_numpy() for kind in ("psfsize", "psfdepth"))
    edges = grid.psf_fwhm_nea_edges_arcsec, grid.depth_edges_mag
    sky = np.histogram2d(width, depth_mag_from_psfdepth(depth), bins=edges)[0]
    of_cell = sky[frame["psf_index"], frame["depth_index"]] / sky.sum()
    own = drawn.hosts.fwhm_nea_arcsec[drawn.hosts.rows_of(frame["galaxy_id"].tolist()), SURVEY.reference]
    ends = _ends(np.asarray(grid.theta_e_arcsec))
    place = frame["theta_e_index"].to_numpy()
    of_radius = theta_e_share(params, own, ends[place], ends[place + 1])
    held = frame.groupby(["psf_index", "depth_index", "theta_e_index"])["galaxy_id"].transform("size")
    return np.asarray(of_cell * of_radius * len(frame) / held)


def _ends(radii: Floats) -> Floats:
    """Ends of the ranges that Einstein radii stand for, half-way to their neighbours."""
    if len(radii) == 1:
        return np.array([0.0, np.inf])
    inner = (radii[1:] + radii[:-1]) / 2.0
    return np.array([1.5 * radii[0] - 0.5 * radii[1], *inner, 1.5 * radii[-1] - 0.5 * radii[-2]])


def balanced(rows: pa.Table) -> pd.DataFrame:
    """What lenses and injections weighted to them must have in common, as columns `population/<column>`."""
    found = {"log_theta_e": np.log(_floats(rows, THETA_E))} | {name: _floats(rows, name) for name in _BALANCED}
    return pd.DataFrame(found).add_prefix("population/")


def as_frame(drawn: Drawn, probability: Floats, weight: Floats, host_weights: dict[str, Floats]) -> pd.DataFrame:
    """The link's rows: `host`, `probability`, `weight`, a column per host weighting, and what is balanced; only rows
    with a weight."""
    ids = drawn.rows["galaxy_id"].to_pylist()
    place = drawn.hosts.rows_of(ids)
    frame = pd.DataFrame({"host": ids, "probability": probability, "weight": weight})
    frame = frame.assign(**{name: values[place] for name, values in host_weights.items()})
    frame = pd.concat([frame, balanced(drawn.rows)], axis=1)
    return frame[frame["weight"] > 0].reset_index(drop=True)
