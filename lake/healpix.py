"""Sky pixels: HEALPix, NESTED."""

from __future__ import annotations

import healpy
import numpy as np
from numpy.typing import ArrayLike, NDArray

SPLIT_NSIDE = 128


def pixel(ra_deg: ArrayLike, dec_deg: ArrayLike, nside: int = SPLIT_NSIDE) -> NDArray[np.int64]:
    """NESTED pixel index of each position; -1 where a coordinate is not finite or out of range."""
    ra, dec = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (ra_deg, dec_deg))
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90.0)
    index = np.full(ra.shape, -1, dtype=np.int64)
    index[good] = healpy.ang2pix(nside, ra[good], dec[good], nest=True, lonlat=True)
    return index
