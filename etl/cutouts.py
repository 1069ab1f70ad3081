"""Negatives and matched candidates -> stamps: one task per brick, partial files for a repeated run, then shards."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from etl import qa
from etl.coadds import Bricks, Windows, brick_masks, brick_stamps, holding_brick
from etl.config import CutoutsParams
from etl.frames import contract_schema
from lake import tables
from lake.errors import DataError
from lake.stamps import bucket_of, shard_name, write_shard

log = logging.getLogger(__name__)

NO_BRICK = "no brick holds the whole window"
OUTSIDE = "the coadd does not hold the whole window"
METRICS = (
    "nan_fraction", "core_nan_fraction", "masked_fraction", "zero_fraction", "core_mean_r", "annulus_mean_r",
    "outer_mean_r", "mad_r", "asymmetry_r", "radial_gradient_r", "percentile_1_r", "percentile_99_r",
)  # fmt: skip
INDEX_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("galaxy_id", "status", "reason", "brickname")),
        ("brick_row", pa.int64()),
        ("sha256", pa.string()),
        *((name, pa.float32()) for name in ("x_offset_px", "y_offset_px", *METRICS)),
    ]
)
_BRICK_DDL = "brick string, galaxy_id array<string>, ra array<double>, dec array<double>"
_DONE_SCHEMA = pa.schema([("brick", pa.string()), ("rows", pa.int64())])


def requests(negatives: DataFrame, candidates: DataFrame, near: DataFrame) -> DataFrame:
    """Sources to cut out: galaxy_id, ra, dec, brickname of the negatives and of the candidates' matches."""
    columns = ("galaxy_id", "ra", "dec", "brickname")
    matched = candidates.where("match_reason = 'matched'").select("galaxy_id").distinct()
    positives = near.join(matched, on="galaxy_id", how="left_semi").select(*columns)
    return positives.unionByName(negatives.select(*columns)).dropDuplicates(["galaxy_id"])


def version(params: CutoutsParams, source: str) -> str:
    """``cutout_version``: hash of where the pixels come from and how they are cut and judged."""
    settings = params.model_dump(mode="json", exclude={"buckets", "coadd_pixels"})
    return hashlib.sha256(json.dumps([source, settings], sort_keys=True).encode()).hexdigest()[:16]


def extract(spark: SparkSession, wanted: DataFrame, survey: Path, params: CutoutsParams, work: Path) -> pa.Table:
    """Cut out what is ``wanted`` and judge it; the index (``INDEX_SCHEMA``) of all of it, ordered by galaxy_id.

    Each brick leaves ``<work>/bricks/<brick>.npy`` (its good stamps) and ``.parquet`` (its rows), which a repeated run
    does not make again.
    """
    rows = wanted.select("galaxy_id", "ra", "dec", "brickname").toPandas().sort_values("galaxy_id")
    ids, own = rows["galaxy_id"].to_numpy(dtype=object), rows["brickname"].to_numpy(dtype=str)
    ra, dec = rows["ra"].to_numpy(dtype=np.float64), rows["dec"].to_numpy(dtype=np.float64)
    bricks = Bricks.read(survey / "survey-bricks.fits")
    chosen = holding_brick(bricks, own, ra, dec, params.stamp_pixels, params.coadd_pixels)
    folder = work.resolve() / "bricks"
    folder.mkdir(parents=True, exist_ok=True)
    names = [str(name) for name in np.unique(chosen) if name]
    groups = {name: np.flatnonzero(chosen == name) for name in names}
    tasks = [(name, ids[g].tolist(), ra[g].tolist(), dec[g].tolist()) for name, g in groups.items()]
    cutter = BrickCutter(str(survey.resolve()), str(folder), params)
    frame = spark.createDataFrame(tasks, _BRICK_DDL).repartition(max(1, min(len(tasks), 4 + len(tasks) // 32)))
    done = sum(row["rows"] for row in frame.mapInArrow(cutter, "brick string, rows bigint").collect())
    lost = [{"galaxy_id": i, "status": "rejected", "reason": NO_BRICK} for i in ids[chosen == ""]]
    parts = [pq.read_table(folder / f"{name}.parquet", schema=INDEX_SCHEMA) for name in names]
    index = pa.concat_tables([*parts, pa.Table.from_pylist(lost, schema=INDEX_SCHEMA)]).sort_by("galaxy_id")
    if done + len(lost) != len(ids) or index.num_rows != len(ids):
        raise DataError(f"{len(ids)} cut-outs were asked for and {index.num_rows} are accounted for")
    return index


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
                self.brick(task["brick"], task["galaxy_id"], np.array(task["ra"]), np.array(task["dec"]))
                done.append({"brick": task["brick"], "rows": len(task["galaxy_id"])})
            yield pa.RecordBatch.from_pylist(done, schema=_DONE_SCHEMA)

    def brick(self, brick: str, ids: Sequence[str], ra: NDArray[np.float64], dec: NDArray[np.float64]) -> None:
        """Cut out one brick's sources, unless their files are there."""
        place = Path(self.folder) / f"{brick}.parquet"
        if place.exists() and pq.read_table(place, columns=["galaxy_id"])["galaxy_id"].to_pylist() == list(ids):
            return
        try:
            stamps, rows = cut_brick(Path(self.survey), brick, ra, dec, self.params)
        except DataError as error:
            size = self.params.stamp_pixels
            stamps = np.empty((0, 3, size, size), dtype=np.float32)
            rows = [{"status": "rejected", "reason": str(error)} for _ in ids]
        complete = [{"galaxy_id": i, "brickname": brick, **row} for i, row in zip(ids, rows, strict=True)]
        _write_stamps(place.with_suffix(".npy"), stamps)
        draft = place.with_suffix(".draft")
        pq.write_table(pa.Table.from_pylist(complete, schema=INDEX_SCHEMA), draft)
        draft.replace(place)


def _write_stamps(path: Path, stamps: NDArray[np.float32]) -> None:
    draft = path.with_suffix(".npy.draft")
    with draft.open("wb") as file:
        np.save(file, stamps.astype("<f4", copy=False))
    draft.replace(path)


def cut_brick(
    survey: Path, brick: str, ra: NDArray[np.float64], dec: NDArray[np.float64], params: CutoutsParams
) -> tuple[NDArray[np.float32], list[dict[str, object]]]:
    """Good stamps (n, band, y, x) of one brick, and a row for each position that says what became of it."""
    windows, inside, stamps = brick_stamps(survey, brick, ra, dec, params.stamp_pixels)
    masks = brick_masks(survey, brick, windows, inside, params.maskbits)
    rows: list[dict[str, object]] = [{"status": "rejected", "reason": OUTSIDE} for _ in ra]
    if not len(stamps):
        return stamps, rows
    metrics = qa.measure(stamps, masks, qa.Rings.of(params, params.stamp_pixels))
    why = qa.reasons(stamps, metrics, params)
    kept = [place for place, reason in enumerate(why) if reason is None]
    rank = {place: row for row, place in enumerate(kept)}
    for place, source in enumerate(np.flatnonzero(inside)):
        rows[source] = _row(windows, int(source), metrics, place, why[place])
        if place in rank:
            digest = hashlib.sha256(stamps[place].astype("<f4").tobytes()).hexdigest()
            rows[source] |= {"brick_row": rank[place], "sha256": digest}
    return stamps[kept], rows


def _row(
    windows: Windows, source: int, metrics: dict[str, NDArray[np.float64]], place: int, reason: str | None
) -> dict[str, object]:
    values = {name: float(metrics[name][place]) for name in METRICS}
    return {
        "status": "ok" if reason is None else "rejected",
        "reason": reason,
        "x_offset_px": float(windows.x_offset_px[source]),
        "y_offset_px": float(windows.y_offset_px[source]),
        **{name: value if np.isfinite(value) else None for name, value in values.items()},
    }


def assemble(index: pa.Table, work: Path, folder: Path, params: CutoutsParams, source: str) -> pa.Table:
    """Pack the good stamps into shards in ``folder``, each ordered by galaxy_id; ``cutouts`` rows, lineage excepted.

    A shard that an earlier run finished is left as it is.
    """
    good = index.filter(pc.equal(index["status"], "ok")).sort_by("galaxy_id")
    bucket = bucket_of(good["galaxy_id"], params.buckets)
    bricks, places = good["brickname"].to_pylist(), good["brick_row"].to_pylist()
    shard_row = np.zeros(good.num_rows, dtype=np.int64)
    for number in np.unique(bucket):
        members = np.flatnonzero(bucket == number)
        shard_row[members] = np.arange(len(members))
        path = folder / shard_name(int(number))
        if not _complete(path, len(members), params.stamp_pixels):
            stamps = (_stamp(work / "bricks" / f"{bricks[i]}.npy", places[i]) for i in members)
            write_shard(path, stamps, len(members), params.stamp_pixels)
    shards = dict(
        zip(good["galaxy_id"].to_pylist(), zip(bucket.tolist(), shard_row.tolist(), strict=True), strict=True)
    )
    log.info(
        "%d cut-outs in %d shards, %d rejected", good.num_rows, len(np.unique(bucket)), index.num_rows - good.num_rows
    )
    return _contract_rows(index, shards, version(params, source))


def _complete(path: Path, rows: int, pixels: int) -> bool:
    return path.exists() and np.load(path, mmap_mode="r").shape == (rows, 3, pixels, pixels)


def _stamp(path: Path, row: int) -> NDArray[np.float32]:
    stamp: NDArray[np.float32] = np.load(path, mmap_mode="r")[row]
    return stamp


def _contract_rows(index: pa.Table, shards: dict[str, tuple[int, int]], cutout_version: str) -> pa.Table:
    places = [shards.get(i, (None, None)) for i in index["galaxy_id"].to_pylist()]
    made = {
        "cutout_version": pa.array([cutout_version] * index.num_rows, pa.string()),
        "shard": pa.array([shard for shard, _ in places], pa.int32()),
        "shard_row": pa.array([row for _, row in places], pa.int32()),
    }
    schema = contract_schema(tables.spec("cutouts"))
    return pa.table([made[f.name] if f.name in made else index[f.name] for f in schema], schema=schema)
