"""One sweep made into a Parquet part of the pool and an account of all its rows: what a Spark task does.

Both lie in the table's folder and are named by a key that changes with the file's content, the parameters and the
code: what is there is not made again. The account is written last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from etl.catalogues.account import KEYS, Account, place_of
from etl.catalogues.fates import KEPT, POOL, QUARANTINED, REJECTED, Judge, rejects
from etl.catalogues.near import Listed
from etl.catalogues.partwriter import PartWriter
from etl.catalogues.sieve import Sieve, cuts
from etl.config import PoolParams
from etl.files import sweeps
from etl.files.shapes import RENAMED
from etl.files.sweepfiles import Sweep
from lake.config import SplitParams
from lake.contract.rules import conform
from lake.sky.hashing import hash_strings

_SIFTED_ROWS = 8_192
"""Rows sifted at a time: few enough to stay in the processor's cache."""
_JUDGED_ROWS = 65_536
_JUDGED_BYTES = 64 << 20


@dataclass(frozen=True)
class Task:
    """A file to read up to row ``stop`` (None: all of it), and the key of what is made of it."""

    name: str
    path: str
    stop: int | None
    key: str


@dataclass(frozen=True)
class Recipe:
    """What every task needs: parameters, listed positions (candidate_id, ra, dec), lineage, the table's folder."""

    params: PoolParams
    split: SplitParams
    collection: str
    listed: pa.Table
    lineage: Mapping[str, Any]
    table: str

    def positions(self) -> Listed:
        """The listed positions, and those near them."""
        radius = max(self.params.near_radius_arcsec, self.params.exclusion_radius_arcsec)
        ra, dec = (self.listed[name].to_numpy() for name in ("ra", "dec"))
        return Listed(self.listed["candidate_id"].to_pylist(), ra, dec, radius)


def make(task: Task, recipe: Recipe) -> None:
    """Write the part and the account of a file."""
    made = Account(task.name)
    try:
        with sweeps.reading(Sweep(task.name, task.path), task.stop) as file, _part(recipe, task) as part:
            for rows in _judged(file, task.name, recipe, made):
                _enter(made, rows)
                part.write(_complete(rows.filter(pc.equal(rows["outcome"], KEPT)), recipe.lineage))
            made.part, made.sums, made.read, made.facts = part.closed(), part.sums, file.stop, file.facts
    except sweeps.UnreadableError as error:
        made = Account(task.name, error.facts)
    made.save(place_of(recipe.table, task.key))


def _part(recipe: Recipe, task: Task) -> PartWriter:
    return PartWriter(recipe.table, f"part-{task.key}.parquet", POOL)


def _judged(file: sweeps.Reading, name: str, recipe: Recipe, made: Account) -> Iterator[pa.Table]:
    """Rows that the sieve lets through, judged; the others are counted."""
    positions, params = recipe.positions(), recipe.params
    sieve = Sieve(file, params, positions)
    judge = Judge(params, recipe.split, recipe.collection, positions, tuple(cuts(params)))
    most = max(1, min(_JUDGED_ROWS, _JUDGED_BYTES // file.found.row_bytes))
    waiting = _Waiting()
    for start, raw in file.rows():
        for first in range(0, len(raw), _SIFTED_ROWS):
            some = raw[first : first + _SIFTED_ROWS]
            chosen, failed = sieve(some.view(file.dtype)[:, 0])
            waiting.add(some[chosen], chosen + (start + first), failed)
            if waiting.rows >= most:
                yield waiting.judged(file, name, judge)
    if waiting.rows:
        yield waiting.judged(file, name, judge)
    made.counts.update({(REJECTED, cut): rows for cut, rows in sieve.counts.items() if rows})
    made.renamed.update({text: rows for text, rows in sieve.renamed.items() if rows})


class _Waiting:
    """Raw rows that wait to be judged together."""

    def __init__(self) -> None:
        self._raw: list[NDArray[np.uint8]] = []
        self._places: list[NDArray[np.int64]] = []
        self._failed: list[NDArray[np.int8]] = []
        self.rows = 0

    def add(self, raw: NDArray[np.uint8], places: NDArray[np.int64], failed: NDArray[np.int8]) -> None:
        self._raw.append(raw)
        self._places.append(places)
        self._failed.append(failed)
        self.rows += len(raw)

    def judged(self, file: sweeps.Reading, name: str, judge: Judge) -> pa.Table:
        """All that wait, judged; none wait any more."""
        raw, places, failed = (np.concatenate(each) for each in (self._raw, self._places, self._failed))
        self.__init__()  # type: ignore[misc]
        return judge(sweeps.decoded(file, raw.view(file.dtype)[:, 0], name, places), failed)


def _enter(made: Account, rows: pa.Table) -> None:
    """Enter judged rows into the account."""
    for fate in rows.select(["outcome", "reason"]).group_by(["outcome", "reason"]).aggregate([([], "count_all")]).to_pylist():
        made.counts[fate["outcome"], fate["reason"]] += fate["count_all"]
    old = pc.is_in(rows["survey_type"], pa.array(list(RENAMED)))
    for each in pc.value_counts(rows["survey_type"].filter(old)).to_pylist():
        made.renamed[each["values"]] += each["counts"]
    good = pc.not_equal(rows["outcome"], QUARANTINED)
    near = pc.and_(good, rows["is_near"])
    in_table = pc.or_(pc.equal(rows["outcome"], KEPT), near)
    made.near = pa.concat_tables([made.near, rows.filter(near).select(made.near.column_names)])
    made.rejected = pa.concat_tables([made.rejected, rejects(rows)])
    keys = [
        pa.array(hash_strings(rows["galaxy_id"].filter(in_table)).view(np.int64)),
        rows["row_index"].filter(in_table),
        pc.if_else(old, rows["survey_type"], None).filter(in_table),
    ]
    made.keys = pa.concat_tables([made.keys, pa.table(keys, schema=KEYS)])


def _complete(rows: pa.Table, lineage: Mapping[str, Any]) -> pa.Table:
    """Rows of the pool with their lineage."""
    rows = rows.select(POOL.row_schema().names)
    for name, value in lineage.items():
        rows = rows.append_column(name, pa.repeat(pa.scalar(value, POOL.column(name).arrow.type), rows.num_rows))
    return conform(POOL, rows)


def run(batches: Iterator[pa.RecordBatch], recipe: Recipe) -> Iterator[pa.RecordBatch]:
    """``mapInArrow`` function: tasks -> the keys of those that are done."""
    for batch in batches:
        for task in batch.to_pylist():
            make(Task(**task), recipe)
        yield batch.select(["key"])
