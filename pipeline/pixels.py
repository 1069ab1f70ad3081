"""Pixels of injections from their parameters: the bare host, the arc, what a scorer sees, and what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from injection.conditioning import suppress_core
from injection.measure import R_BAND, Sky, measure, sigma_from_annulus, sigma_from_psfdepth
from injection.noise import add_poisson
from injection.render import render_arcs
from pipeline.injecting import Setting

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Pixels:
    """Stamps (batch, band, y, x) nMgy of a batch of injections."""

    hosts: Images
    arcs: Images
    """With Poisson noise and core suppression where the grid asks for them; zero where the injection failed"""
    measured: dict[str, Any]
    """Columns of ``injection.measure.measure``"""
    reasons: list[str | None]
    """Why an injection failed; None where it did not"""

    @property
    def seen(self) -> Images:
        """Hosts with arcs."""
        return self.hosts + self.arcs


def draw_pixels(rows: pa.Table, galaxy_ids: Sequence[str], setting: Setting) -> Pixels:
    """Render rows of drawn parameters into their hosts, as the grid's stream does with the same seed."""
    chosen, grid = setting.hosts, setting.grid
    index = chosen.hosts.rows_of(galaxy_ids)
    hosts = chosen.load(galaxy_ids)
    psf = chosen.hosts.psf(index, grid)
    arcs = render_arcs(rows, psf, hosts.shape[-1], grid.quadrature, grid.threads, setting.sources)
    if grid.core_suppression_radius_arcsec is not None:
        arcs = replace(arcs, images=suppress_core(arcs.images, rows, grid.core_suppression_radius_arcsec))
    usable = np.asarray(np.isfinite(hosts).all(axis=1))
    by_depth = sigma_from_psfdepth(chosen.hosts.psfdepth[index], psf)[:, R_BAND]
    sky = Sky(by_depth, sigma_from_annulus(hosts[:, R_BAND], usable, *grid.sky_annulus_px))
    measured = measure(rows, arcs, hosts, usable, psf, sky, grid.detectability)
    images = arcs.images
    if grid.poisson_gain_e_per_nmgy is not None:
        ids = rows.column("injection_id").combine_chunks()
        images = add_poisson(images, grid.poisson_gain_e_per_nmgy, setting.seed, ids)
    return Pixels(hosts, images, measured, arcs.reasons)
