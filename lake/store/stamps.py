"""Stamps: packed ``.npy`` shards (n, band, y, x) little-endian float32 nMgy."""

from __future__ import annotations

import errno
import hashlib
import math
import os
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
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
"""Columns of the place and the hash of a cut-out's stamp."""
SIMULATED_HASH = "xxh3_128"
"""Column of the hash of a simulated stamp."""
HASHES: dict[str, Callable[[Any], Any]] = {"sha256": hashlib.sha256, SIMULATED_HASH: xxhash.xxh3_128}
"""Columns of a stamp's hash, of which a table has one, and what makes it. A simulated stamp can be made again from its
plan, so its hash needs to tell damage and other runs, not forgery, and takes a tenth of the time."""

_HASHED_TOGETHER = 16
"""Stamps hashed right after they are written: few enough to be in the processor's cache still."""
BUCKET_SEED = 0
ANY_SHARD = "bucket-*.npy"


def bucket_of(galaxy_ids: pa.Array | pa.ChunkedArray, buckets: int) -> NDArray[np.int64]:
    """Shard number of each galaxy."""
    return (key_hash(BUCKET_SEED, galaxy_ids) % np.uint64(buckets)).astype(np.int64)


def shard_name(bucket: int) -> str:
    return f"bucket-{bucket:04d}.npy"


def write_shard(path: Path, stamps: Iterable[NDArray[np.float32]], rows: int, pixels: int) -> None:
    """Write a shard of ``rows`` stamps (band, pixels, pixels) one by one, by rename at the end."""
    shape = (rows, len(BANDS), pixels, pixels)
    with atomic.replacing(path) as draft, draft.open("wb") as file:
        facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, facts)
        start = file.tell()
        for stamp in stamps:
            file.write(np.ascontiguousarray(stamp, dtype="<f4").data)
        if (written := file.tell() - start) != 4 * math.prod(shape):
            raise ShardError(f"{path}: {written} bytes of stamps were given for an array of shape {shape}")


class GrowingShard:
    """A shard of simulated stamps whose number of rows is not known before its end; the header is written last.

    Room for the ``most`` rows that it may get is taken from the disk at once where the file system can do so: writing
    is faster then, and a full disk is known before anything is drawn.
    """

    def __init__(self, file: BinaryIO, pixels: int, most: int) -> None:
        self._file, self._pixels, self.rows = file, pixels, 0
        self._start = self._header()
        try:
            os.posix_fallocate(file.fileno(), 0, self._start + most * self._stamp_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # file systems that cannot do it
                raise

    @property
    def _stamp_bytes(self) -> int:
        return 4 * len(BANDS) * self._pixels**2

    def append(self, stamps: NDArray[np.float32]) -> tuple[NDArray[np.int64], list[str]]:
        """Add stamps (batch, band, y, x); their rows and hashes."""
        digests: list[str] = []
        for start in range(0, len(stamps), _HASHED_TOGETHER):
            some = np.ascontiguousarray(stamps[start : start + _HASHED_TOGETHER], dtype="<f4")
            self._file.write(some.data)
            digests += [stamp_hash(stamp, SIMULATED_HASH) for stamp in some]
        first, self.rows = self.rows, self.rows + len(stamps)
        return np.arange(first, self.rows), digests

    def close(self) -> None:
        """Write the header with the number of rows, and give back what they do not fill."""
        self._file.seek(0)
        if self._header() != self._start:
            raise ShardError(f"a shard of {self.rows} rows needs another header than an empty one")
        self._file.truncate(self._start + self.rows * self._stamp_bytes)

    def _header(self) -> int:
        shape = (self.rows, len(BANDS), self._pixels, self._pixels)
        facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, facts)
        return self._file.tell()


def stamp_hash(stamp: NDArray[np.float32], column: str = "sha256") -> str:
    """The hash of a stamp's bytes, little-endian, as a column of the tables holds it: ``sha256`` or ``xxh3_128``."""
    return str(HASHES[column](np.ascontiguousarray(stamp, dtype="<f4").data).hexdigest())


def hash_column(columns: Collection[str]) -> str:
    """The column of a table that holds the hashes of its stamps."""
    return next(name for name in HASHES if name in columns)


class StampStore:
    """Stamps of a folder of shards, read through memory maps and checked against the tables' hashes.

    ``stage`` makes the folder, and ``manifest`` the rows that name its stamps, for errors that say what to run. Copies
    of shards in an object store are kept in ``copies``, by default ``work/shards`` beside the folder.
    """

    def __init__(
        self, folder: Path, stage: str = "cutouts", manifest: str = "manifest", copies: Path | None = None
    ) -> None:
        self.folder, self.stage, self._manifest = folder, stage, manifest
        self._copies = copies or folder.parent / "work" / "shards"
        self._maps: dict[int, NDArray[np.float32]] = {}

    def get(self, rows: pa.Table | pd.DataFrame) -> NDArray[np.float32]:
        """Stamps (batch, band, y, x) of rows with ``shard``, ``shard_row`` and the stamp's hash, in their order.

        ShardError if a shard has other pixels than a row names: it is from another run, or damaged.
        """
        shard, row = (rows[name].to_numpy().astype(np.int64) for name in ("shard", "shard_row"))
        if not len(shard):
            raise DataError("no stamps were asked for")
        first = self.shard(int(shard[0]))
        out = np.empty((len(shard), *first.shape[1:]), dtype=np.float32)
        for number in np.unique(shard):
            place = np.flatnonzero(shard == number)
            place = place[np.argsort(row[place], kind="stable")]
            held = self.shard(int(number))
            if row[place[0]] < 0 or row[place[-1]] >= len(held) or held.shape[1:] != first.shape[1:]:
                raise self._other_pixels(int(number))
            out[place] = held[row[place]]
        hashed = hash_column(rows.column_names if isinstance(rows, pa.Table) else rows.columns)
        for stamp, number, wanted in zip(out, shard, rows[hashed].to_numpy(), strict=True):
            if stamp_hash(stamp, hashed) != wanted:
                raise self._other_pixels(int(number))
        return out

    def path(self, number: int) -> Path:
        """The file of a shard: in the folder, or a copy of the object that the folder's list names."""
        path = self.folder / shard_name(number)
        if path.is_file():
            return path
        return remoteshards.fetched(self.folder, path.name, self._copies, self.stage) or path

    def shard(self, number: int) -> NDArray[np.float32]:
        """All stamps (row, band, y, x) of one shard, as a memory map."""
        if number not in self._maps:
            path = self.path(number)
            if not path.is_file():
                raise ShardError(f"stamp shard {path} is missing; run `dvc pull` or `dvc repro {self.stage}`")
            try:
                held = np.load(path, mmap_mode="r", allow_pickle=False)
            except Exception as error:  # a damaged header makes numpy's parsers raise any exception
                raise ShardError(
                    f"stamp shard {path} cannot be read ({error}); run `dvc repro {self.stage}`"
                ) from error
            if held.dtype != np.dtype("<f4") or held.ndim != 4 or held.shape[1] != len(BANDS):
                raise self._other_pixels(number)
            self._maps[number] = held
        return self._maps[number]

    def _other_pixels(self, number: int) -> ShardError:
        return ShardError(
            f"stamp shard {self.folder / shard_name(number)} does not hold the pixels that the tables name; "
            f"run `dvc repro {self._manifest}`, which brings stamps and manifests into agreement"
        )


def of_set(root: DataRoot, name: str) -> StampStore:
    """The simulated stamps of a set."""
    return StampStore(root.stamps(name), f"stamps@{name}", "stamp_manifest", root.work("shards", ""))


def shard_problems(root: DataRoot) -> dict[Path, str]:
    """Missing or changed shards of cut-outs and simulated stamps, each with a sentence; none if none have been made.

    Every byte of every shard is read.
    """
    sets = [str(entry.card.slice) for entry in cards.slices(root, "stamps")]
    kinds = [
        (StampStore(root.cutouts), _good_rows(root)),
        *((of_set(root, name), _good_rows(root, name)) for name in sets),
    ]
    found: dict[Path, str] = {}
    for store, good in kinds:
        shard = good["shard"].to_numpy()
        parts = {number: good.filter(pa.array(shard == number)) for number in np.unique(shard)}
        with ThreadPoolExecutor() as pool:
            told = pool.map(partial(_shard_problem, store), parts.values())
        found |= {store.folder / shard_name(n): fault for n, fault in zip(parts, told, strict=True) if fault}
    return found


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


def _good_rows(root: DataRoot, set_name: str | None = None) -> pa.Table:
    """Where the pixels of every good cut-out, or simulated stamp of a set, are; no rows if none have been made."""
    table, name = ("cutouts", "galaxy_id") if set_name is None else ("stamps", "stamp_id")
    columns = [name, *PLACE[:2], PLACE[2] if set_name is None else SIMULATED_HASH]
    if not cards.slices(root, table):
        return pa.table({name: pa.array([], pa.string()) for name in columns})
    rows = delta.read(root, table, ["status", *columns], slices=None if set_name is None else [set_name])
    return rows.filter(pc.equal(rows["status"], "ok")).select(columns).combine_chunks()


def _shard_problem(store: StampStore, rows: pa.Table) -> str | None:
    """The problem of the shard that contains all ``rows``, or None."""
    number = rows["shard"][0].as_py()
    try:
        held = store.shard(number)
    except ShardError as error:
        return str(error)
    hashed = hash_column(rows.column_names)
    wanted = dict(zip(rows["shard_row"].to_pylist(), rows[hashed].to_pylist(), strict=True))
    bad = sum(row >= len(held) or stamp_hash(held[row], hashed) != digest for row, digest in wanted.items())
    if not bad and len(held) == len(wanted):
        return None
    path, stage = store.folder / shard_name(number), store.stage
    table = stage.partition("@")[0]
    return f"stamp shard {path}: {bad} of {len(wanted)} stamps differ from '{table}'; run `dvc repro {stage}`"
