"""Spatial splits: whole HEALPix pixels (nside 128, NESTED) go to train, val or test by a keyed hash."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lake.config import SplitParams
from lake.sky.healpix import pixel

SPLITS = ("train", "val", "test")
THRESHOLD, HOST, TEST = "threshold", "host", "test"
NEGATIVE_USES = (THRESHOLD, HOST, TEST)
"""Use of a negative outside the training split: threshold, host or test."""
LEAST_ABOVE = 10
"""Negatives expected above a derived threshold, at least; with fewer it is an extreme of a small sample."""


def pixel_uniform(healpix_128: int, seed: int) -> float:
    """The pixel's place in [0, 1): first four bytes of sha256("<pixel>_<seed>"), big-endian."""
    return _place(f"{int(healpix_128)}_{seed}")


def split_of(healpix_128: ArrayLike, params: SplitParams) -> NDArray[np.str_]:
    """Split name of each pixel."""
    pixels, inverse = np.unique(np.asarray(healpix_128, dtype=np.int64), return_inverse=True)
    places = np.array([pixel_uniform(int(p), params.seed) for p in pixels])
    edges = np.array([params.train_below, params.val_below])
    return np.array(SPLITS)[np.searchsorted(edges, places, side="right")][inverse]


def split_of_keys(keys: ArrayLike, params: SplitParams) -> NDArray[np.str_]:
    """Split name of objects without positions, by their keys: it does not change when others are added."""
    places = [_place(f"{key}_{params.seed}") for key in np.asarray(keys)]
    return np.array(SPLITS)[np.searchsorted([params.train_below, params.val_below], places, side="right")]


def negative_uses(
    ra_deg: ArrayLike, dec_deg: ArrayLike, split: ArrayLike, label: ArrayLike, params: SplitParams
) -> NDArray[np.object_]:
    """Use of each row of a manifest, one of `NEGATIVE_USES`; None for positives and for training rows.

    A keyed hash divides the negatives of the validation split by whole pixels of `params.negatives_nside`: the galaxies
    that fix a threshold neither judge it nor host injections.
    """
    pixels, inverse = np.unique(pixel(ra_deg, dec_deg, params.negatives_nside), return_inverse=True)
    fixing = np.array(
        [_place(f"{int(p)}_{params.seed}_negatives") < params.threshold_share for p in pixels], dtype=bool
    )
    splits, negative = np.asarray(split), np.asarray(label) == 0
    uses = np.full(len(splits), None, dtype=object)
    held = negative & (splits == "val")
    uses[held] = np.where(fixing[inverse], THRESHOLD, HOST)[held]
    uses[negative & (splits == "test")] = TEST
    return uses


def thirds(keys: ArrayLike, seed: int) -> NDArray[np.str_]:
    """Use of each negative of a set without spatial splits: a third for each, by keyed hash; those with equal keys have
    the same use."""
    unique, inverse, counts = np.unique(np.asarray(keys), return_inverse=True, return_counts=True)
    order = np.argsort([_place(f"{key}_{seed}_negatives") for key in unique], kind="stable")
    before = np.empty(len(unique), dtype=np.int64)
    before[order] = np.cumsum(counts[order]) - counts[order]
    return np.array(NEGATIVE_USES)[len(NEGATIVE_USES) * before // counts.sum()][inverse]


def _place(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
