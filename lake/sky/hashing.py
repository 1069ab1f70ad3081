"""Keyed hashes that Spark and Python compute alike: the ground of fingerprints and of deterministic sampling.

Spark's ``xxhash64(c1, c2, ...)`` hashes each column with the hash so far as seed (42 at the start) and skips NULLs.
Everything is hashed here as 8-byte integers (strings are hashed first), so NumPy can do it whole arrays at
a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

SPARK_SEED = 42
_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


def hash_long(values: NDArray[np.int64], seed: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """XXH64 of each value's 8 little-endian bytes, with one seed for all or one each."""
    with np.errstate(over="ignore"):
        state = seed + _P5 + np.uint64(8)
        state = state ^ (_rotate(values.view(np.uint64) * _P2, 31) * _P1)
        state = _rotate(state, 27) * _P1 + _P4
        state = (state ^ (state >> np.uint64(33))) * _P2
        state = (state ^ (state >> np.uint64(29))) * _P3
    return state ^ (state >> np.uint64(32))


def hash_strings(values: pa.ChunkedArray | pa.Array, seed: int = SPARK_SEED) -> NDArray[np.uint64]:
    """XXH64 of each string's UTF-8 bytes; the seed itself for NULL, as in Spark."""
    encoded = pc.dictionary_encode(values)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], pa.string()).dictionary_encode()
    digest = xxhash.xxh64_intdigest
    unique = [digest(text.encode(), seed) for text in encoded.dictionary.to_pylist()]
    lookup = np.array([*unique, seed], dtype=np.uint64)
    return lookup[pc.fill_null(encoded.indices, len(unique)).to_numpy(zero_copy_only=False)]


def as_longs(values: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Canonical 8-byte integers of a column (floats by their bits, -0.0 as 0.0, one NaN) and where it is NULL."""
    null = pc.is_null(values).to_numpy(zero_copy_only=False).astype(bool)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return hash_strings(values).view(np.int64), np.zeros(len(values), dtype=bool)
    if pa.types.is_floating(values.type):
        numbers = pc.fill_null(values, 0.0).to_numpy(zero_copy_only=False).astype(np.float64) + 0.0
        numbers = np.where(np.isnan(numbers), np.nan, numbers)
        return numbers.view(np.int64), null
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us", tz=values.type.tz)).cast(pa.int64())
    return pc.fill_null(values.cast(pa.int64()), 0).to_numpy(zero_copy_only=False), null


def chain(columns: Sequence[tuple[NDArray[np.int64], NDArray[np.bool_]]]) -> NDArray[np.int64]:
    """Spark's ``xxhash64`` over columns already given as (longs, null mask)."""
    state = np.full(len(columns[0][0]), SPARK_SEED, dtype=np.uint64)
    for longs, null in columns:
        hashed = hash_long(longs, state)
        state = np.where(null, state, hashed) if null.any() else hashed
    return state.view(np.int64)


def key_hash(seed: int, keys: pa.ChunkedArray | pa.Array) -> NDArray[np.uint64]:
    """Hash of (seed, key) per row: Spark's ``xxhash64(cast(seed as bigint), xxhash64(key))``."""
    longs, null = as_longs(keys)
    state = hash_long(np.array([seed], dtype=np.int64), np.uint64(SPARK_SEED))
    hashed = hash_long(longs, np.repeat(state, len(longs)))
    return np.where(null, state, hashed)


def key_hash_sql(seed: int, column: str) -> str:
    """The Spark SQL expression of :func:`key_hash` for a string column, as a signed bigint."""
    return f"xxhash64(cast({int(seed)} as bigint), xxhash64({column}))"


def _rotate(values: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    return (values << np.uint64(bits)) | (values >> np.uint64(64 - bits))
