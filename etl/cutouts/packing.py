"""Stamps into shards. A shard of an earlier run whose stamps are all wanted again is kept; new stamps go to further
files of their buckets. The inputs of every stamp are recorded beside the shards, so that it need not be made again.
"""

from __future__ import annotations

import json
import logging
import operator
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from etl.config import CutoutsParams
from etl.cutouts.cutter import INDEX_SCHEMA
from etl.cutouts.cutting import Sources
from lake import tables
from lake.errors import DataError, ShardError
from lake.files import atomic
from lake.store.stamps import ANY_SHARD, StampStore, bucket_of, shard_name, stamp_hash, write_shard

log = logging.getLogger(__name__)

PACKED_SCHEMA = pa.schema([*INDEX_SCHEMA, ("shard", pa.int32()), ("shard_row", pa.int32())])
"""An index whose good rows also say where in the shards their stamps are (null: not packed yet)."""
_BUCKETS, _SHARDS = b"buckets", b"shards"
_MOST_NEW = 0.1
"""Shards are kept if at most this share of all stamps is new; otherwise all stamps are packed again, in order."""


class Maker(Protocol):
    """Makes stamps of sources."""

    def made_from(self, wanted: Sources) -> Sequence[str | None]:
        """For each source, a hash of what its stamp is made from (None: unknown)."""

    def make(self, wanted: Sources, folder: Path) -> pa.Table:
        """Index (``INDEX_SCHEMA``) of all sources; their stamps lie in files of ``folder``."""


def completed(maker: Maker, wanted: Sources, folder: Path, known: pa.Table) -> pa.Table:
    """Index (``PACKED_SCHEMA``) of all sources: ``known`` rows whose inputs are unchanged; the others are made now."""
    again = np.zeros(len(wanted), dtype=bool)
    if known.num_rows:
        before = dict(zip(known["galaxy_id"].to_pylist(), known["made_from"].to_pylist(), strict=True))
        made_from = zip(wanted.ids, maker.made_from(wanted), strict=True)
        again = np.array([made is not None and before.get(name) == made for name, made in made_from], dtype=bool)
    kept = known.filter(pc.is_in(known["galaxy_id"], value_set=pa.array(wanted.ids[again], pa.string())))
    made = maker.make(wanted.where(~again), folder)
    if kept.num_rows + made.num_rows != len(wanted):
        raise DataError(f"{len(wanted)} cut-outs were requested, but {kept.num_rows + made.num_rows} are accounted for")
    for name in ("shard", "shard_row"):
        made = made.append_column(PACKED_SCHEMA.field(name), pa.nulls(made.num_rows, pa.int32()))
    return pa.concat_tables([kept, made])


def earlier(memory: Path, folder: Path, params: CutoutsParams) -> pa.Table:
    """Rows of earlier runs (``PACKED_SCHEMA``) that may be used again: rejected ones, and good ones whose stamps are in
    the shards of ``folder``. A shard with another size or time of change than the run left is compared with its hashes.
    """
    try:
        rows = pq.read_table(memory)
        same = rows.schema.equals(PACKED_SCHEMA) and rows.schema.metadata.get(_BUCKETS) == _written(params.buckets)
    except (OSError, pa.ArrowInvalid):
        same = False
    if not same:
        return PACKED_SCHEMA.empty_table()
    left, found = json.loads(rows.schema.metadata.get(_SHARDS, b"{}")), _state(folder)
    rows = rows.replace_schema_metadata(None).filter(pc.is_valid(rows["made_from"]))
    numbers = [number for number in pc.unique(rows["shard"]).to_pylist() if number is not None]
    parts = [rows.filter(pc.equal(rows["shard"], number)) for number in numbers]

    def sound(number: int, rows: pa.Table) -> bool:
        name = shard_name(number)
        return (name in found and found[name] == left.get(name)) or _sound(StampStore(folder), number, rows)

    with ThreadPoolExecutor() as threads:
        checked = list(threads.map(sound, numbers, parts))
    kept = [part for part, good in zip(parts, checked, strict=True) if good]
    return pa.concat_tables([rows.filter(pc.is_null(rows["shard"])), *kept])


def _sound(store: StampStore, number: int, rows: pa.Table) -> bool:
    """Whether a shard has the stamps of these rows."""
    places = rows["shard_row"].to_pylist()
    try:
        held = store.shard(number)
    except ShardError:
        return False
    if max(places) >= len(held):
        return False
    return all(map(operator.eq, (stamp_hash(held[place]) for place in places), rows["sha256"].to_pylist()))


def _state(folder: Path) -> dict[str, list[int]]:
    """Size and time of change of each shard in a folder."""
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in folder.glob(ANY_SHARD)}


def remember(memory: Path, index: pa.Table, folder: Path, params: CutoutsParams) -> None:
    """Keep a packed index, whose stamps are in the shards of ``folder``, for :func:`earlier`."""
    shards = json.dumps(_state(folder)).encode()
    with atomic.replacing(memory) as draft:
        pq.write_table(index.replace_schema_metadata({_BUCKETS: _written(params.buckets), _SHARDS: shards}), draft)


def _written(buckets: int) -> bytes:
    return str(buckets).encode()


def packed(index: pa.Table, work: Path, old: Path, folder: Path, params: CutoutsParams) -> pa.Table:
    """Put the good stamps of an index (``PACKED_SCHEMA``) into shards in ``folder``; the index with all places.

    Stamps without a place are in ``<work>/<file>.npy``, the others in the shards of ``old``. Those of a shard that is
    wanted whole keep their places, unless more than a tenth of all stamps lie elsewhere; the others are ordered by
    galaxy_id in the first file of their bucket that is free.
    A shard that an interrupted run finished is not written again.
    """
    good = index.filter(pc.equal(index["status"], "ok")).sort_by("galaxy_id")
    shard, row = (pc.fill_null(good[name], -1).to_numpy().astype(np.int32) for name in ("shard", "shard_row"))
    held = StampStore(old)
    kept = _whole(shard, held)
    for number in kept:
        _keep(held.path(number), folder / shard_name(number))
    moving = np.flatnonzero(~np.isin(shard, kept))
    target = bucket_of(good["galaxy_id"], params.buckets).astype(np.int32)
    for number in kept:  # in ascending order
        target[moving[target[moving] == number]] += params.buckets
    stamps = _Stamps(good, work, held, shard, row)
    for number in np.unique(target[moving]):
        members = moving[target[moving] == number]
        place = folder / shard_name(int(number))
        if not _complete(place, int(number), [stamps.sha256[i] for i in members]):
            write_shard(place, map(stamps.get, members), len(members), params.stamp_pixels)
        shard[members], row[members] = number, np.arange(len(members))
    _log(good.num_rows, index.num_rows, len(kept), len(np.unique(shard)))
    places = pa.table({"galaxy_id": good["galaxy_id"], "shard": shard, "shard_row": row})
    found = index.drop_columns(["shard", "shard_row"]).join(places, "galaxy_id").sort_by("galaxy_id")
    return found.select(PACKED_SCHEMA.names).cast(PACKED_SCHEMA)


def _log(good: int, rows: int, kept: int, shards: int) -> None:
    log.info("%d cut-outs in %d shards, of which %d stay as they are; %d rejected", good, shards, kept, rows - good)


def rows(index: pa.Table) -> pa.Table:
    """``cutouts`` rows of a packed index, lineage excepted."""
    schema = tables.spec("cutouts").row_schema()
    return index.select(schema.names).cast(schema)


def _whole(shard: NDArray[np.int32], old: StampStore) -> list[int]:
    """The shards to keep: those whose stamps are all still wanted; none if too many stamps lie elsewhere."""
    numbers, count = np.unique(shard[shard >= 0], return_counts=True)
    found = [int(n) for n, held in zip(numbers, count, strict=True) if len(old.shard(int(n))) == held]
    return found if np.isin(shard, found).sum() >= (1 - _MOST_NEW) * len(shard) else []


def _keep(path: Path, place: Path) -> None:
    """Put the file at another place: as a hard link where the file system allows it, else as a copy."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        os.link(path.resolve(), place)
    except OSError:
        with atomic.replacing(place) as draft:
            shutil.copyfile(path, draft)


class _Stamps:
    """Stamps by their row in an index, checked against its hashes."""

    def __init__(
        self, good: pa.Table, work: Path, old: StampStore, shard: NDArray[np.int32], row: NDArray[np.int32]
    ) -> None:
        self.sha256: list[str] = good["sha256"].to_pylist()
        files, file_rows = good["file"].to_pylist(), good["file_row"].to_pylist()
        shards = {number: old.path(number) for number in np.unique(shard[shard >= 0]).tolist()}
        self._places = [
            (shards[number], place) if number >= 0 else (work / f"{file}.npy", file_row)
            for number, place, file, file_row in zip(shard.tolist(), row.tolist(), files, file_rows, strict=True)
        ]
        self._open = lru_cache(maxsize=64)(partial(np.load, mmap_mode="r"))

    def get(self, index: int) -> NDArray[np.float32]:
        path, row = self._places[index]
        stamp: NDArray[np.float32] = self._open(path)[row]
        if stamp_hash(stamp) != self.sha256[index]:
            raise DataError(f"{path} does not hold the pixels that were written there: remove it and run again")
        return stamp


def _complete(path: Path, number: int, digests: list[str]) -> bool:
    """Whether a shard holds exactly the stamps with these hashes, in this order."""
    if not path.exists():
        return False
    try:
        held = StampStore(path.parent).shard(number)
    except ShardError:
        return False
    return len(held) == len(digests) and all(map(operator.eq, map(stamp_hash, held), digests))
