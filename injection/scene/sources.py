"""Parametric sources: an elliptical Sersic profile, of which up to three round clumps may take part of the flux.

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
    """The exact ``b_n`` for which R_e is the half-light radius: ``P(2n, b_n) = 1/2``."""
    return gammaincinv(2.0 * np.asarray(n, dtype=np.float64), 0.5)


def total_flux(n: ArrayLike, q: ArrayLike, re_major_arcsec: ArrayLike) -> Array:
    """Flux of a profile with ``I(R_e) = 1``: ``2 pi n q Re^2 e^b b^{-2n} Gamma(2n)``, Re on the major axis."""
    n, b = np.asarray(n, dtype=np.float64), b_n(n)
    area = 2.0 * np.pi * n * np.asarray(q) * np.square(re_major_arcsec)
    return area * np.exp(b - 2.0 * n * np.log(b) + gammaln(2.0 * n))


def radius_of_fraction(n: ArrayLike, fraction: ArrayLike) -> Array:
    """Radius, in units of R_e, that encloses a fraction of the total flux."""
    n = np.asarray(n, dtype=np.float64)
    return (gammaincinv(2.0 * n, fraction) / b_n(n)) ** n


@dataclass(frozen=True)
class Components:
    """Sersic components (batch, part) of sources of unit flux; a part with a fraction of 0 is absent."""

    fraction: Array
    x_arcsec: Array
    y_arcsec: Array
    re_arcsec: Array
    n: Array
    q: Array
    pa_rad: Array

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

    count, share = column("src_clumps"), column("src_clump_fraction")
    names = ("x_arcsec", "y_arcsec", "re_arcsec", "n", "q", "pa_rad")
    main = [column(f"src_{name}") for name in names]
    parts = [(np.where(count > 0, 1.0 - share, 1.0), *main)]
    for k in range(1, 1 + MAX_CLUMPS):
        present = count >= k
        clump_x, clump_y, size = (column(f"src_clump{k}_{name}_arcsec") for name in ("x", "y", "re"))
        fraction = np.where(present, share / np.maximum(count, 1.0), 0.0)
        x, y = np.where(present, main[0] + clump_x, 0.0), np.where(present, main[1] + clump_y, 0.0)
        n, q, angle = (np.full_like(share, value) for value in (CLUMP_SERSIC_N, 1.0, 0.0))
        parts.append((fraction, x, y, np.where(present, size, 1.0), n, q, angle))
    return Components(*(np.stack(values, axis=1) for values in zip(*parts, strict=True)))
