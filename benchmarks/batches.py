"""A later batch of cut-outs: ``python -m benchmarks.batches [--new 35000 --held 411000 --bricks 20000]``.

Everything that the stage does for a later batch but the cutting itself: asking what each stamp would be made from,
judging which earlier shards stay, packing the new stamps and remembering all. Shards of the earlier stamps have their
size and hold zeros; those of the new ones hold 122 kB each, twice while they are packed (8.6 GB for 35,000).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from etl.config import CutoutsParams
from etl.cutouts import packing
from etl.cutouts.coadds import brick_folder, coadd_name
from etl.cutouts.cutter import INDEX_SCHEMA, write
from etl.cutouts.cutting import Coadds, Sources
from lake.sky.survey import BANDS
from lake.store.stamps import bucket_of, shard_name, stamp_hash

_PARAMS = Path(__file__).resolve().parents[1] / "params" / "base.yaml"


@dataclass(frozen=True)
class Batch:
    """The maker of the benchmark's stamps: ``coadds`` say what they are made from, their pixels are there already."""

    coadds: Coadds
    stamps: pa.Table

    def made_from(self, wanted: Sources) -> list[str | None]:
        return self.coadds.made_from(wanted)

    def make(self, wanted: Sources, folder: Path) -> pa.Table:
        return self.stamps


def sources(number: int, bricks: int) -> Sources:
    ids = np.array([f"dr10:{i:09d}" for i in range(number)], dtype=object)
    brick = np.array([f"{i % bricks:04d}p{i % bricks % 900:03d}" for i in range(number)])
    return Sources(ids, np.arange(number) * 1e-4, np.zeros(number), brick, np.zeros(number, dtype=bool))


def coadds(survey: Path, bricks: list[str]) -> None:
    """Empty files where the bricks' coadds would be."""
    for brick in bricks:
        place = Path(brick_folder(str(survey), brick))
        place.mkdir(parents=True, exist_ok=True)
        for name in (*(coadd_name(brick, "image", band) for band in BANDS), coadd_name(brick, "maskbits", None)):
            (place / name).touch()


def held(folder: Path, earlier: Sources, made_from: list[str | None], params: CutoutsParams) -> pa.Table:
    """Shards of earlier stamps, files without blocks, and their packed index."""
    shard = bucket_of(pa.array(earlier.ids), params.buckets)
    row: NDArray[np.int64] = np.zeros(len(earlier), dtype=np.int64)
    folder.mkdir(parents=True)
    for number in range(params.buckets):
        members = np.flatnonzero(shard == number)
        row[members] = np.arange(len(members))
        shape = (len(members), len(BANDS), params.stamp_pixels, params.stamp_pixels)
        np.lib.format.open_memmap(folder / shard_name(number), mode="w+", dtype="<f4", shape=shape)
    facts = {"galaxy_id": earlier.ids, "made_from": made_from, "shard": shard, "shard_row": row}
    same = {"cutout_version": "1", "status": "ok", "sha256": "0" * 64}
    columns = facts | {name: [value] * len(earlier) for name, value in same.items()}
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(len(earlier), field.type)
        for field in packing.PACKED_SCHEMA
    ]
    return pa.table(arrays, schema=packing.PACKED_SCHEMA)


def new(work: Path, later: Sources, made_from: list[str | None], params: CutoutsParams) -> pa.Table:
    """The new stamps, as their tasks leave them, brick for brick; their index."""
    rng, parts = np.random.default_rng(0), []
    noise = rng.normal(size=(len(BANDS), params.stamp_pixels, params.stamp_pixels)).astype(np.float32)
    known = dict(zip(later.ids, made_from, strict=True))
    work.mkdir()
    for start in range(0, len(later), 100):
        ids = later.ids[start : start + 100]
        stamps = np.stack([noise + start + row for row in range(len(ids))])
        rows = [
            {"galaxy_id": name, "made_from": known[name], "cutout_version": "1", "status": "ok"}
            | {"file_row": row, "sha256": stamp_hash(stamps[row])}
            for row, name in enumerate(ids)
        ]
        write(str(work / f"{start:08d}.parquet"), stamps, rows)
        parts.append(pa.Table.from_pylist([each | {"file": f"{start:08d}"} for each in rows], schema=INDEX_SCHEMA))
    return pa.concat_tables(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, number in (("new", 3_500), ("held", 41_100), ("bricks", 2_000)):
        parser.add_argument(f"--{name}", type=int, default=number)
    given = parser.parse_args()
    params = CutoutsParams.load(yaml.safe_load(_PARAMS.read_text())["cutouts"], "cutouts")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ".")) as scratch:
        place = Path(scratch)
        wanted = sources(given.held + given.new, given.bricks)
        coadds(place, np.unique(wanted.brick).tolist())
        maker = Batch(Coadds(_never, str(place), params, "dr10", "code"), INDEX_SCHEMA.empty_table())
        is_new = np.arange(len(wanted)) % (len(wanted) // given.new) == 0
        is_new[np.flatnonzero(is_new)[given.new :]] = False
        before, later = wanted.where(~is_new), wanted.where(is_new)
        index = held(place / "held", before, maker.made_from(before), params)
        packing.remember(place / "made.parquet", index, place / "held", params)
        maker = replace(maker, stamps=new(place / "work", later, maker.made_from(later), params))
        spent = {}

        def timed(name: str, step: Callable[[], Any]) -> Any:
            wall, processor = time.perf_counter(), time.process_time()
            made = step()
            spent[name] = (time.perf_counter() - wall, time.process_time() - processor)
            return made

        memory, folder = place / "made.parquet", place / "held"
        known = timed("earlier shards judged", lambda: packing.earlier(memory, folder, params))
        both = timed("inputs of all compared", lambda: packing.completed(maker, wanted, place / "work", known))
        made = timed("new stamps packed", lambda: packing.packed(both, place / "work", folder, place / "now", params))
        timed("remembered", lambda: packing.remember(memory, made, place / "now", params))
        for name, (wall, processor) in spent.items():
            print(f"{name:25s} {wall:6.1f} s, {processor:6.1f} s of processor time")
        print(f"{given.new:,} into {made.num_rows - given.new:,}: {sum(wall for wall, _ in spent.values()):.1f} s")


def _never() -> None:
    raise AssertionError("nothing is to be cut out")


if __name__ == "__main__":
    main()
