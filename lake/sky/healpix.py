"""Sky pixels: HEALPix, NESTED (Gorski et al. 2005, ApJ 622, 759, section 4.1 and the HEALPix C++ library's loc2pix).

Written in NumPy because importing healpy costs every process a second or more; a test compares the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lake.errors import invalid

SPLIT_NSIDE = 128
_POLAR = 2.0 / 3.0
_NEAR_POLE_RAD = 0.01
_SPREAD = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)


def pixel(ra_deg: ArrayLike, dec_deg: ArrayLike, nside: int = SPLIT_NSIDE) -> NDArray[np.int64]:
    """NESTED pixel index of each position; -1 where a coordinate is not finite or out of range."""
    if nside < 1 or nside & (nside - 1) or nside > 1 << 29:
        raise invalid("nside", "a power of two, at most 2^29", nside)
    ra, dec = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (ra_deg, dec_deg))
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90.0)
    index = np.full(ra.shape, -1, dtype=np.int64)
    theta, phi = np.pi / 2 - np.deg2rad(dec[good]), np.deg2rad(ra[good])
    index[good] = _nested(theta, phi, nside)
    return index


def _nested(theta: NDArray[np.float64], phi: NDArray[np.float64], nside: int) -> NDArray[np.int64]:
    z = np.cos(theta)
    quarter = np.mod(phi * (2.0 / np.pi), 4.0)
    quarter = np.where(quarter >= 4.0, 0.0, quarter)
    equatorial = _equator(z, quarter, nside)
    polar = _cap(theta, z, quarter, nside)
    face, ix, iy = np.where(np.abs(z) <= _POLAR, equatorial, polar)
    return np.asarray(face * nside * nside + _spread(ix) + (_spread(iy) << 1))


def _equator(z: NDArray[np.float64], quarter: NDArray[np.float64], nside: int) -> NDArray[np.int64]:
    """Face, x and y in the face, in the belt where pixels have straight edges."""
    across, up = nside * (0.5 + quarter), nside * z * 0.75
    ascending, descending = (across - up).astype(np.int64), (across + up).astype(np.int64)
    first, second = ascending // nside, descending // nside
    face = np.where(first == second, first | 4, np.where(first < second, first, second + 8))
    return np.stack([face, descending % nside, nside - ascending % nside - 1])


def _cap(
    theta: NDArray[np.float64], z: NDArray[np.float64], quarter: NDArray[np.float64], nside: int
) -> NDArray[np.int64]:
    """Face, x and y in the face, in the polar caps."""
    corner = np.minimum(quarter.astype(np.int64), 3)
    along = quarter - corner
    height = np.abs(z)
    near_pole = (theta < _NEAR_POLE_RAD) | (theta > 3.14159 - _NEAR_POLE_RAD)
    width = nside * np.where(
        near_pole & (height >= 0.99),
        np.sin(theta) / np.sqrt((1.0 + height) / 3.0),
        np.sqrt(3.0 * np.clip(1.0 - height, 0.0, None)),
    )
    ascending = np.minimum((along * width).astype(np.int64), nside - 1)
    descending = np.minimum(((1.0 - along) * width).astype(np.int64), nside - 1)
    north = np.stack([corner, nside - descending - 1, nside - ascending - 1])
    south = np.stack([corner + 8, ascending, descending])
    return np.where(z >= 0, north, south)


def _spread(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits moved to the even places."""
    spread = values.astype(np.int64)
    for shift, mask in _SPREAD:
        spread = (spread | (spread << shift)) & mask
    return spread
