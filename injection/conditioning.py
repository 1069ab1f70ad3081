"""IM2: the lens's shape follows its host's light, measured on the cut-out itself; and core suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtri

from injection.device import Pixels, on_device
from injection.keyed import Keyed
from injection.priors import Prior
from injection.render import Images
from lake.survey import BANDS, PIXEL_SCALE_ARCSEC

Array = NDArray[np.float64]

Q_SCATTER = 0.05
Q_RANGE = (0.5, 1.0)
SHEAR_MAX = 0.08
"""IM2 of the reference: q = clip(q_host + N(0, 0.05), 0.5, 1), position angle of the host, shear U(0, 0.08)."""
_WINDOW_ARCSEC = 3.0


def host_shapes(hosts: Images) -> tuple[Array, Array]:
    """Axis ratio and position angle (batch,) of hosts from r-band second moments.

    Moments are weighted by a round Gaussian of 3 arcsec (sigma 1.5) about the stamp's centre and corrected for that
    weight's own size; pixels that are not finite count as sky. They see the PSF too, so that axis ratios are those of
    the observed light. A host without signal is round.
    """
    light = np.nan_to_num(hosts[:, BANDS.index("r")].astype(np.float64))
    light = light - np.median(light, axis=(1, 2), keepdims=True)
    half = (hosts.shape[-1] - 1) / 2
    y, x = (grid * PIXEL_SCALE_ARCSEC for grid in np.mgrid[-half : half + 1, -half : half + 1])
    width2 = (_WINDOW_ARCSEC / 2.0) ** 2
    weighted = light * np.exp(-0.5 * (x**2 + y**2) / width2)
    total = weighted.sum(axis=(1, 2))
    known = total > 0
    safe = np.where(known, total, 1.0)
    xx, yy, xy = ((weighted * product).sum(axis=(1, 2)) / safe for product in (x * x, y * y, x * y))
    mean, plus, cross = 0.5 * (xx + yy), 0.5 * (xx - yy), xy
    spread = np.hypot(plus, cross)
    long, short = (np.clip(value, 1e-3, 0.95 * width2) for value in (mean + spread, mean - spread))
    long, short = (value / (1.0 - value / width2) for value in (long, short))
    return np.where(known, np.sqrt(short / long), 1.0), np.where(known, 0.5 * np.arctan2(cross, plus), 0.0)


def follow_hosts(rows: pa.Table, prior: Prior, hosts: Images, seed: int) -> pa.Table:
    """Drawn rows with the lens's axis ratio, position angle and shear of IM2.

    What the host gives is no part of the prior: ``log_prior`` loses the terms of those three.
    """
    keyed = Keyed(seed, rows.column("injection_id").combine_chunks())
    q_host, angle = host_shapes(hosts)
    q = np.clip(q_host + Q_SCATTER * ndtri(keyed.uniform("im2_lens_q")), *Q_RANGE)
    shear, turn = SHEAR_MAX * keyed.uniform("im2_shear"), np.pi * (keyed.uniform("im2_shear_pa_rad") - 0.5)
    modulus = np.hypot(*(rows.column(f"lens_gamma{k}").to_numpy() for k in (1, 2)))
    given = prior.lens_q.log_density(rows.column("lens_q").to_numpy()) + prior.shear.log_density(modulus)
    changes: dict[str, Any] = {
        "lens_q": q,
        "lens_pa_rad": angle,
        "lens_gamma1": shear * np.cos(2 * turn),
        "lens_gamma2": shear * np.sin(2 * turn),
        "log_prior": rows.column("log_prior").to_numpy() - given + 2.0 * np.log(np.pi),
    }
    for name, values in changes.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows


def suppress_core(arcs: Pixels, rows: pa.Table, radius_arcsec: float) -> Pixels:
    """Arcs without the light of pixels whose centre is within ``radius_arcsec`` of the lens's centre."""
    if on_device(arcs):
        from injection._torch import measure as torched

        centres = np.stack([rows.column(f"lens_{axis}_arcsec").to_numpy() for axis in "xy"], axis=1)
        return torched.without_core(arcs, centres / PIXEL_SCALE_ARCSEC, radius_arcsec / PIXEL_SCALE_ARCSEC)
    half = (arcs.shape[-1] - 1) / 2
    y, x = (grid * PIXEL_SCALE_ARCSEC for grid in np.mgrid[-half : half + 1, -half : half + 1])
    centre_x, centre_y = (rows.column(f"lens_{axis}_arcsec").to_numpy()[:, None, None] for axis in "xy")
    outside = np.hypot(x - centre_x, y - centre_y) >= radius_arcsec
    return arcs * outside[:, None]
