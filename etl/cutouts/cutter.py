"""Cutting out one brick's sources: what a Spark task does, on files alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from etl.config import CutoutsParams
from etl.cutouts import qa
from etl.cutouts.coadds import brick_stamps, coadd_path
from lake.errors import DataError
from lake.files import atomic
from lake.sky.survey import BANDS
from lake.store.stamps import stamp_hash
from lake.tables.cutouts import SPEC

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

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
        place = Path(self.folder) / f"{brick}.parquet"
        made_from = self.made_from(brick, ra, dec, lacking)
        if _holds(place, ids, made_from):
            return
        try:
            stamps, rows = cut_brick(Path(self.survey), brick, ra, dec, lacking, self.params)
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
        kinds = ("image", "invvar", "psfsize")
        paths = [coadd_path(Path(self.survey), brick, kind, band) for kind in kinds for band in BANDS]
        paths.append(coadd_path(Path(self.survey), brick, "maskbits", None))
        base = hashed([self.version, self.code, brick, [_state(path) for path in paths]])
        places = zip(ra.tolist(), dec.tolist(), lacking.tolist(), strict=True)
        return [hashed([base, *place]) for place in places]


def hashed(facts: Sequence[object]) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def write(place: Path, stamps: NDArray[np.float32], rows: Sequence[dict[str, object]]) -> None:
    """Write stamps (n, band, y, x) and, when they are there, their rows, to ``place`` (.parquet) and beside it."""
    with atomic.replacing(place.with_suffix(".npy")) as draft, draft.open("wb") as file:
        np.save(file, stamps.astype("<f4", copy=False))
    named = [row | {"file": place.stem if row["status"] == "ok" else None} for row in rows]
    with atomic.replacing(place) as draft:
        pq.write_table(pa.Table.from_pylist(named, schema=INDEX_SCHEMA), draft)


def _holds(place: Path, ids: Sequence[str], made_from: Sequence[str]) -> bool:
    """Whether a file has the rows of these sources, made from the same."""
    if not place.exists():
        return False
    held = pq.read_table(place, columns=["galaxy_id", "made_from"])
    return held["galaxy_id"].to_pylist() == list(ids) and held["made_from"].to_pylist() == list(made_from)


def _state(path: Path) -> str:
    """Name, size and time of change of a file, or that it is absent."""
    if not path.exists():
        return f"{path.name} absent"
    facts = path.stat()
    return f"{path.name} {facts.st_size} {facts.st_mtime_ns}"


def cut_brick(
    survey: Path, brick: str, ra: Floats, dec: Floats, lacking: Flags, params: CutoutsParams
) -> tuple[NDArray[np.float32], list[dict[str, object]]]:
    """Good stamps (n, band, y, x) of one brick, and a row for each position that says what became of it."""
    found = brick_stamps(survey, brick, ra, dec, params.stamp_pixels, params.maskbits, lacking)
    conditions = np.concatenate([found.psfsize, found.psfdepth], axis=1)
    verdicts = qa.judged(found.stamps, found.masked, params)
    rows: list[dict[str, object]] = [{"status": "rejected", "reason": OUTSIDE} for _ in ra]
    kept: list[int] = []
    for place, source in enumerate(np.flatnonzero(found.inside)):
        x, y = found.windows.x_offset_px[source], found.windows.y_offset_px[source]
        known = {n: float(v) for n, v in zip(CONDITIONS, conditions[place], strict=True) if np.isfinite(v)}
        rows[source] = {**verdicts[place], "x_offset_px": float(x), "y_offset_px": float(y), **known}
        if verdicts[place]["status"] == "ok":
            rows[source] |= {"file_row": len(kept), "sha256": stamp_hash(found.stamps[place])}
            kept.append(place)
    return found.stamps[kept], rows
