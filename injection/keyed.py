"""Counter-based random numbers: each is a hash of (seed, key, name), so any row can be drawn again alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from lake.hashing import hash_long, key_hash


class Keyed:
    """Random numbers of a list of keys (batch,); the order and company of the keys change nothing."""

    def __init__(self, seed: int, ids: pa.Array | pa.ChunkedArray) -> None:
        self._keys = key_hash(seed, ids)

    def words(self, name: str) -> NDArray[np.uint64]:
        """64 random bits per key for the quantity called ``name``."""
        stream = np.uint64(xxhash.xxh64_intdigest(name.encode()))
        return hash_long(np.full(len(self._keys), stream).view(np.int64), self._keys)

    def uniform(self, name: str) -> NDArray[np.float64]:
        """A number in (0, 1), never its ends, per key."""
        return ((self.words(name) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
