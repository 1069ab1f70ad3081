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
_LATER = ("cutout_version", "shard", "shard_row")
INDEX_SCHEMA = pa.schema(
    [*(field for field in SPEC.row_schema() if field.name not in _LATER), ("brick_row", pa.int64())]
)
"""Columns of a brick's Parquet file, one row per source: those of ``cutouts`` that are known before the shards are."""

_MADE_FROM = b"made_from"
_DONE_SCHEMA = pa.schema([("brick", pa.string()), ("rows", pa.int64())])


@dataclass(frozen=True)
class BrickCutter:
    """``mapInArrow`` function: bricks with their sources -> bricks done; pixels and rows go to files in ``folder``."""

    survey: str
    folder: str
    params: CutoutsParams

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
        made_from = self._made_from(brick, ids, ra, dec, lacking)
        if place.exists() and (pq.read_schema(place).metadata or {}).get(_MADE_FROM) == made_from:
            return
        try:
            stamps, rows = cut_brick(Path(self.survey), brick, ra, dec, lacking, self.params)
        except DataError as error:
            size = self.params.stamp_pixels
            stamps = np.empty((0, 3, size, size), dtype=np.float32)
            rows = [{"status": "rejected", "reason": str(error)} for _ in ids]
        complete = [{"galaxy_id": i, "brickname": brick, **row} for i, row in zip(ids, rows, strict=True)]
        with atomic.replacing(place.with_suffix(".npy")) as draft, draft.open("wb") as file:
            np.save(file, stamps.astype("<f4", copy=False))
        schema = INDEX_SCHEMA.with_metadata({_MADE_FROM: made_from})
        with atomic.replacing(place) as draft:
            pq.write_table(pa.Table.from_pylist(complete, schema=schema), draft)

    def _made_from(self, brick: str, ids: Sequence[str], ra: Floats, dec: Floats, lacking: Flags) -> bytes:
        """Hash of what the brick's files are made from: sources, coadds and settings."""
        kinds = ("image", "invvar", "psfsize")
        paths = [coadd_path(Path(self.survey), brick, kind, band) for kind in kinds for band in BANDS]
        paths.append(coadd_path(Path(self.survey), brick, "maskbits", None))
        sources = [list(ids), ra.tolist(), dec.tolist(), lacking.tolist()]
        facts = [self.params.digest(), sources, [_state(path) for path in paths]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest().encode()


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
            rows[source] |= {"brick_row": len(kept), "sha256": stamp_hash(found.stamps[place])}
            kept.append(place)
    return found.stamps[kept], rows
