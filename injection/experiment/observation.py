"""What a finder is shown of an injection: host and arc, with the suppression and noise that the grid asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from injection.config import GridParams
from injection.device import Pixels, like
from injection.engine.render import Arcs, Images, Sources, render_arcs
from injection.experiment.conditioning import suppress_core
from injection.experiment.measure import R_BAND, Sky, sigma_from_annulus
from injection.optics.noise import add_poisson, add_sky
from injection.optics.psf import Psf
from lake.sky.survey import BANDS

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """A batch of injections as a finder is shown them, and what they are made of."""

    arcs: Arcs
    """Light of the arcs without noise, the core suppressed"""
    hosts: Pixels
    """(batch, band, y, x) nMgy, as they were loaded"""
    bare: Pixels
    """The hosts with the sky noise that is added to them"""
    images: Pixels
    """The same with the arcs and their own noise"""
    usable: Pixels
    """(batch, y, x) pixels that are not masked"""
    sky: Sky
    reasons: list[str | None]
    """Why a row failed; None where it did not"""


def see(
    grid: GridParams, sources: Sources, drawn: pa.Table, stamps: Images, conditions: tuple[Psf, Array], seed: int
) -> Seen:
    """Drawn rows in their hosts' stamps; ``conditions``: their PSFs and their depth's pixel noise (batch, band)."""
    psf, by_depth = conditions
    arcs = render_arcs(drawn, psf, stamps.shape[-1], grid.quadrature, grid.threads, sources, grid.device)
    if grid.core_suppression_radius_arcsec is not None:
        arcs = replace(arcs, images=suppress_core(arcs.images, drawn, grid.core_suppression_radius_arcsec))
    hosts = like(stamps, arcs.images)
    usable = (abs(hosts) < np.inf).all(1)
    by_host = [sigma_from_annulus(hosts[:, band], usable, *grid.sky_annulus_px) for band in _annulus_bands(grid)]
    sky = Sky(by_depth[:, R_BAND], by_host[R_BAND if len(by_host) > 1 else 0])
    reasons, bare, light = list(arcs.reasons), hosts, arcs.images
    ids = drawn.column("injection_id").combine_chunks()
    if grid.poisson_gain_e_per_nmgy is not None:
        light = add_poisson(light, grid.poisson_gain_e_per_nmgy, seed, ids)
    if grid.sky_noise != "none":
        sigma = by_depth if grid.sky_noise == "psfdepth" else np.stack(by_host, axis=1)
        bare = add_sky(hosts, _known(sigma, reasons), seed, ids)
    return Seen(arcs, hosts, bare, bare + light, usable, sky, reasons)


def _annulus_bands(grid: GridParams) -> list[int]:
    """Bands whose noise is measured on the host: r, and all where that noise is to be added."""
    return list(range(len(BANDS))) if grid.sky_noise == "annulus" else [R_BAND]


def _known(sigma: Array, reasons: list[str | None]) -> Array:
    """Sky noise (batch, band), zero in rows that fail for having none."""
    for index in np.flatnonzero(~np.isfinite(sigma).all(axis=1)):
        reasons[index] = reasons[index] or f"the host's sky noise is not known in every band: {sigma[index].tolist()}"
    return np.nan_to_num(sigma)
