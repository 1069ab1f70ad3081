"""Lens shapes that follow the catalogue shapes of the hosts, and core suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from injection.engine.tracing import Images
from injection.keyed import Keyed
from injection.priors.prior import Prior

Array = NDArray[np.float64]

Q_SCATTER = 0.05
Q_RANGE = (0.5, 1.0)
SHEAR_MAX = 0.08
"""The reference's: q = clip(q_host + N(0, 0.05), 0.5, 1), position angle of the host, shear U(0, 0.08)."""


def catalogue_shapes(shape_e1: ArrayLike, shape_e2: ArrayLike) -> tuple[Array, Array]:
    """Axis ratio and position angle, in the frame of the stamp, from the survey's ellipticities; NaN if unknown.

    In Tractor, ``|e| = (a - b) / (a + b)``, position angle ``atan2(e2, e1) / 2`` from north through east. A stamp's x
    runs along -RA and its y along Dec, so its angles, from +x counter-clockwise, are 90 degrees more.
    """
    e1, e2 = (np.asarray(value, dtype=np.float64) for value in (shape_e1, shape_e2))
    e = np.hypot(e1, e2)
    q = (1.0 - e) / (1.0 + e)
    known = np.isfinite(q) & (q > 0.0)
    return np.where(known, q, np.nan), np.where(known, 0.5 * np.pi + 0.5 * np.arctan2(e2, e1), np.nan)


def follow_hosts(rows: pa.Table, prior: Prior, shapes: tuple[Array, Array], seed: int) -> pa.Table:
    """Drawn rows with the axis ratio, position angle and shear of a lens that is shaped like its host.

    ``shapes`` are axis ratios and position angles of the hosts, see :func:`catalogue_shapes`; a round host has no
    angle, and its lens keeps the drawn one. Those three parameters do not come from the prior, so
    ``log_prior`` is without their terms.
    """
    keyed = Keyed(seed, rows.column("injection_id").combine_chunks())
    q_host, angle = shapes
    q = np.clip(q_host + Q_SCATTER * ndtri(keyed.uniform("im2_lens_q")), *Q_RANGE)
    shear, turn = SHEAR_MAX * keyed.uniform("im2_shear"), np.pi * (keyed.uniform("im2_shear_pa_rad") - 0.5)
    modulus = np.hypot(*(rows.column(f"lens_gamma{k}").to_numpy() for k in (1, 2)))
    given = prior.lens_q.log_density(rows.column("lens_q").to_numpy()) + prior.shear.log_density(modulus)
    changes: dict[str, Any] = {
        "lens_q": q,
        "lens_pa_rad": np.where(q_host < 1.0, angle, rows.column("lens_pa_rad").to_numpy()),
        "lens_gamma1": shear * np.cos(2 * turn),
        "lens_gamma2": shear * np.sin(2 * turn),
        "log_prior": rows.column("log_prior").to_numpy() - given + 2.0 * np.log(np.pi),
    }
    for name, values in changes.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows


def suppress_core(arcs: Images, rows: pa.Table, radius_arcsec: float, pixel_scale_arcsec: float) -> Images:
    """Arcs with zero light in pixels whose centre is within ``radius_arcsec`` of the lens's centre."""
    half = (arcs.shape[-1] - 1) / 2
    y, x = (grid * pixel_scale_arcsec for grid in np.mgrid[-half : half + 1, -half : half + 1])
    centre_x, centre_y = (rows.column(f"lens_{axis}_arcsec").to_numpy()[:, None, None] for axis in "xy")
    outside = np.hypot(x - centre_x, y - centre_y) >= radius_arcsec
    return arcs * outside[:, None]
