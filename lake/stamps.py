"""Stamps: packed ``.npy`` shards (n, band, y, x) little-endian float32 nMgy, and the reference system's NPZ format."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from lake.errors import DataError
from lake.hashing import key_hash
from lake.survey import BANDS

BUCKET_SEED = 0


def bucket_of(galaxy_ids: pa.Array | pa.ChunkedArray, buckets: int) -> NDArray[np.int64]:
    """Shard number of each galaxy."""
    return (key_hash(BUCKET_SEED, galaxy_ids) % np.uint64(buckets)).astype(np.int64)


def shard_name(bucket: int) -> str:
    return f"bucket-{bucket:04d}.npy"


def write_shard(path: Path, stamps: Iterable[NDArray[np.float32]], rows: int, pixels: int) -> None:
    """Write a shard of ``rows`` stamps (band, pixels, pixels) one by one, by rename at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    shard = np.lib.format.open_memmap(draft, mode="w+", dtype="<f4", shape=(rows, len(BANDS), pixels, pixels))
    for row, stamp in enumerate(stamps):
        shard[row] = stamp
    shard.flush()
    del shard
    draft.replace(path)


class StampStore:
    """Stamps of a folder of shards, read through memory maps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._maps: dict[int, NDArray[np.float32]] = {}

    def get(self, shards: ArrayLike, rows: ArrayLike) -> NDArray[np.float32]:
        """Stamps (batch, band, y, x) at the given shard numbers and rows, in that order."""
        shard, row = np.asarray(shards, dtype=np.int64), np.asarray(rows, dtype=np.int64)
        if not len(shard):
            raise DataError("no stamps asked for")
        first = self._map(int(shard[0]))
        out = np.empty((len(shard), *first.shape[1:]), dtype=np.float32)
        for number in np.unique(shard):
            place = np.flatnonzero(shard == number)
            place = place[np.argsort(row[place], kind="stable")]
            out[place] = self._map(int(number))[row[place]]
        return out

    def _map(self, number: int) -> NDArray[np.float32]:
        if number not in self._maps:
            path = self.folder / shard_name(number)
            if not path.exists():
                raise DataError(f"stamp shard {path} is missing; run `dvc pull` or `dvc repro cutouts`")
            self._maps[number] = np.load(path, mmap_mode="r")
        return self._maps[number]


def read_npz(path: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """A stamp (band, y, x) and its ``meta_*`` values from the reference format (``cutout`` (y, x, band) float32)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            cutout = archive["cutout"]
            meta = {
                name.removeprefix("meta_"): archive[name].item() for name in archive.files if name.startswith("meta_")
            }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no cut-out of the NPZ format: {error}") from error
    if cutout.ndim != 3 or cutout.shape[2] != len(BANDS) or cutout.shape[0] != cutout.shape[1]:
        raise DataError(f"'cutout' in {path} must be (n, n, {len(BANDS)}), got {cutout.shape}")
    return np.ascontiguousarray(cutout.transpose(2, 0, 1), dtype=np.float32), meta


def write_npz(path: Path, stamp: NDArray[np.float32], meta: Mapping[str, Any]) -> None:
    """Write a stamp (band, y, x) in the reference format."""
    arrays: dict[str, Any] = {f"meta_{name}": np.asarray(value) for name, value in meta.items()}
    np.savez_compressed(path, cutout=stamp.transpose(1, 2, 0).astype(np.float32), **arrays)
