"""Hosts of simulated stamps: windows of the coadds of many bricks, with mask and observing conditions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.cutouts import qa
from etl.cutouts.coadds import BrickReader, BrickStamps
from etl.cutouts.cutter import CONDITIONS, NO_BRICK, OUTSIDE
from etl.stampconfig import StampCutting
from lake.errors import DataError
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NO_CONDITIONS = "its seeing or depth is unknown"
_R = BANDS.index("r")


@dataclass(frozen=True)
class Hosts:
    """Galaxies (host,), those without a reason with pixels."""

    stamps: NDArray[np.float32]
    """(host, band, y, x) nMgy, NaN where there is no data"""
    usable: Flags
    """(host, y, x) finite in every band and not masked"""
    offsets_px: Floats
    """(host, 2) x, y of the galaxy from the central pixel (side // 2)"""
    conditions: Floats
    """(host, condition) in the order of CONDITIONS, from the catalogue or else the coadds; NaN if unknown"""
    reasons: list[str | None]
    """Why there are no pixels"""

    def ring_masked(self, host: NDArray[np.int64], theta_e_arcsec: Floats) -> Floats:
        """Share (row,) of unusable pixels in rings at theta_E round hosts, as wide as their r psfsize."""
        side, half = self.usable.shape[-1], 0.5 * self.conditions[host, _R]
        y, x = np.indices((side, side)) - side // 2
        radius = np.hypot(x, y).ravel() * PIXEL_SCALE_ARCSEC
        order = np.argsort(radius, kind="stable")
        bad = np.zeros((len(self.usable), side**2 + 1), dtype=np.int32)
        np.cumsum(~self.usable.reshape(len(bad), -1)[:, order], axis=1, out=bad[:, 1:])
        first = np.searchsorted(radius[order], theta_e_arcsec - half, side="left")
        last = np.searchsorted(radius[order], theta_e_arcsec + half, side="right")
        return np.asarray((bad[host, last] - bad[host, first]) / np.maximum(last - first, 1))


def read_hosts(survey: str, galaxies: pa.Table, cutting: StampCutting) -> Hosts:
    """The hosts of ``galaxies`` (``galaxy_id, ra, dec, brick`` and CONDITIONS), which are ordered by brick."""
    count, side = galaxies.num_rows, cutting.stamp_pixels
    found = Hosts(
        np.full((count, len(BANDS), side, side), np.nan, dtype=np.float32),
        np.zeros((count, side, side), dtype=bool),
        np.full((count, 2), np.nan),
        np.stack([_floats(galaxies, name) for name in CONDITIONS], axis=1),
        [NO_BRICK] * count,
    )
    bricks = galaxies["brick"].to_numpy(zero_copy_only=False).astype(str)
    reader = BrickReader()
    for brick in sorted(set(bricks.tolist()) - {""}):
        members = np.flatnonzero(bricks == brick)
        lacking: Flags = np.logical_not((found.conditions[members] > 0).all(axis=1))
        ra, dec = (_floats(galaxies, name)[members] for name in ("ra", "dec"))
        try:
            held = reader.stamps(survey, brick, ra, dec, side, cutting.maskbits, lacking)
        except DataError as error:
            for member in members:
                found.reasons[member] = str(error)
        else:
            _fill_in(held, members, cutting, found)
    return found


def _floats(table: pa.Table, name: str) -> Floats:
    return table[name].to_numpy(zero_copy_only=False).astype(np.float64)


def _fill_in(held: BrickStamps, members: NDArray[np.int64], cutting: StampCutting, found: Hosts) -> None:
    """Fill in the members of one brick."""
    inside = members[held.inside]
    found.stamps[inside] = held.stamps
    found.usable[inside] = np.isfinite(held.stamps).all(axis=1)
    if held.masked is not None:
        found.usable[inside] &= ~held.masked
    found.offsets_px[members] = np.stack([held.windows.x_offset_px, held.windows.y_offset_px], axis=1)
    _complete_conditions(held, inside, found)
    gone = qa.holes(held.stamps, cutting, BANDS) if len(inside) else []
    verdicts = dict(zip(inside.tolist(), gone, strict=True))
    for member in members.tolist():
        unknown = None if _has_conditions(found.conditions[member]) else NO_CONDITIONS
        found.reasons[member] = verdicts.get(member, OUTSIDE) or unknown


def _complete_conditions(held: BrickStamps, inside: NDArray[np.int64], found: Hosts) -> None:
    """Take from the coadds what the catalogue lacks."""
    own, other = found.conditions[inside], np.concatenate([held.psfsize, held.psfdepth], axis=1)
    found.conditions[inside] = np.where(own > 0, own, np.where(other > 0, other, np.nan))


def _has_conditions(values: Floats) -> bool:
    """Whether the PSF is known in each band, and the depth in r."""
    return bool((values[: len(BANDS)] > 0).all() and values[len(BANDS) + _R] > 0)
