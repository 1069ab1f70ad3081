"""Light of hosts, from their stamps without arcs: what closure compares between lenses' hosts and hosts of the grid.

Catalogue columns would hold the arcs' light in lenses, and blank sky has none. Stamps are what the finder sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from injection.engine.tracing import Images
from injection.experiment.hostset import HostSet
from lake.sky.photometry import magnitude_from_flux

Floats = NDArray[np.float64]

APERTURES_ARCSEC = (1.0, 3.0)
"""Radii of the inner and the whole aperture."""
SOFTENING_NMGY = 1.0
"""Flux below which magnitudes turn linear: the faintest hosts have several times as much, sky less."""
_BATCH = 256


def host_light(hosts: HostSet, galaxy_ids: Sequence[str]) -> pd.DataFrame:
    """A row per host of ``galaxy_ids``: `mag_<reference band>`, colours of neighbouring bands (`g_minus_r`) and
    `concentration`, the magnitude within 1 arcsec minus that within 3, all by `soft_magnitude`; NaN if all is masked.
    """
    parts = [list(galaxy_ids[start : start + _BATCH]) for start in range(0, len(galaxy_ids), _BATCH)]
    scale = hosts.imaging.pixel_scale_arcsec
    inner, whole = (
        np.concatenate([_fluxes(hosts.load(part), radius / scale) for part in parts]) for radius in APERTURES_ARCSEC
    )
    bands, reference = hosts.imaging.bands, hosts.imaging.reference
    magnitude = dict(zip(bands, soft_magnitude(whole).T, strict=True))
    found = {f"mag_{bands[reference]}": magnitude[bands[reference]]}
    found |= {f"{one}_minus_{two}": magnitude[one] - magnitude[two] for one, two in pairwise(bands)}
    found["concentration"] = soft_magnitude(inner[:, reference]) - magnitude[bands[reference]]
    return pd.DataFrame(found)


def soft_magnitude(flux_nmgy: Floats) -> Floats:
    """Magnitudes by the inverse hyperbolic sine (Lupton, Gunn & Szalay 1999), finite where noise makes a flux negative;
    those of bright hosts are ordinary ones."""
    return np.asarray(magnitude_from_flux(_softened(flux_nmgy)))


def _softened(flux: Floats) -> Floats:
    """The positive flux whose ordinary magnitude is the soft one of ``flux``."""
    return np.asarray((flux + np.hypot(flux, 2.0 * SOFTENING_NMGY)) / 2.0)


def _fluxes(stamps: Images, radius_px: float) -> Floats:
    """Flux (stamp, band) within a radius of the centre; masked pixels have the mean of the others."""
    y, x = np.indices(stamps.shape[-2:]) - np.array(stamps.shape[-2:])[:, None, None] // 2
    pixels = stamps[:, :, np.hypot(x, y) <= radius_px].astype(np.float64)
    known = np.isfinite(pixels)
    total, count = np.where(known, pixels, 0.0).sum(axis=2), known.sum(axis=2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan) * pixels.shape[2]
