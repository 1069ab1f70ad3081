"""The survey's bricks by their rule: rows of 0.25 degrees in declination, each cut into equal parts, an even number.

The rule of desiutil (``desiutil.brick.Bricks``), which made the survey's own table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SIZE_DEG = 0.25
_ROWS = round(180 / _SIZE_DEG) + 1


def brick_names(ra_deg: ArrayLike, dec_deg: ArrayLike) -> list[str | None]:
    """Name of the brick that each position belongs to (``0001m002``), None where it is no position."""
    ra, dec = (np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in (ra_deg, dec_deg))
    placed = (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)
    ra, dec = np.where(placed, ra, 0.0) % 360.0, np.where(placed, dec, 0.0)
    row = np.floor((dec + 90.0 + _SIZE_DEG / 2) / _SIZE_DEG).astype(np.int64)
    parts = _parts()[row]
    width = 360.0 / parts
    middle_ra = (np.floor(ra / width) + 0.5) * width
    middle_dec = row * _SIZE_DEG - 90.0
    return [
        f"{int(10 * x):04d}{'p' if y >= 0 else 'm'}{int(10 * abs(y)):03d}" if ok else None
        for x, y, ok in zip(middle_ra.tolist(), middle_dec.tolist(), placed.tolist(), strict=True)
    ]


def _parts() -> NDArray[np.int64]:
    """Bricks of each row: as many as keep them no wider than high, an even number; one at each pole."""
    nearest = np.abs(np.arange(_ROWS) * _SIZE_DEG - 90.0) - _SIZE_DEG / 2
    wanted = np.ceil(360.0 / _SIZE_DEG * np.cos(np.deg2rad(nearest))).astype(np.int64)
    parts = wanted + wanted % 2
    parts[[0, -1]] = 1
    return parts
