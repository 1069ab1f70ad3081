"""Negatives and matched listed objects -> stamps from coadds: one task per brick, files that a repeated run reuses."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from etl.config import CutoutsParams
from etl.cutouts.bricks import Bricks, holding_brick
from etl.cutouts.coadds import brick_folder, coadd_name
from etl.cutouts.cutter import CONDITIONS, INDEX_SCHEMA, NO_BRICK, BrickCutter
from lake import tables
from lake.contract.asking import ask
from lake.errors import DataError
from lake.files import storage
from lake.progress import track, watch
from lake.sky.survey import BANDS

log = logging.getLogger(__name__)

_AT_ONCE = 16
"""Concurrent requests to an object store."""
_BRICK_DDL = "brick string, galaxy_id array<string>, ra array<double>, dec array<double>, lacking array<boolean>"
KNOWN = pa.schema([tables.spec("tractor_pool").column(name).arrow for name in ("galaxy_id", *CONDITIONS)])
"""Columns of the pool that say what the catalogue knows of a source's seeing and depth."""
_COLUMNS = ("galaxy_id", "ra", "dec", "brickname", "lacking")


@dataclass(frozen=True)
class Sources:
    """Sources to cut out, arrays (n,): identifier, position (deg), brick, and whether the catalogue lacks their seeing
    or depth in some band."""

    ids: NDArray[np.object_]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    brick: NDArray[np.str_]
    lacking: NDArray[np.bool_]

    @classmethod
    def of(cls, wanted: pa.Table) -> Sources:
        """Sources of a table (:func:`requests`), by galaxy_id, each with the brick that it belongs to."""
        rows, kinds = wanted.sort_by("galaxy_id"), (object, np.float64, np.float64, str, bool)
        return cls(*(rows[name].to_numpy().astype(kind) for name, kind in zip(_COLUMNS, kinds, strict=True)))

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Sources:
        """The sources that a mask or index selects."""
        return Sources(*(facts[which] for facts in vars(self).values()))

    def by_brick(self) -> dict[str, Sources]:
        """The sources of each brick."""
        order = np.argsort(self.brick, kind="stable")
        names, first = np.unique(self.brick[order], return_index=True)
        groups = np.split(order, first[1:])
        return {str(name): self.where(group) for name, group in zip(names, groups, strict=bool(len(self)))}

    def lists(self) -> tuple[list[object], ...]:
        """Identifiers, positions and what is lacking, as lists."""
        return tuple(facts.tolist() for facts in (self.ids, self.ra, self.dec, self.lacking))

    def in_bricks(self, survey: str, params: CutoutsParams) -> Sources:
        """The same sources, each with a brick whose coadd holds the whole window ('' if there is none)."""
        bricks = Bricks.read(storage.below(survey, "survey-bricks.fits"))
        chosen = holding_brick(bricks, self.brick, self.ra, self.dec, params.stamp_pixels, params.coadd_pixels)
        return Sources(self.ids, self.ra, self.dec, chosen, self.lacking)


def requests(negatives: pa.Table, candidates: pa.Table, near: pa.Table, pool: pa.Table) -> pa.Table:
    """Sources to cut out, the negatives and the matches of all listed objects, graded or not: galaxy_id, ra, dec,
    brickname, and whether the catalogue is ``lacking`` their seeing or depth in some band. Of the ``pool`` the columns
    `KNOWN` are needed.
    """
    lacking = " OR ".join(f"coalesce({name} <= 0, true)" for name in CONDITIONS)
    query = f"""
        WITH matched AS (SELECT galaxy_id FROM candidates WHERE galaxy_id IS NOT NULL),
        known AS (SELECT galaxy_id, {lacking} AS lacking FROM pool)
        SELECT galaxy_id, ra, dec, brickname, {lacking} AS lacking FROM near SEMI JOIN matched USING (galaxy_id)
        UNION ALL
        SELECT galaxy_id, ra, dec, brickname, coalesce(lacking, true)
        FROM negatives ANTI JOIN matched USING (galaxy_id) LEFT JOIN known USING (galaxy_id)
    """
    sources = {"negatives": negatives, "candidates": candidates, "near": near, "pool": pool}
    return ask(query, sources)


def version(params: CutoutsParams, source: str) -> str:
    """``cutout_version``: hash of where the pixels come from and how they are cut and judged."""
    elsewhere = {"buckets", "coadd_pixels", "source", "service"}
    settings = params.model_dump(mode="json", exclude=elsewhere)
    return hashlib.sha256(json.dumps([source, settings], sort_keys=True).encode()).hexdigest()[:16]


def with_coadds(survey: str, wanted: Sources) -> NDArray[np.bool_]:
    """Which sources (n,) lie in a brick whose images are all there."""

    def complete(name: str) -> bool:
        there = dict(storage.files(brick_folder(survey, name))) if name else {}
        return all(coadd_name(name, "image", band) in there for band in BANDS)

    names, place = np.unique(wanted.brick, return_inverse=True)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        there = list(threads.map(complete, names.tolist()))
    found: NDArray[np.bool_] = np.array(there, dtype=bool)[place]
    return found


@dataclass(frozen=True)
class Coadds:
    """The survey's coadds, cut out by Spark, of galaxies of the collection ``source``; ``code`` is its hash.

    Tasks leave their files in ``shared``, a prefix of an object store, if it is given.
    """

    spark: Callable[[], SparkSession]
    survey: str
    params: CutoutsParams
    source: str
    code: str
    shared: str | None = None

    def cutter(self, folder: str) -> BrickCutter:
        """What a task does, with its files in ``folder``."""
        version_ = version(self.params, self.source)
        return BrickCutter(storage.absolute(self.survey), folder, self.params, version_, self.code)

    def made_from(self, wanted: Sources) -> list[str | None]:
        """For each source, a hash of what its cut-out is made from, None for one in no brick."""
        cutter = self.cutter("")
        groups = [(brick, sources) for brick, sources in wanted.by_brick().items() if brick]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            made = threads.map(lambda one: cutter.made_from(one[0], one[1].ra, one[1].dec, one[1].lacking), groups)
        found: dict[str, str] = {}
        for (_, sources), hashes in zip(groups, made, strict=True):
            found |= zip(sources.ids.tolist(), hashes, strict=True)
        return [found.get(name) for name in wanted.ids]

    def make(self, wanted: Sources, folder: Path) -> pa.Table:
        """Cut out and judge the sources ``wanted``; an index (``INDEX_SCHEMA``) of all of them.

        Each brick leaves ``<brick>.npy`` (its good stamps) and ``.parquet`` (its rows) in ``folder``, which a repeated
        run does not make again.
        """
        if next(storage.files(storage.below(self.survey, "coadds")), None) is None:
            raise DataError(f"{self.survey}/coadds is missing or empty: put the survey's coadds there")
        folder.mkdir(parents=True, exist_ok=True)
        place = storage.absolute(self.shared or str(folder))
        cutter = self.cutter(place)
        tasks = [(name, *sources.lists()) for name, sources in wanted.by_brick().items() if name]
        if tasks:
            parts = max(1, min(len(tasks), 4 + len(tasks) // 32))
            frame = self.spark().createDataFrame(tasks, _BRICK_DDL).repartition(parts)
            with watch(lambda: len(_done(place)), "cut out bricks", len(tasks)):
                frame.mapInArrow(cutter, "brick string, rows bigint").collect()
            if self.shared:
                _bring(place, folder, [name for name in wanted.by_brick() if name])
        made = {"status": "rejected", "reason": NO_BRICK, "cutout_version": cutter.version}
        lost = [{"galaxy_id": name, **made} for name in wanted.ids[wanted.brick == ""]]
        rows = [pq.read_table(folder / f"{name}.parquet", schema=INDEX_SCHEMA) for name, *_ in tasks]
        return pa.concat_tables([*rows, pa.Table.from_pylist(lost, schema=INDEX_SCHEMA)])


def _done(place: str) -> list[str]:
    """Files of the bricks that are done."""
    return [name for name, _ in storage.files(place) if name.endswith(".parquet") and name[0].isdecimal()]


def _bring(place: str, folder: Path, bricks: Sequence[str]) -> None:
    """Copy the files of bricks out of an object store; equal rows name equal stamps, which are not copied again."""

    def bring(brick: str) -> None:
        rows, mine = storage.read(storage.below(place, f"{brick}.parquet")), folder / f"{brick}.parquet"
        if not mine.exists() or mine.read_bytes() != rows:
            storage.fetch(storage.below(place, f"{brick}.npy"), folder / f"{brick}.npy")
            with storage.writing(str(mine)) as file:
                file.write(rows)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for _ in track(threads.map(bring, bricks), "bring stamps", len(bricks)):
            pass


def warn_of_unknown_conditions(index: pa.Table, lacking: NDArray[np.object_]) -> None:
    """Name the galaxies that cannot be hosts of injections, and what they lack."""
    unknown = pc.or_(pc.is_null(index["psfsize_r"]), pc.is_null(index["psfdepth_r"]))
    asked = pc.is_in(index["galaxy_id"], value_set=pa.array(lacking, pa.string()))
    good = pc.equal(index["status"], "ok")
    without = index.filter(pc.and_(pc.and_(unknown, asked), good))
    if without.num_rows:
        total = index.filter(good).num_rows
        log.warning(
            "%s of %d galaxies with a good cut-out can be hosts of injections; the others (first: %s) cannot: seeing "
            "and depth are neither in the sweeps (psfsize_r, psfdepth_r) nor in the coadds "
            "(legacysurvey-<brick>-psfsize-r.fits.fz and -invvar-r)",
            total - without.num_rows or "none", total, without["galaxy_id"][0],
        )  # fmt: skip
