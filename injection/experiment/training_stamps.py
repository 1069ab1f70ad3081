"""Lenses of simulated training stamps: drawn for planned configurations, and rendered into their hosts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from injection.config import StampRendering, StampSet
from injection.engine.render import render_arcs
from injection.engine.tracing import PARAMETRIC, Images, SourceModel
from injection.experiment.measure import Hosts, measure_arcs
from injection.galaxies.banks import load_bank
from injection.galaxies.realsources import BankSources
from injection.keyed import Keyed
from injection.optics.noise import add_poisson
from injection.optics.psf import Psf
from injection.priors.prior import Prior
from injection.priors.registry import draw, load_prior
from lake.errors import DataError, invalid
from lake.sky.imaging import Imaging
from lake.sky.photometry import sigma_from_psfdepth

Array = NDArray[np.float64]

_KEPT = (
    "lens_q", "lens_pa_rad", "lens_x_arcsec", "lens_y_arcsec", "lens_gamma1", "lens_gamma2", "src_model",
    "src_x_arcsec", "src_y_arcsec", "src_pa_rad", "src_stamp_id",
)  # fmt: skip
"""Drawn parameters that are kept, besides the source's light."""
_PLANNED = ("theta_e_arcsec", "src_dmag", "src_re_arcsec", "src_e", "shear", "x_offset_px", "y_offset_px")


def source_model(rendering: StampRendering, chosen: StampSet) -> SourceModel:
    """The sources of a set."""
    if chosen.sources == "sersic":
        return PARAMETRIC
    bank = rendering.bank
    if not Path(bank.path).exists():
        raise DataError(f"{bank.path} is missing: `dhs bank build` makes it from real galaxies")
    return BankSources(load_bank(bank), bank.max_pixel_arcsec, bank.catalogue_colours, bank.path)


def prior_of_lenses(rendering: StampRendering) -> Prior:
    """What the lenses are drawn from; a mixture is refused."""
    prior = load_prior(rendering.prior)
    if not isinstance(prior, Prior):
        raise invalid("stamps.rendering.prior", "one prior, not a mixture", rendering.prior)
    return prior


@dataclass(frozen=True)
class StampRenderer:
    """Draws and renders the lenses of planned stamps.

    A lens depends on its ``stamp_id``, its configuration, its host and the seed alone: it is the same in any batch, and
    the same lens in every set of a plan.
    """

    rendering: StampRendering
    prior: Prior
    psf_model: str
    sources: SourceModel
    seed: int
    imaging: Imaging

    def __call__(
        self, rows: pa.Table, hosts: Images, usable: NDArray[np.bool_], of: NDArray[np.int64]
    ) -> tuple[Images, pa.Table, list[str | None]]:
        """Stamps (lens, band, y, x) of planned rows, their drawn and measured columns, and why lenses failed.

        ``hosts`` (host, band, y, x) are nMgy, ``usable`` (host, y, x); ``of`` is the place of each lens's host. Rows
        are those of ``injection_manifest`` with ``x_offset_px``, ``y_offset_px``: the host from the central pixel,
        side // 2.
        """
        side = hosts.shape[-1]
        drawn = self.parameters(rows, side)
        psf = self.psf(rows)
        arcs = render_arcs(drawn, psf, side, self.rendering.quadrature, 1, self.sources)
        light, gain = arcs.images, self.rendering.poisson_gain_e_per_nmgy
        if gain is not None:
            light = add_poisson(light, gain, self.seed, drawn["injection_id"].combine_chunks())
        kept = {name: drawn[name] for name in (*_KEPT, *self.imaging.source_columns)}
        measured = measure_arcs(drawn, arcs, Hosts(hosts, usable, of), psf, self._sigma(rows))
        _add_hosts(light, hosts, of)
        return light, pa.table({**kept, **measured}), arcs.reasons

    def parameters(self, rows: pa.Table, side: int) -> pa.Table:
        """Drawn ``lens_*`` and ``src_*`` parameters; the lens's centre scatters about its host."""
        ids = rows["stamp_id"].combine_chunks()
        value = {name: _floats(rows, name) for name in _PLANNED}
        prior = self.prior
        fixed = {
            "lens_theta_e_arcsec": value["theta_e_arcsec"],
            self.imaging.source_columns[0]: _floats(rows, f"mag_{self.imaging.reference_band}") + value["src_dmag"],
            "src_re_arcsec": value["src_re_arcsec"],
            "src_n": np.full(len(ids), self.rendering.src_n),
            "src_q": (1.0 - value["src_e"]) / (1.0 + value["src_e"]),
        }
        drawn = self.sources.draw(draw(prior, ids, self.seed, self.imaging, fixed), prior, self.seed)
        turn = 2.0 * np.pi * (Keyed(self.seed, ids).uniform("shear_pa_rad") - 0.5)
        changed = {"lens_gamma1": value["shear"] * np.cos(turn), "lens_gamma2": value["shear"] * np.sin(turn)}
        middle = side // 2 - (side - 1) / 2
        for axis in "xy":
            place = self.imaging.pixel_scale_arcsec * (middle + value[f"{axis}_offset_px"])
            for what in ("lens", "src"):
                name = f"{what}_{axis}_arcsec"
                changed[name] = _floats(drawn, name) + place
        for name, values in changed.items():
            drawn = drawn.set_column(drawn.column_names.index(name), name, pa.array(values))
        return drawn

    def psf(self, rows: pa.Table) -> Psf:
        """PSFs of the hosts: the set's profile with the noise-equivalent area of each band's psfsize."""
        widths = np.stack([_floats(rows, name) for name in self.imaging.psf_columns], axis=1)
        beta = self.rendering.psf_moffat_beta if self.psf_model == "moffat" else np.inf
        return Psf.of_area(widths, beta, self.rendering.psf_includes_pixel, self.imaging)

    def _sigma(self, rows: pa.Table) -> Array:
        """Noise per pixel (lens,) in the reference band, from the depth."""
        band = self.imaging.reference
        depth, width = (_floats(rows, names[band]) for names in (self.imaging.noise_columns, self.imaging.psf_columns))
        return sigma_from_psfdepth(depth, width, self.imaging.pixel_scale_arcsec)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_hosts(light: Any, hosts: Any, of: Any) -> None:
    """Add hosts to the light of their lenses, without a copy of each: copies would take a twentieth of the time."""
    for lens in range(len(of)):
        light[lens] += hosts[of[lens]]


def _floats(rows: pa.Table, name: str) -> Array:
    return np.asarray(rows[name].to_numpy(zero_copy_only=False), dtype=np.float64)
