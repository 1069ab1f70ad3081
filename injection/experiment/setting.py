"""The setting of injections: draws their parameters and pixels, for the grid and for all pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from injection.config import GridParams
from injection.engine.render import Arcs, render_arcs
from injection.engine.tracing import Images, SourceModel
from injection.experiment.conditioning import follow_hosts, suppress_core
from injection.experiment.hostset import HostSet
from injection.experiment.measure import Sky, measure, sigma_from_annulus
from injection.galaxies.models import source_model
from injection.optics.noise import add_poisson, add_sky
from injection.optics.psf import Psf
from injection.priors.prior import AnyPrior, Mixture, Prior
from injection.priors.registry import by_component, draw, load_prior, log_density
from injection.priors.reweighting import not_of_prior
from lake.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """Pixels (batch, band, y, x) nMgy of a batch of injections, and their parts."""

    rows: pa.Table
    arcs: Arcs
    """Light of the arcs without noise, after core suppression"""
    hosts: Images
    """Hosts as loaded"""
    bare: Images
    """Hosts with added sky noise, if any"""
    images: Images
    """The same plus the arcs with their own noise: the stamps that are scored"""
    usable: NDArray[np.bool_]
    """(batch, y, x) pixels that are not masked"""
    psf: Psf
    sky: Sky
    reasons: list[str | None]
    """Why an injection failed; its image is then the bare host. None if it did not fail"""

    @property
    def added(self) -> Images:
        """The arcs with their noise: the difference of ``images`` and ``bare``."""
        return self.images - self.bare


@dataclass(frozen=True)
class Setting:
    """All that injections are made from; a plan adds the rows."""

    grid: GridParams
    hosts: HostSet
    sources: SourceModel
    seed: int

    @classmethod
    def of(cls, grid: GridParams, hosts: HostSet, seed: int) -> Setting:
        """The setting with the source model named in the parameters."""
        return cls(grid, hosts, source_model(grid), seed)

    @property
    def prior(self) -> AnyPrior:
        return load_prior(self.grid.prior)

    def parameters(self, rows: pa.Table) -> pa.Table:
        """Drawn ``lens_*`` and ``src_*`` parameters, one row each; a row does not depend on the others.

        ``rows`` have ``injection_id`` and the ``galaxy_id`` of the host. Columns of the prior's ``direct`` fix those
        parameters; ``sobol_place`` is the place in the sequence if the grid draws along one.
        """
        if isinstance(self.prior, Prior):
            return self._parameters(self.prior, rows)
        mixture, ids = self.prior, rows["injection_id"].combine_chunks()
        drawn = by_component(
            mixture, ids, self.seed, lambda one, places: self._parameters(one, rows.take(pa.array(places)))
        )
        return self._of_mixture(mixture, drawn, self._fixed(rows))

    def _parameters(self, prior: Prior, rows: pa.Table) -> pa.Table:
        imaging = self.hosts.imaging
        ids, galaxies = (rows[name].combine_chunks() for name in ("injection_id", "galaxy_id"))
        fixed = {name: rows[name].to_numpy() for name in self._fixed(rows)}
        along = self.grid.drawing == "sobol" and "sobol_place" in rows.column_names
        places = rows["sobol_place"].to_numpy() if along else None
        drawn = draw(prior, ids, self.seed, imaging, fixed, places)
        drawn = self.sources.draw(drawn, prior, self.seed)
        if self.grid.lens_shape == "conditioned":
            shapes = self.hosts.shapes(self.hosts.rows_of(galaxies.to_pylist()))
            drawn = follow_hosts(drawn, prior, shapes, self.seed)
        return drawn.append_column("galaxy_id", galaxies)

    def _fixed(self, rows: pa.Table) -> tuple[str, ...]:
        """Parameters that are given in the rows."""
        return tuple(name for name in self.prior.direct(self.hosts.imaging) if name in rows.column_names)

    def _of_mixture(self, mixture: Mixture, drawn: pa.Table, fixed: tuple[str, ...]) -> pa.Table:
        """Rows with the mixture's density instead of that of the prior that each was drawn from.

        A row that this prior cannot give, as a source model changed it, keeps the density that the model gave it.
        """
        others = (*fixed, *not_of_prior(self.grid, self.hosts.imaging))
        parts = [log_density(one, drawn, self.hosts.imaging, others) for one in mixture.priors]
        own = np.choose(mixture.chosen(drawn["injection_id"].combine_chunks(), self.seed), parts)
        whole = log_density(mixture, drawn, self.hosts.imaging, others)
        change = np.subtract(whole, own, out=np.zeros_like(own), where=np.isfinite(own))
        changed = pa.array(drawn["log_prior"].to_numpy() + change)
        return drawn.set_column(drawn.column_names.index("log_prior"), "log_prior", changed)

    def draw(self, rows: pa.Table, stamps: Images | None = None) -> Drawn:
        """Pixels of drawn rows, with the core suppression and the noise of the grid.

        The pixels of a row depend only on the row, its host and the seed: rows stored by the grid give the pixels that
        were scored, bit for bit. ``stamps`` are those of the hosts (batch, band, y, x) if loaded.
        """
        grid, ids = self.grid, rows["injection_id"].combine_chunks()
        galaxies = rows["galaxy_id"].to_pylist()
        stamps = self.hosts.load(galaxies) if stamps is None else stamps
        places = self.hosts.rows_of(galaxies)
        psf, by_depth = self.hosts.psf(places, grid), self.hosts.pixel_sigma_nmgy[places]
        arcs = render_arcs(rows, psf, stamps.shape[-1], grid.quadrature, grid.threads, self.sources)
        if grid.core_suppression_radius_arcsec is not None:
            scale = self.hosts.imaging.pixel_scale_arcsec
            arcs = replace(arcs, images=suppress_core(arcs.images, rows, grid.core_suppression_radius_arcsec, scale))
        usable = np.all(np.isfinite(stamps), axis=1)
        by_host = [sigma_from_annulus(stamps[:, band], usable, *grid.sky_annulus_px) for band in self._annulus_bands]
        reference = self.hosts.imaging.reference
        sky = Sky(by_depth[:, reference], by_host[self._annulus_bands.index(reference)])
        reasons, bare, light = list(arcs.reasons), stamps, arcs.images
        if grid.poisson_gain_e_per_nmgy is not None:
            light = add_poisson(light, grid.poisson_gain_e_per_nmgy, self.seed, ids)
        if grid.sky_noise != "none":
            sigma = by_depth if grid.sky_noise == "psfdepth" else np.stack(by_host, axis=1)
            bare = add_sky(stamps, _known(sigma, reasons), self.seed, ids)
        return Drawn(rows, arcs, stamps, bare, bare + light, usable, psf, sky, reasons)

    @property
    def _annulus_bands(self) -> list[int]:
        """Bands in which the noise of the host is measured: the reference band; all if that noise is to be added."""
        imaging = self.hosts.imaging
        return list(range(len(imaging.bands))) if self.grid.sky_noise == "annulus" else [imaging.reference]

    def again(self, rows: pa.Table) -> Drawn:
        """Stored rows drawn again; DataError if one fails, because all stored rows were scored."""
        drawn = self.draw(rows)
        failed = [reason for reason in drawn.reasons if reason is not None]
        if failed:
            raise DataError(f"{len(failed)} stored injections cannot be drawn again, first: {failed[0]}")
        return drawn

    def measured(self, drawn: Drawn) -> dict[str, Any]:
        """Columns of ``injection.experiment.measure.measure``, one value per injection."""
        cuts = self.grid.detectability
        return measure(drawn.rows, drawn.arcs, drawn.hosts, drawn.usable, drawn.psf, drawn.sky, cuts)


def _known(sigma: Array, reasons: list[str | None]) -> Array:
    """Sky noise (batch, band); zero in rows that fail because it is unknown."""
    for index in np.flatnonzero(~np.isfinite(sigma).all(axis=1)):
        reasons[index] = (
            reasons[index] or f"the host's sky noise is unknown in at least one band: {sigma[index].tolist()}"
        )
    return np.nan_to_num(sigma)
