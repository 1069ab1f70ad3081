"""Stamps: packed ``.npy`` shards (n, band, y, x) little-endian float32 nMgy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lake.errors import DataError, ShardError
from lake.files import atomic
from lake.root import DataRoot
from lake.sky.hashing import key_hash
from lake.sky.survey import BANDS
from lake.store import cards, delta, remoteshards

if TYPE_CHECKING:
    import pandas as pd

PLACE = ("shard", "shard_row", "sha256")
"""Columns of the place and the hash of a stamp."""

BUCKET_SEED = 0


def bucket_of(galaxy_ids: pa.Array | pa.ChunkedArray, buckets: int) -> NDArray[np.int64]:
    """Shard number of each galaxy."""
    return (key_hash(BUCKET_SEED, galaxy_ids) % np.uint64(buckets)).astype(np.int64)


def shard_name(bucket: int) -> str:
    return f"bucket-{bucket:04d}.npy"


def write_shard(path: Path, stamps: Iterable[NDArray[np.float32]], rows: int, pixels: int) -> None:
    """Write a shard of ``rows`` stamps (band, pixels, pixels) one by one, by rename at the end."""
    with atomic.replacing(path) as draft:
        shard = np.lib.format.open_memmap(draft, mode="w+", dtype="<f4", shape=(rows, len(BANDS), pixels, pixels))
        for row, stamp in enumerate(stamps):
            shard[row] = stamp
        shard.flush()
        del shard


def stamp_hash(stamp: NDArray[np.float32]) -> str:
    """``sha256`` of a stamp's bytes, little-endian, as the tables hold it."""
    return hashlib.sha256(np.ascontiguousarray(stamp, dtype="<f4").data).hexdigest()


class StampStore:
    """Stamps of a folder of shards, read through memory maps and checked against the tables' hashes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._maps: dict[int, NDArray[np.float32]] = {}

    def get(self, rows: pa.Table | pd.DataFrame) -> NDArray[np.float32]:
        """Stamps (batch, band, y, x) of rows with ``shard``, ``shard_row`` and ``sha256``, in their order.

        ShardError if a shard has other pixels than a row names: it is from another run, or damaged.
        """
        shard, row = (rows[name].to_numpy().astype(np.int64) for name in ("shard", "shard_row"))
        if not len(shard):
            raise DataError("no stamps asked for")
        first = self.shard(int(shard[0]))
        out = np.empty((len(shard), *first.shape[1:]), dtype=np.float32)
        for number in np.unique(shard):
            place = np.flatnonzero(shard == number)
            place = place[np.argsort(row[place], kind="stable")]
            held = self.shard(int(number))
            if row[place[0]] < 0 or row[place[-1]] >= len(held) or held.shape[1:] != first.shape[1:]:
                raise self._other_pixels(int(number))
            out[place] = held[row[place]]
        for stamp, number, wanted in zip(out, shard, rows["sha256"].to_numpy(), strict=True):
            if stamp_hash(stamp) != wanted:
                raise self._other_pixels(int(number))
        return out

    def path(self, number: int) -> Path:
        """The file of a shard: in the folder, or a copy of the object that the folder's list names."""
        path = self.folder / shard_name(number)
        return path if path.is_file() else remoteshards.fetched(self.folder, path.name) or path

    def shard(self, number: int) -> NDArray[np.float32]:
        """All stamps (row, band, y, x) of one shard, as a memory map."""
        if number not in self._maps:
            path = self.path(number)
            if not path.is_file():
                raise ShardError(f"stamp shard {path} is missing; run `dvc pull` or `dvc repro cutouts`")
            try:
                held = np.load(path, mmap_mode="r", allow_pickle=False)
            except Exception as error:  # a damaged header makes numpy's parsers raise any exception
                raise ShardError(f"stamp shard {path} cannot be read ({error}); run `dvc repro cutouts`") from error
            if held.dtype != np.dtype("<f4") or held.ndim != 4 or held.shape[1] != len(BANDS):
                raise self._other_pixels(number)
            self._maps[number] = held
        return self._maps[number]

    def _other_pixels(self, number: int) -> ShardError:
        return ShardError(
            f"stamp shard {self.folder / shard_name(number)} does not hold the pixels that the tables name; "
            "run `dvc repro manifest`, which brings cut-outs and manifests into agreement"
        )


def shard_problems(root: DataRoot) -> dict[Path, str]:
    """Missing or changed shards, each with a sentence; none if no cut-outs have been made.

    Every byte of every shard is read.
    """
    good = _good_rows(root)
    shard = good["shard"].to_numpy()
    parts = {number: good.filter(pa.array(shard == number)) for number in np.unique(shard)}
    with ThreadPoolExecutor() as pool:
        found = pool.map(partial(_shard_problem, root.cutouts), parts.values())
    return {root.cutouts / shard_name(n): fault for n, fault in zip(parts, found, strict=True) if fault}


def manifest_problems(root: DataRoot) -> dict[str | None, str]:
    """The manifests (slices) whose rows name other pixels than ``cutouts`` holds, each with a sentence."""
    good, found = _good_rows(root), {}
    for entry in cards.slices(root, "manifest") if good.num_rows else ():
        named = delta.read(root, "manifest", ["galaxy_id", *PLACE], slices=[entry.card.slice])
        same = named.join(good, keys=["galaxy_id", *PLACE], join_type="inner").num_rows
        if same != named.num_rows:
            found[entry.card.slice] = (
                f"manifest '{entry.card.slice}': {named.num_rows - same} of {named.num_rows} rows name other pixels "
                "than 'cutouts' holds; run `dvc repro manifest`"
            )
    return found


def _good_rows(root: DataRoot) -> pa.Table:
    """Where the pixels of every good cut-out are; no rows if none have been made."""
    columns = ["galaxy_id", *PLACE]
    if not cards.slices(root, "cutouts"):
        return pa.table({name: pa.array([], pa.string()) for name in columns})
    rows = delta.read(root, "cutouts", ["status", *columns])
    return rows.filter(pc.equal(rows["status"], "ok")).select(columns).combine_chunks()


def _shard_problem(folder: Path, rows: pa.Table) -> str | None:
    """The problem of the shard that contains all ``rows``, or None."""
    number = rows["shard"][0].as_py()
    try:
        held = StampStore(folder).shard(number)
    except ShardError as error:
        return str(error)
    wanted = dict(zip(rows["shard_row"].to_pylist(), rows["sha256"].to_pylist(), strict=True))
    bad = sum(row >= len(held) or stamp_hash(held[row]) != digest for row, digest in wanted.items())
    if not bad and len(held) == rows.num_rows:
        return None
    path = folder / shard_name(number)
    return f"stamp shard {path}: {bad} of {rows.num_rows} stamps differ from 'cutouts'; run `dvc repro cutouts`"
