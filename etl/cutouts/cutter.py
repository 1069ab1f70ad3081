"""Cutting out one brick's sources: what a Spark task does, on files alone."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from etl.config import CutoutsParams
from etl.cutouts import qa
from etl.cutouts.coadds import BrickReader, BrickStamps, brick_folder, coadd_name
from lake.errors import DataError
from lake.files import storage
from lake.files.objects import Found
from lake.sky.survey import BANDS
from lake.store.stamps import stamp_hash
from lake.tables.cutouts import SPEC

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NO_BRICK = "no brick holds the whole window"
OUTSIDE = "the coadd does not hold the whole window"
CONDITIONS = tuple(f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in BANDS)
"""Seeing and depth; files made elsewhere carry them as ``meta_psfsize_r`` and so on, for finders that need them."""
_LATER = ("shard", "shard_row")
INDEX_SCHEMA = pa.schema(
    [
        *(field for field in SPEC.row_schema() if field.name not in _LATER),
        ("file", pa.string()),
        ("file_row", pa.int64()),
        ("made_from", pa.string()),
    ]
)
"""One row per source, as whoever made the stamps leaves them: the columns of ``cutouts`` that are known before the
shards are, the ``.npy`` file that holds the stamp and its row there, and a hash of what the row was made from (null: it
is to be made again next time)."""

_DONE_SCHEMA = pa.schema([("brick", pa.string()), ("rows", pa.int64())])


@dataclass(frozen=True)
class BrickCutter:
    """``mapInArrow`` function: bricks with their sources -> bricks done; pixels and rows go to files in ``folder``.

    ``version`` is the ``cutout_version`` of its rows, ``code`` a hash of the code.
    """

    survey: str
    folder: str
    params: CutoutsParams
    version: str
    code: str = ""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            done = []
            for task in batch.to_pylist():
                places = tuple(np.array(task[name]) for name in ("ra", "dec", "lacking"))
                self.brick(task["brick"], task["galaxy_id"], *places)
                done.append({"brick": task["brick"], "rows": len(task["galaxy_id"])})
            yield pa.RecordBatch.from_pylist(done, schema=_DONE_SCHEMA)

    def brick(self, brick: str, ids: Sequence[str], ra: Floats, dec: Floats, lacking: Flags) -> None:
        """Cut out one brick's sources, unless their files are there and made from the same.

        ``lacking`` marks sources whose seeing and depth are to be taken from the coadds.
        """
        place = storage.below(self.folder, f"{brick}.parquet")
        made_from = self.made_from(brick, ra, dec, lacking)
        if _holds(place, ids, made_from):
            return
        try:
            stamps, rows = cut_brick(self.survey, brick, ra, dec, lacking, self.params)
        except DataError as error:
            size = self.params.stamp_pixels
            stamps = np.empty((0, len(BANDS), size, size), dtype=np.float32)
            rows = [{"status": "rejected", "reason": str(error)} for _ in ids]
        same = {"brickname": brick, "cutout_version": self.version}
        complete = [
            {"galaxy_id": name, "made_from": made, **same, **row}
            for name, made, row in zip(ids, made_from, rows, strict=True)
        ]
        write(place, stamps, complete)

    def made_from(self, brick: str, ra: Floats, dec: Floats, lacking: Flags) -> list[str]:
        """For each source of a brick, a hash of what its cut-out is made from: place, coadds, settings and code."""
        base = hashed([self.version, self.code, brick, states(self.survey, brick)])
        places = zip(ra.tolist(), dec.tolist(), lacking.tolist(), strict=True)
        return [hashed([base, *place]) for place in places]


def states(survey: str, brick: str) -> list[str]:
    """The state of a brick's coadds: it differs if one of them has changed."""
    names = [coadd_name(brick, kind, band) for kind in ("image", "invvar", "psfsize") for band in BANDS]
    there = dict(storage.files(brick_folder(survey, brick)))
    return [_state(name, there.get(name)) for name in (*names, coadd_name(brick, "maskbits", None))]


def hashed(facts: Sequence[object]) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def write(place: str, stamps: NDArray[np.float32], rows: Sequence[dict[str, object]]) -> None:
    """Write stamps (n, band, y, x) and, when they are there, their rows, to ``place`` (.parquet) and beside it."""
    with storage.writing(f"{place.removesuffix('.parquet')}.npy") as file:
        np.save(file, stamps.astype("<f4", copy=False))
    stem = place.rpartition("/")[2].removesuffix(".parquet")
    named = [row | {"file": stem if row["status"] == "ok" else None} for row in rows]
    with storage.writing(place) as file:
        pq.write_table(pa.Table.from_pylist(named, schema=INDEX_SCHEMA), file)


def _holds(place: str, ids: Sequence[str], made_from: Sequence[str]) -> bool:
    """Whether a file has the rows of these sources, made from the same."""
    try:
        with storage.open_file(place) as file:
            held = pq.ParquetFile(file).read(["galaxy_id", "made_from"])
    except FileNotFoundError:
        return False
    return held["galaxy_id"].to_pylist() == list(ids) and held["made_from"].to_pylist() == list(made_from)


def _state(name: str, found: Found | None) -> str:
    """Name, size and what changes with the content of a file, or that it is absent."""
    return f"{name} {found.size} {found.identity}" if found else f"{name} absent"


class _Worker(threading.local):
    """What this thread keeps from one task to the next."""

    def __init__(self) -> None:
        self.reader = BrickReader()


_WORKER = _Worker()


def cut_brick(
    survey: str, brick: str, ra: Floats, dec: Floats, lacking: Flags, params: CutoutsParams
) -> tuple[NDArray[np.float32], list[dict[str, object]]]:
    """Good stamps (n, band, y, x) of one brick, valid until the next, and a row for each position that says what became
    of it.
    """
    found = _WORKER.reader.stamps(survey, brick, ra, dec, params.stamp_pixels, params.maskbits, lacking)
    rows, kept, inside = _judged(found, params), 0, np.flatnonzero(found.inside)
    for place, source in enumerate(inside.tolist()):
        if rows[source]["status"] == "ok":
            rows[source]["file_row"] = kept
            if kept != place:
                found.stamps[kept] = found.stamps[place]
            kept += 1
    return found.stamps[:kept], rows


def _judged(found: BrickStamps, params: CutoutsParams) -> list[dict[str, object]]:
    """For each position a row that says what became of it."""
    conditions = np.concatenate([found.psfsize, found.psfdepth], axis=1)
    verdicts = qa.judged(found.stamps, found.masked, params)
    rows: list[dict[str, object]] = [{"status": "rejected", "reason": OUTSIDE} for _ in found.inside]
    for place, source in enumerate(np.flatnonzero(found.inside)):
        x, y = found.windows.x_offset_px[source], found.windows.y_offset_px[source]
        known = {n: float(v) for n, v in zip(CONDITIONS, conditions[place], strict=True) if np.isfinite(v)}
        rows[source] = {**verdicts[place], "x_offset_px": float(x), "y_offset_px": float(y), **known}
        if verdicts[place]["status"] == "ok":
            rows[source]["sha256"] = stamp_hash(found.stamps[place])
    return rows
