"""Spatial splits: whole HEALPix pixels (nside 128, NESTED) go to train, val or test by a keyed hash."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lake.config import SplitParams

SPLITS = ("train", "val", "test")


def pixel_uniform(healpix_128: int, seed: int) -> float:
    """The pixel's place in [0, 1): first four bytes of sha256("<pixel>_<seed>"), big-endian."""
    digest = hashlib.sha256(f"{int(healpix_128)}_{seed}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def split_of(healpix_128: ArrayLike, params: SplitParams) -> NDArray[np.str_]:
    """Split name of each pixel."""
    pixels, inverse = np.unique(np.asarray(healpix_128, dtype=np.int64), return_inverse=True)
    places = np.array([pixel_uniform(int(p), params.seed) for p in pixels])
    edges = np.array([params.train_below, params.val_below])
    return np.array(SPLITS)[np.searchsorted(edges, places, side="right")][inverse]


def split_sql(column: str, params: SplitParams) -> str:
    """The same in Spark SQL."""
    place = f"cast(conv(substr(sha2(concat({column}, '_{params.seed}'), 256), 1, 8), 16, 10) as double) / 4294967296.0D"
    return (
        f"CASE WHEN {place} < {params.train_below}D THEN 'train' "
        f"WHEN {place} < {params.val_below}D THEN 'val' ELSE 'test' END"
    )
