"""Lenses and components of the public convention, packed into scenes for the backends. Private; see ``render``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from injection.scene.lens import Lens, largest_deflection, rotated
from injection.scene.sources import Components, b_n, radius_of_fraction

Array = NDArray[np.float64]

_FLATTEST = 1e-15
"""Smallest axis ratio with a square in float32; flatter lenses deflect by less than 1e-4 arcsec anyway."""
_MARGIN = 1.02
"""Safety factor on the radius within which a component can have images."""


LENS_FIELDS = ("strength", "one_minus_q2", "q2", "gamma_u", "gamma_v", "shear")
COMPONENT_FIELDS = ("u", "v", "auu", "auv", "avv", "power", "steepness", "amplitude", "scale", "cut", "sharpness")


class Scene(NamedTuple):
    """A batch of lenses and source components, packed for the backend; all float32 but the counts."""

    lenses: NDArray[np.float32]
    """(batch, LENS_FIELDS), in the lens's frame"""
    centres: NDArray[np.float32]
    """(batch, 2) lens centres x, y (arcsec)"""
    turns: NDArray[np.float32]
    """(batch, 2) cosine and sine of the lens's position angle"""
    parts: NDArray[np.float32]
    """(batch, component, COMPONENT_FIELDS)"""
    counts: NDArray[np.int64]
    """(batch,) components present"""
    reaches: NDArray[np.float32]
    """(batch, component) radius (arcsec) beyond which the component has no image"""
    scale: np.float32
    """pixel scale (arcsec)"""
    levels: int
    """most subdivisions of a pixel"""
    limits: NDArray[np.float32]
    """squared extents up to which one ray, and four rays, are enough; flux below which a cell is not refined"""


def lens_fields(lens: Lens) -> dict[str, NDArray[np.float32]]:
    """The lens arrays (batch, ...) of a :class:`Scene`."""
    shear_u, shear_v = rotated(lens.gamma1, lens.gamma2, 2.0 * lens.pa_rad)
    fields = {
        "strength": lens.theta_e_arcsec * np.sqrt(lens.q),
        "one_minus_q2": 1.0 - lens.q**2,
        "q2": np.maximum(lens.q, _FLATTEST) ** 2,
        "gamma_u": shear_u,
        "gamma_v": shear_v,
        "shear": np.hypot(shear_u, shear_v),
    }
    return {
        "lenses": np.stack([fields[name] for name in LENS_FIELDS], axis=1).astype(np.float32),
        "centres": np.stack([lens.x_arcsec, lens.y_arcsec], axis=1).astype(np.float32),
        "turns": np.stack([np.cos(lens.pa_rad), np.sin(lens.pa_rad)], axis=1).astype(np.float32),
    }


def scene(
    lens: Lens, parts: Components, pixel_scale_arcsec: float, levels: int, limits: Array, tail_fraction: float
) -> Scene:
    """The packed scene of a batch; ``limits`` as in :class:`Scene`, extents not yet squared.

    Components are cut at the radius beyond which ``tail_fraction`` of their flux lies. The reach follows from the
    largest deflection and the shear, plus a pixel, for those whose centre alone is farther away.
    """
    packed, cut = _components(lens, parts, tail_fraction)
    offset = np.hypot(packed[..., 0], packed[..., 1])
    deflected = largest_deflection(lens.theta_e_arcsec, lens.q)
    shear = np.hypot(lens.gamma1, lens.gamma2)
    reach = _MARGIN * (offset + cut + deflected[:, None]) / (1.0 - shear)[:, None] + pixel_scale_arcsec
    order = np.argsort(parts.fraction <= 0, axis=1, kind="stable")
    return Scene(
        **lens_fields(lens),
        parts=np.take_along_axis(packed, order[..., None], axis=1).astype(np.float32),
        counts=(parts.fraction > 0).sum(axis=1).astype(np.int64),
        reaches=np.take_along_axis(reach, order, axis=1).astype(np.float32),
        scale=np.float32(pixel_scale_arcsec),
        levels=levels,
        limits=np.array([limits[0] ** 2, limits[1] ** 2, limits[2]], dtype=np.float32),
    )


def _components(lens: Lens, parts: Components, tail_fraction: float) -> tuple[Array, Array]:
    """Component fields (batch, component, COMPONENT_FIELDS) and the major-axis radius (arcsec) of the cut."""
    u, v = rotated(
        parts.x_arcsec - lens.x_arcsec[:, None], parts.y_arcsec - lens.y_arcsec[:, None], lens.pa_rad[:, None]
    )
    angle = parts.pa_rad - lens.pa_rad[:, None]
    cos, sin = np.cos(angle), np.sin(angle)
    b, cut = b_n(parts.n), radius_of_fraction(parts.n, 1.0 - tail_fraction)
    size2 = parts.re_arcsec**2
    fields = {
        "u": u,
        "v": v,
        "auu": (parts.q * cos**2 + sin**2 / parts.q) / size2,
        "auv": 2.0 * cos * sin * (parts.q - 1.0 / parts.q) / size2,
        "avv": (parts.q * sin**2 + cos**2 / parts.q) / size2,
        "power": 0.5 / parts.n,
        "steepness": b / np.log(2.0),
        "amplitude": parts.central_brightness(),
        "scale": 1.0 / (parts.re_arcsec * np.sqrt(parts.q)),
        "cut": cut,
        "sharpness": np.log(2.0) / parts.n,
    }
    stacked = np.stack([fields[name] for name in COMPONENT_FIELDS], axis=2)
    return stacked, cut * parts.re_arcsec / np.sqrt(parts.q)
