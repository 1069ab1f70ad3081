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
_STRIPE = 32
"""Bytes of one stripe of XXH64; a shorter rest is hashed in smaller pieces."""
_FEW = 64
"""Fewer texts are hashed faster one by one. Texts that repeat among the first of this many are hashed once each."""
_CACHED = 8_192
"""Numbers that are hashed together: they stay in the processor's cache."""


def hash_long(values: NDArray[np.int64], seed: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """XXH64 of each value's 8 little-endian bytes, with one seed for all or one each."""
    with np.errstate(over="ignore"):
        state = seed + _P5 + np.uint64(8)
        state = state ^ (_rotate(values.view(np.uint64) * _P2, 31) * _P1)
        return _mixed(_rotate(state, 27) * _P1 + _P4)


def hash_strings(values: pa.ChunkedArray | pa.Array, seed: int = SPARK_SEED) -> NDArray[np.uint64]:
    """XXH64 of each string's UTF-8 bytes; the seed itself for NULL, as in Spark."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], pa.string())
    if not whole.null_count and len(pc.unique(whole[:_FEW])) > _FEW // 2:
        return _hash_texts(whole, seed)
    encoded = pc.dictionary_encode(whole)
    lookup = np.append(_hash_texts(encoded.dictionary, seed), np.uint64(seed))
    return lookup[pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy(zero_copy_only=False)]


def _hash_texts(texts: pa.Array, seed: int) -> NDArray[np.uint64]:
    """XXH64 of texts without NULL, those of equal length together."""
    binary = texts.cast(pa.binary())
    _, offsets, content = binary.buffers()
    if content is None or len(texts) < _FEW:
        return np.array([xxhash.xxh64_intdigest(text, seed) for text in binary.to_pylist()], dtype=np.uint64)
    ends = np.frombuffer(offsets, np.int32)[binary.offset : binary.offset + len(texts) + 1].astype(np.int64)
    letters, lengths = np.frombuffer(content, np.uint8), np.diff(ends)
    hashes = np.empty(len(texts), dtype=np.uint64)
    for length in np.unique(lengths):
        alike = np.flatnonzero(lengths == length)
        for first in range(0, len(alike), _CACHED):
            where = alike[first : first + _CACHED]
            hashes[where] = _hash_equal(letters, ends[where], int(length), np.uint64(seed))
    return hashes


def _hash_equal(
    letters: NDArray[np.uint8], starts: NDArray[np.int64], length: int, seed: np.uint64
) -> NDArray[np.uint64]:
    """XXH64 of texts of one length that start at ``starts`` (texts,) of all ``letters``, by its specification."""
    place = 0

    def taken(kind: str) -> NDArray[np.uint64]:
        """The next number of each text: an integer at any byte."""
        nonlocal place
        size = np.dtype(kind).itemsize
        everywhere = np.ndarray((len(letters) - size + 1,), kind, letters, strides=(1,))
        place += size
        return everywhere[starts + (place - size)].astype(np.uint64, copy=False)

    with np.errstate(over="ignore"):
        state = np.full(len(starts), seed + _P5)
        if length >= _STRIPE:
            lanes = [np.full(len(starts), seed + start) for start in (_P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1)]
            while length - place >= _STRIPE:
                lanes = [_round(lane, taken("<u8")) for lane in lanes]
            state = np.sum([_rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)], axis=0)
            for lane in lanes:
                state = (state ^ _round(np.uint64(0), lane)) * _P1 + _P4
        state = state + np.uint64(length)
        while length - place >= 8:
            state = _rotate(state ^ _rotate(taken("<u8") * _P2, 31) * _P1, 27) * _P1 + _P4
        if length - place >= 4:
            state = _rotate(state ^ (taken("<u4") * _P1), 23) * _P2 + _P3
        while place < length:
            state = _rotate(state ^ (taken("u1") * _P5), 11) * _P1
    return _mixed(state)


def _round(state: NDArray[np.uint64] | np.uint64, lane: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return _rotate(state + lane * _P2, 31) * _P1


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The last step of XXH64."""
    state = (state ^ (state >> np.uint64(33))) * _P2
    state = (state ^ (state >> np.uint64(29))) * _P3
    return state ^ (state >> np.uint64(32))


def as_longs(values: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Canonical 8-byte integers of a column (floats by their bits, -0.0 as 0.0, one NaN) and where it is NULL."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return hash_strings(values).view(np.int64), np.zeros(len(values), dtype=bool)
    null = pc.is_null(values).to_numpy(zero_copy_only=False).astype(bool)
    if pa.types.is_floating(values.type):
        numbers = pc.fill_null(values, 0.0).to_numpy(zero_copy_only=False).astype(np.float64) + 0.0
        numbers = np.where(np.isnan(numbers), np.nan, numbers)
        return numbers.view(np.int64), null
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us", tz=values.type.tz)).cast(pa.int64())
    return pc.fill_null(values.cast(pa.int64()), 0).to_numpy(zero_copy_only=False), null


def chain(columns: Sequence[tuple[NDArray[np.int64], NDArray[np.bool_]]]) -> NDArray[np.int64]:
    """Spark's ``xxhash64`` over columns already given as (longs, null mask)."""
    hashes = np.full(len(columns[0][0]), SPARK_SEED, dtype=np.uint64)
    for first in range(0, len(hashes), _CACHED):
        some = slice(first, first + _CACHED)
        for longs, null in columns:
            hashed = hash_long(longs[some], hashes[some])
            hashes[some] = np.where(null[some], hashes[some], hashed) if null[some].any() else hashed
    return hashes.view(np.int64)


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
