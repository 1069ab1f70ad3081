"""One shard of simulated stamps: what a Spark task does, on files alone.

A shard holds the stamps of whole bricks. First come the bare hosts of its controls, one for each galaxy however many
controls it has, then the lenses; both in the order of brick, galaxy and stamp.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from etl.cutouts.cutter import CONDITIONS, hashed, states
from etl.simulated.hosts import Hosts, read_hosts
from etl.stampconfig import StampCutting
from lake.contract.columns import POSITION
from lake.files import atomic, storage
from lake.store import remoteshards
from lake.store.stamps import SIMULATED_HASH, GrowingShard, shard_name
from lake.tables.stamps import SPEC

Images = NDArray[np.float32]
Rendered = tuple[Images, pa.Table, list[str | None]]
Renderer = Callable[[pa.Table, Images, NDArray[np.bool_], NDArray[np.int64]], Rendered]
"""From planned lenses (with the conditions and the place of their host), pixels of hosts (host, band, y, x), which of
them are usable (host, y, x), and each lens's host (lens,): stamps (lens, band, y, x), the columns of ``stamps`` that
were drawn or measured, and why lenses failed. A lens does not depend on the others."""

ROW_SCHEMA = pa.schema([field for field in SPEC.row_schema() if field.name != "set_name"])
"""Columns of a shard's Parquet file, one row per planned stamp."""
PLANNED = (
    "stamp_id", "galaxy_id", "label", "config_id", "theta_e_arcsec", "src_dmag", "src_re_arcsec", "src_e", "shear",
    "ra", "dec", "split", "healpix_128", "mag_r", *CONDITIONS,
)  # fmt: skip
"""Columns of the plan that a task gets, with ``shard`` and ``brick``."""

_REPEATED = [field.name for field in ROW_SCHEMA if pa.types.is_string(field.type) and field.name != SIMULATED_HASH]
"""Columns in which few values may stand for many rows; most others have a number of its own in each."""
_BATCH = 512
"""Lenses rendered together: enough for the fixed cost of a call, and 25 MB of pixels."""
_MADE_FROM, _PLACE = b"made_from", b"place"
_DONE = pa.schema([("shard", pa.int32()), ("rows", pa.int64()), ("place", pa.string())])


@dataclass(frozen=True)
class ShardMaker:
    """``mapInArrow`` function: planned stamps, in order of shard -> shards made, with numbers of rows and addresses.

    The rows go to ``<folder>/rows``, a path or prefix. The shards go to ``<folder>/shards``, a path, or to ``store``, a
    prefix of an object store: an object is named by the hash of its bytes, and a local shard has no address.
    """

    survey: str
    folder: str
    cutting: StampCutting
    render: Renderer
    store: str | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in _by_shard(batches):
            number = rows["shard"][0].as_py()
            place = self.make(number, rows)
            yield pa.RecordBatch.from_pylist([{"shard": number, "rows": rows.num_rows, "place": place}], schema=_DONE)

    def index(self, number: int) -> str:
        """The file of the rows of a shard."""
        return storage.below(self.folder, "rows", f"{number:04d}.parquet")

    def make(self, number: int, rows: pa.Table) -> str | None:
        """Write a shard and the rows of its stamps, unless both are there and made from the same; its address."""
        rows = rows.sort_by([(name, "ascending") for name in ("brick", "galaxy_id", "stamp_id")]).combine_chunks()
        index, made_from = self.index(number), self._made_from(rows)
        if (held := self._held(number, index, made_from)) is not None:
            return held or None
        made, place = self._written(number, rows)
        with storage.writing(index) as file:
            facts = {_MADE_FROM: made_from, _PLACE: place or ""}
            pq.write_table(made.replace_schema_metadata(facts), file, use_dictionary=_REPEATED)
        return place

    def _held(self, number: int, index: str, made_from: bytes) -> str | None:
        """The address of a finished shard, '' if it is local; None if the shard has to be made."""
        if not storage.exists(index):
            return None
        with storage.open_file(index) as file:
            facts = pq.read_schema(file).metadata or {}
        place = facts.get(_PLACE, b"").decode()
        there = place.startswith(f"{self.store}/") if self.store else not place
        there = there and storage.exists(place or self._local(number))
        return place if there and facts.get(_MADE_FROM) == made_from else None

    def _local(self, number: int) -> str:
        return storage.below(self.folder, "shards", shard_name(number))

    def _written(self, number: int, rows: pa.Table) -> tuple[pa.Table, str | None]:
        """Make a shard and store it; rows of its stamps, and its address."""
        if self.store is None:
            return self._drawn(Path(self._local(number)), number, rows), None
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, shard_name(number))
            made = self._drawn(path, number, rows)
            return made, remoteshards.sent(path, self.store)

    def _drawn(self, path: Path, number: int, rows: pa.Table) -> pa.Table:
        """Write a shard to a local path; rows of its stamps."""
        galaxies, host = _galaxies(rows)
        hosts = read_hosts(self.survey, galaxies, self.cutting)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as draft, draft.open("w+b") as file:
            most = galaxies.num_rows + int(np.sum(rows["label"].to_numpy()))
            shard = GrowingShard(file, self.cutting.stamp_pixels, most)
            made = Stamps(rows, host, hosts, self.cutting).written(shard, number, self.render)
            shard.close()
        return made

    def _made_from(self, rows: pa.Table) -> bytes:
        """Hash of the coadds that a shard is made from; its folder belongs to one plan, one code, one set of values."""
        bricks = [brick for brick in sorted(set(rows["brick"].to_pylist())) if brick]
        return hashed([rows.num_rows, *(states(self.survey, brick) for brick in bricks)]).encode()


def _by_shard(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows of each shard; rows of one shard follow each other."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        number = batch["shard"].to_numpy()
        edges = np.flatnonzero(np.diff(number)) + 1
        for first, last in zip([0, *edges], [*edges, len(number)], strict=True):
            if waiting and waiting[0]["shard"][0].as_py() != number[first]:
                yield pa.Table.from_batches(waiting)
                waiting = []
            waiting.append(batch.slice(first, last - first))
    if waiting:
        yield pa.Table.from_batches(waiting)


def _galaxies(rows: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
    """One row per galaxy of ordered rows, and for each row the place of its galaxy."""
    ids = rows["galaxy_id"].combine_chunks().dictionary_encode()
    _, first = np.unique(ids.indices.to_numpy(), return_index=True)
    return rows.take(pa.array(first)), ids.indices.to_numpy().astype(np.int64)


@dataclass(frozen=True)
class Stamps:
    """The planned stamps of one shard with their hosts; ``host`` is the place of each row's galaxy."""

    rows: pa.Table
    host: NDArray[np.int64]
    hosts: Hosts
    cutting: StampCutting

    def written(self, shard: GrowingShard, number: int, render: Renderer) -> pa.Table:
        """Append the pixels to the shard; rows of ``ROW_SCHEMA``."""
        lens = self.rows["label"].to_numpy() == 1
        given = [self.hosts.reasons[place] for place in self.host]
        reason = np.array(given, dtype=object)
        place, digest = np.full(len(lens), -1, dtype=np.int64), np.full(len(lens), None, dtype=object)
        good = np.array([why is None for why in given])
        self._append_controls(shard, np.flatnonzero(good & ~lens), place, digest)
        out = place, digest, reason
        drawn = [self._append_lenses(shard, part, render, out) for part in _parts(good & lens)]
        columns = self._facts(place, digest, reason, number)
        columns |= _scattered(np.flatnonzero(good & lens), drawn, len(lens))
        nothing = [pa.nulls(len(lens), field.type) for field in ROW_SCHEMA]
        whole = {**dict(zip(ROW_SCHEMA.names, nothing, strict=True)), **columns}
        return pa.table([_cast(whole[field.name], field.type) for field in ROW_SCHEMA], schema=ROW_SCHEMA)

    def _append_controls(
        self, shard: GrowingShard, rows: NDArray[np.int64], place: NDArray[np.int64], digest: NDArray[np.object_]
    ) -> None:
        """Append each host of controls once."""
        galaxies, which = np.unique(self.host[rows], return_inverse=True)
        held, hashes = shard.append(self.hosts.stamps[galaxies])
        place[rows], digest[rows] = held[which], np.array(hashes, dtype=object)[which]

    def _append_lenses(
        self,
        shard: GrowingShard,
        rows: NDArray[np.int64],
        render: Renderer,
        out: tuple[NDArray[np.int64], NDArray[np.object_], NDArray[np.object_]],
    ) -> pa.Table:
        """Render and append lenses; the columns that were drawn or measured."""
        place, digest, reason = out
        host = self.host[rows]
        images, columns, failed = render(self._planned(rows, host), self.hosts.stamps, self.hosts.usable, host)
        fine = np.array([why is None for why in failed])
        made = images if fine.all() else images[fine]
        place[rows[fine]], digest[rows[fine]] = shard.append(made)
        reason[rows[~fine]] = [why for why in failed if why is not None]
        return columns

    def _planned(self, rows: NDArray[np.int64], host: NDArray[np.int64]) -> pa.Table:
        """Planned rows with the conditions that are used and the offset of the host (pixels)."""
        planned = self.rows.take(pa.array(rows))
        for number, name in enumerate(CONDITIONS):
            values = pa.array(self.hosts.conditions[host, number])
            planned = planned.set_column(planned.column_names.index(name), name, values)
        for axis, name in enumerate(("x_offset_px", "y_offset_px")):
            planned = planned.append_column(name, pa.array(self.hosts.offsets_px[host, axis]))
        return planned

    def _facts(
        self,
        place: NDArray[np.int64],
        digest: NDArray[np.object_],
        reason: NDArray[np.object_],
        number: int,
    ) -> dict[str, pa.Array]:
        """Columns that lenses and controls have."""
        hosts, host, theta_e = self.hosts, self.host, self.rows["theta_e_arcsec"].to_numpy()
        stored, seen = place >= 0, np.array([why is None for why in hosts.reasons])[host]
        share = np.full(len(host), np.nan)
        share[seen] = hosts.ring_masked(host[seen], theta_e[seen])
        masked = 1.0 - hosts.usable.mean(axis=(1, 2))
        width = hosts.conditions[host, CONDITIONS.index("psfsize_r")]
        own = ("stamp_id", "galaxy_id", "label", "config_id", *_CONFIGURED, *(c.name for c in POSITION), "split")
        return {
            **{name: self.rows[name] for name in (*own, "healpix_128")},
            **{name: _known(hosts.conditions[host, k]) for k, name in enumerate(CONDITIONS)},
            "status": pa.array(np.where(stored, "ok", "rejected")),
            "reason": pa.array(reason, pa.string()),
            "shard": pa.array(np.full(len(host), number), mask=~stored),
            "shard_row": pa.array(place, mask=~stored),
            SIMULATED_HASH: pa.array(digest, pa.string()),
            "x_offset_px": _known(hosts.offsets_px[host, 0]),
            "y_offset_px": _known(hosts.offsets_px[host, 1]),
            "masked_fraction": pa.array(masked[host], mask=~seen),
            "ring_masked_fraction": _known(share),
            "ring_masked": pa.array(share > self.cutting.ring_masked_above, mask=~seen),
            "theta_e_over_fwhm_nea": _known(theta_e / width),
        }


_CONFIGURED = ("theta_e_arcsec", "src_dmag", "src_re_arcsec", "src_e", "shear")


def _parts(chosen: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Places of chosen rows in batches; the batches of a shard are the same in every run."""
    places = np.flatnonzero(chosen)
    return [places[start : start + _BATCH] for start in range(0, len(places), _BATCH)]


def _scattered(places: NDArray[np.int64], parts: list[pa.Table], count: int) -> dict[str, pa.Array]:
    """Columns of some rows as columns of all, null in the others."""
    if not parts:
        return {}
    rows = pa.concat_tables(parts)
    where = np.zeros(count, dtype=np.int64)
    where[places] = np.arange(rows.num_rows)
    taken = rows.take(pa.array(where, mask=~np.isin(np.arange(count), places)))
    return {name: taken[name] for name in taken.column_names}


def _known(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, mask=~np.isfinite(values))


def _cast(values: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return whole.cast(kind)
