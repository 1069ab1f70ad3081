"""Counter-based random numbers: each is a hash of (seed, key, name), so a row can be drawn again alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import ArrayLike, NDArray

from lake.sky.hashing import hash_long, key_hash


class Keyed:
    """Random numbers of keys (batch,); the numbers of a key do not depend on the others."""

    def __init__(self, seed: int, ids: pa.Array | pa.ChunkedArray) -> None:
        self._keys = key_hash(seed, ids)

    def words(self, name: str) -> NDArray[np.uint64]:
        """64 random bits per key for the quantity called ``name``."""
        stream = np.uint64(xxhash.xxh64_intdigest(name.encode()))
        return hash_long(np.full(len(self._keys), stream).view(np.int64), self._keys)

    def uniform(self, name: str) -> NDArray[np.float64]:
        """A number in the open interval (0, 1) per key."""
        return ((self.words(name) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


class Sobol:
    """Scrambled Sobol numbers at given places of a seed's sequence: evenly spread, and the same in any batch."""

    def __init__(self, seed: int, places: ArrayLike, names: tuple[str, ...]) -> None:
        from scipy.stats import qmc  # slow to import, and only needed here

        self._column = {name: column for column, name in enumerate(names)}
        places = np.asarray(places, dtype=np.int64)
        unique, back = np.unique(places, return_inverse=True)
        sequence = qmc.Sobol(len(names), scramble=True, rng=np.random.default_rng(seed))
        points, at = [], 0
        for place in unique.tolist():
            if place > at:
                sequence.fast_forward(place - at)
            points.append(sequence.random(1)[0])
            at = place + 1
        self._points = np.clip(np.reshape(points, (-1, len(names)))[back], 2.0**-54, 1.0 - 2.0**-53)

    def uniform(self, name: str) -> NDArray[np.float64]:
        """Coordinate of the sequence for the quantity called ``name``, in (0, 1), per place."""
        return self._points[:, self._column[name]]
