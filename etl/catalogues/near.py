"""Sources near a listed position: found in a coarse map of the sky round the positions, then by chord length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lake.sky.sphere import ARCSEC_PER_RADIAN, chord, unit_vectors

Floats = NDArray[np.float64]
_CELLS_PER_DEG = 10
_SLACK = 1 + 1e-6
_EDGE_DEG = 1e-9


class Listed:
    """Listed positions, and which of them is the nearest to a source within a radius."""

    def __init__(self, names: Sequence[str], ra_deg: Floats, dec_deg: Floats, radius_arcsec: float) -> None:
        order = np.argsort(dec_deg, kind="stable")
        self.names = [names[place] for place in order]
        self._rank = np.argsort(np.argsort(np.array(self.names, dtype=object), kind="stable"), kind="stable")
        self._dec = np.asarray(dec_deg, dtype=np.float64)[order]
        self._vectors = unit_vectors(np.asarray(ra_deg)[order], self._dec)
        self._chord = chord(radius_arcsec)
        self._radius_deg = radius_arcsec / 3600 * _SLACK + _EDGE_DEG
        self._map = _map(np.asarray(ra_deg)[order], self._dec, self._radius_deg)

    def maybe(self, ra_deg: Floats, dec_deg: Floats) -> NDArray[np.bool_]:
        """Whether a position in the map may be near it; coordinates must be in [0, 360] and [-90, 90]."""
        row = ((dec_deg + 90) * _CELLS_PER_DEG).astype(np.int64)
        found: NDArray[np.bool_] = self._map[row, (ra_deg * _CELLS_PER_DEG).astype(np.int64)]
        return found

    def nearest(self, ra_deg: Floats, dec_deg: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Index of the nearest position within the radius, -1 if there is none, and the separation (arcsec, else NaN).

        Of equally near ones the first by name. Separations are rounded to 1e-6": they do not depend on the last bit
        of a cosine. Coordinates that are no numbers are near nothing.
        """
        first = np.searchsorted(self._dec, dec_deg - self._radius_deg)
        count = np.searchsorted(self._dec, dec_deg + self._radius_deg, side="right") - first
        count[~(np.isfinite(ra_deg) & np.isfinite(dec_deg))] = 0
        source = np.repeat(np.arange(len(count)), count)
        listed = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        difference = unit_vectors(ra_deg[source], dec_deg[source]) - self._vectors[listed]
        length = np.sqrt((difference**2).sum(axis=1))
        inside = np.flatnonzero(length <= self._chord)
        inside = inside[np.lexsort((self._rank[listed[inside]], length[inside], source[inside]))]
        sources, best = np.unique(source[inside], return_index=True)
        index, separation = np.full(len(count), -1), np.full(len(count), np.nan)
        index[sources] = listed[inside[best]]
        separation[sources] = np.round(2 * np.arcsin(length[inside[best]] / 2) * ARCSEC_PER_RADIAN, 6)
        return index, separation


def _map(ra_deg: Floats, dec_deg: Floats, radius_deg: float) -> NDArray[np.bool_]:
    """Cells of declination and right ascension that a circle round a position may touch."""
    across = 360 * _CELLS_PER_DEG
    touched = np.zeros((180 * _CELLS_PER_DEG + 1, across + 1), dtype=bool)
    low, high = (np.clip(dec_deg + step, -90, 90) for step in (-radius_deg, radius_deg))
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.rad2deg(np.arcsin(np.sin(np.deg2rad(radius_deg)) / np.cos(np.deg2rad(dec_deg)))) + _EDGE_DEG
    half = np.where(np.abs(dec_deg) + radius_deg >= 90, 360.0, half)
    rows = np.stack([low + 90, high + 90]) * _CELLS_PER_DEG
    columns = np.stack([ra_deg - half, ra_deg + half]) * _CELLS_PER_DEG
    for (top, bottom), (left, right) in zip(np.floor(rows).astype(int).T, np.floor(columns).astype(int).T, strict=True):
        touched[top : bottom + 1, np.arange(left, min(right, left + across) + 1) % across] = True
    touched[:, across] = touched[:, 0]
    return touched
