"""Parametric sources: an elliptical Sersic profile, with up to three round clumps that share its flux.

``re_arcsec`` is the half-light radius on the intermediate axis, ``R = sqrt(q u^2 + v^2 / q)`` with (u, v) along the
light's major and minor axis (lenstronomy's convention; galfit, Tractor and caustics give the major axis). Fluxes are
*unlensed*: the profile integrates to one over the whole source plane, and lensing magnifies it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv, gammaln

from injection.scene.lens import rotated
from lake.sky.imaging import Imaging
from lake.sky.photometry import flux_from_magnitude

Array = NDArray[np.float64]

MAX_CLUMPS = 3
CLUMP_SERSIC_N = 0.5
"""Clumps are round Gaussians: Sersic profiles of index 1/2."""


def b_n(n: ArrayLike) -> Array:
    """The exact ``b_n`` that makes R_e the half-light radius: ``P(2n, b_n) = 1/2``."""
    return gammaincinv(2.0 * np.asarray(n, dtype=np.float64), 0.5)


def total_flux(n: ArrayLike, q: ArrayLike, re_major_arcsec: ArrayLike) -> Array:
    """Flux of a profile with ``I(R_e) = 1``: ``2 pi n q Re^2 e^b b^{-2n} Gamma(2n)``, Re on the major axis."""
    n = np.asarray(n, dtype=np.float64)
    b = b_n(n)
    return (
        2.0
        * np.pi
        * n
        * np.asarray(q)
        * np.square(re_major_arcsec)
        * np.exp(b - 2.0 * n * np.log(b) + gammaln(2.0 * n))
    )


def radius_of_fraction(n: ArrayLike, fraction: ArrayLike) -> Array:
    """Radius, in units of R_e, that encloses a fraction of the total flux."""
    n = np.asarray(n, dtype=np.float64)
    return (gammaincinv(2.0 * n, fraction) / b_n(n)) ** n


@dataclass(frozen=True)
class Components:
    """Sersic components (batch, part) that make up sources of unit flux; a fraction of 0 means an absent part."""

    fraction: Array
    x_arcsec: Array
    y_arcsec: Array
    re_arcsec: Array
    n: Array
    q: Array
    pa_rad: Array

    @property
    def shape(self) -> tuple[int, int]:
        return (self.fraction.shape[0], self.fraction.shape[1])

    def central_brightness(self) -> Array:
        """Surface brightness at each component's centre, per arcsec^2 for a source of unit flux."""
        return self.fraction * np.exp(b_n(self.n)) / total_flux(self.n, 1.0, self.re_arcsec)

    def brightness(self, x: ArrayLike, y: ArrayLike, row: int) -> Array:
        """Surface brightness (per arcsec^2) of the source of one row at source-plane positions (arcsec)."""
        total = np.zeros(np.broadcast(x, y).shape)
        centre, b = self.central_brightness()[row], b_n(self.n[row])
        for k in np.flatnonzero(self.fraction[row] > 0):
            dx, dy = np.asarray(x) - self.x_arcsec[row, k], np.asarray(y) - self.y_arcsec[row, k]
            u, v = rotated(dx, dy, self.pa_rad[row, k])
            radius = np.sqrt(self.q[row, k] * u * u + v * v / self.q[row, k]) / self.re_arcsec[row, k]
            total += centre[k] * np.exp(-b[k] * radius ** (1.0 / self.n[row, k]))
        return total


def band_fluxes(rows: pa.Table, imaging: Imaging) -> Array:
    """Unlensed source flux (batch, band) in nMgy, from the columns ``imaging.source_columns``."""
    magnitude, *colours = (rows.column(name).to_numpy().astype(np.float64) for name in imaging.source_columns)
    found = {imaging.reference: magnitude}
    for band in range(imaging.reference, 0, -1):
        found[band - 1] = found[band] + colours[band - 1]
    for band in range(imaging.reference, len(colours)):
        found[band + 1] = found[band] - colours[band]
    return flux_from_magnitude(np.stack([found[band] for band in range(len(imaging.bands))], axis=1))


def components(rows: pa.Table) -> Components:
    """Components of drawn rows (``sersic`` and ``sersic_clumps``), in absolute source-plane positions."""

    def column(name: str) -> Array:
        return rows.column(name).to_numpy(zero_copy_only=False).astype(np.float64)

    shape = (rows.num_rows, 1 + MAX_CLUMPS)
    count, share = column("src_clumps"), column("src_clump_fraction")
    fraction = np.zeros(shape)
    fraction[:, 0] = np.where(count > 0, 1.0 - share, 1.0)
    values = {name: np.ones(shape) for name in ("re", "q")}
    x, y = np.zeros(shape), np.zeros(shape)
    n, angle = np.full(shape, CLUMP_SERSIC_N), np.zeros(shape)
    x[:, 0], y[:, 0] = column("src_x_arcsec"), column("src_y_arcsec")
    values["re"][:, 0], n[:, 0] = column("src_re_arcsec"), column("src_n")
    values["q"][:, 0], angle[:, 0] = column("src_q"), column("src_pa_rad")
    for k in range(1, 1 + MAX_CLUMPS):
        present = count >= k
        fraction[:, k] = np.where(present, share / np.maximum(count, 1.0), 0.0)
        x[:, k] = np.where(present, x[:, 0] + column(f"src_clump{k}_x_arcsec"), 0.0)
        y[:, k] = np.where(present, y[:, 0] + column(f"src_clump{k}_y_arcsec"), 0.0)
        values["re"][:, k] = np.where(present, column(f"src_clump{k}_re_arcsec"), 1.0)
    return Components(fraction, x, y, values["re"], n, values["q"], angle)
