"""Ranges of the parameters of injections, and the error for a value outside them."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lake.errors import ParameterError, invalid

RANGES: dict[str, tuple[float, float]] = {
    "lens_theta_e_arcsec": (0.0, 60.0),
    "lens_q": (0.0, 1.0),
    "lens_pa_rad": (-np.pi, np.pi),
    "lens_x_arcsec": (-60.0, 60.0),
    "lens_y_arcsec": (-60.0, 60.0),
    "lens_gamma1": (-0.9, 0.9),
    "lens_gamma2": (-0.9, 0.9),
    "src_re_arcsec": (1e-3, 30.0),
    "src_n": (0.3, 8.0),
    "src_q": (0.01, 1.0),
    "src_pa_rad": (-np.pi, np.pi),
    "src_x_arcsec": (-60.0, 60.0),
    "src_y_arcsec": (-60.0, 60.0),
    "src_beta_frac": (0.0, 100.0),
    "src_clumps": (0, 3),
    "src_clump_fraction": (0.0, 1.0),
}
"""Ranges of the parameters that every injection has; :func:`limits` adds those of its light."""
_LIGHT: dict[re.Pattern[str], tuple[float, float]] = {
    re.compile("src_mag_[A-Za-z0-9]+"): (5.0, 40.0),
    re.compile("src_[A-Za-z0-9]+_minus_[A-Za-z0-9]+"): (-10.0, 10.0),
}
"""Ranges of magnitudes and colours in any band."""
PROFILES = ("sersic", "sersic_clumps")
"""Values of ``src_model`` for Sersic profiles."""
_OPTIONAL = {"src_n", "src_q"}
"""Parameters that only Sersic profiles need."""
_OPEN = {"lens_q"}
"""Parameters that must be above the lower end of their range."""


def is_light(name: str) -> bool:
    """Whether a parameter is a magnitude or a colour of the source."""
    return any(pattern.fullmatch(name) for pattern in _LIGHT)


def limits(name: str) -> tuple[float, float]:
    """Lower and upper end of a parameter's range."""
    light = (limit for pattern, limit in _LIGHT.items() if pattern.fullmatch(name))
    return RANGES[name] if name in RANGES else next(light)


def inside(name: str, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether values are finite and in their parameter's range."""
    low, high = limits(name)
    return (values > low if name in _OPEN else values >= low) & (values <= high)


def refuse(name: str, value: object) -> ParameterError:
    """The error for a value outside its parameter's range."""
    low, high = limits(name)
    return invalid(name, f"a finite number in {'(' if name in _OPEN else '['}{low:g}, {high:g}]", value)


def faults(rows: pa.Table) -> list[str | None]:
    """Why each row cannot be injected (its first parameter that is missing or out of range); None if it can."""
    reasons: list[str | None] = [None] * rows.num_rows
    shear = np.zeros(rows.num_rows)
    needed = np.isin(np.asarray(rows.column("src_model")), PROFILES)
    for name in (*RANGES, *filter(is_light, rows.column_names)):
        column = rows.column(name)
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        bad = ~inside(name, values)
        if name in _OPTIONAL:
            bad &= needed | ~np.isnan(values)
        for index in np.flatnonzero(bad):
            reasons[index] = reasons[index] or str(refuse(name, float(values[index])))
        if name.startswith("lens_gamma"):
            shear = np.hypot(shear, values)
    for index in np.flatnonzero(shear >= RANGES["lens_gamma1"][1]):
        message = invalid("lens_gamma1, lens_gamma2", "a shear below 0.9", float(shear[index]))
        reasons[index] = reasons[index] or str(message)
    _clump_faults(rows, reasons)
    return reasons


def _clump_faults(rows: pa.Table, reasons: list[str | None]) -> None:
    count = rows.column("src_clumps").to_numpy(zero_copy_only=False)
    for k in (1, 2, 3):
        for part, low in (("x", -60.0), ("y", -60.0), ("re", 1e-4)):
            name = f"src_clump{k}_{part}_arcsec"
            values: NDArray[np.float64] = rows.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
            for index in np.flatnonzero((count >= k) & ~((values >= low) & (values <= 60.0))):
                message = invalid(name, f"a finite number in [{low:g}, 60]", float(values[index]))
                reasons[index] = reasons[index] or str(message)
