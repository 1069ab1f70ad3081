"""One sweep made into a Parquet part of the pool and an account of all its rows: what a Spark task does.

Both lie in the table's folder and are named by a key that changes with the file's content, the parameters and the
code: what is there is not made again. The account is written last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from etl.catalogues.account import KEYS, Account
from etl.catalogues.fates import KEPT, POOL, QUARANTINED, REJECTED, Judge, rejects
from etl.catalogues.near import Listed
from etl.catalogues.sieve import Sieve, cuts
from etl.config import PoolParams
from etl.files import sweeps
from etl.files.shapes import RENAMED
from etl.files.sweepfiles import Sweep
from etl.tables.partwriter import PartWriter
from lake.config import SplitParams
from lake.contract.rules import conform
from lake.sky.hashing import hash_strings
from lake.store import parts

_SIFTED_ROWS = 8_192
"""Rows sifted at a time: few enough to stay in the processor's cache."""
_JUDGED_ROWS = 65_536
_JUDGED_BYTES = 64 << 20
_ENOUGH_ROWS = 100
"""In a file with fewer rows, most may lack coordinates by chance."""


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
        # Files may hold NaNs that warn when they are converted.
        with _reading(task, recipe) as file, _part(recipe, task) as part, np.errstate(invalid="ignore"):
            for rows in _judged(file, task.name, recipe, made):
                _enter(made, rows)
                part.write(_complete(rows.filter(pc.equal(rows["outcome"], KEPT)), recipe.lineage))
            made.part, made.sums, made.read, made.facts = part.closed(), part.sums, file.stop, file.facts
    except sweeps.UnreadableError as error:
        made = Account(task.name, error.facts)
    made.save(f"{recipe.table}/{parts.account(task.key)}")


def _reading(task: Task, recipe: Recipe) -> AbstractContextManager[sweeps.Reading]:
    return sweeps.reading(Sweep(task.name, task.path), task.stop, recipe.params.catalogue)


def _part(recipe: Recipe, task: Task) -> PartWriter:
    return PartWriter(recipe.table, parts.name(task.key), POOL)


def _judged(file: sweeps.Reading, name: str, recipe: Recipe, made: Account) -> Iterator[pa.Table]:
    """Rows that the sieve lets through, judged; the others are counted."""
    positions, params = recipe.positions(), recipe.params
    sieve = Sieve(file, params, positions)
    judge = Judge(params, recipe.split, recipe.collection, positions, tuple(cuts(params)))
    most = max(1, min(_JUDGED_ROWS, _JUDGED_BYTES // file.found.row_bytes))
    waiting = _Waiting(most + _SIFTED_ROWS, file)
    for start, raw in file.rows():
        for first in range(0, len(raw), _SIFTED_ROWS):
            some = raw[first : first + _SIFTED_ROWS]
            waiting.add(some, start + first, *sieve(some.view(file.dtype)[:, 0]))
            if waiting.rows >= most:
                yield judge(*waiting.taken(name))
    if waiting.rows:
        yield judge(*waiting.taken(name))
    _require_sky(file, sieve.misplaced)
    made.counts.update({(REJECTED, cut): rows for cut, rows in sieve.counts.items() if rows})
    made.renamed.update({text: rows for text, rows in sieve.renamed.items() if rows})


def _require_sky(file: sweeps.Reading, misplaced: int) -> None:
    """Refuse a file if most of its rows have impossible coordinates: those of the others are possible by chance."""
    if file.stop >= _ENOUGH_ROWS and misplaced > file.stop / 2:
        problem = (
            f"{misplaced} of {file.stop} rows have no place on the sky: are its bytes in FITS's order (big-endian)?"
        )
        raise sweeps.UnreadableError(replace(file.facts, problem=problem))


class _Waiting:
    """Raw rows that wait to be judged together."""

    def __init__(self, most: int, file: sweeps.Reading) -> None:
        self._file, self.rows = file, 0
        self._raw = np.empty((most, file.found.row_bytes), np.uint8)
        self._places, self._failed = np.empty(most, np.int64), np.empty(most, np.int8)

    def add(self, raw: NDArray[np.uint8], start: int, chosen: NDArray[np.intp], failed: NDArray[np.int8]) -> None:
        """Add the chosen rows of some whose first has the number ``start``, and the cuts that they fail."""
        mine = slice(self.rows, self.rows + len(chosen))
        np.take(raw, chosen, axis=0, out=self._raw[mine], mode="clip")
        self._places[mine], self._failed[mine] = chosen + start, failed
        self.rows += len(chosen)

    def taken(self, name: str) -> tuple[pa.Table, NDArray[np.int8]]:
        """All that wait, decoded, and the cuts that they fail; none wait any more."""
        mine, self.rows = slice(0, self.rows), 0
        raw, places = self._raw[mine].view(self._file.dtype)[:, 0], self._places[mine].copy()
        return sweeps.decoded(self._file, raw, name, places), self._failed[mine]


def _enter(made: Account, rows: pa.Table) -> None:
    """Enter judged rows into the account."""
    for fate in (
        rows.select(["outcome", "reason"]).group_by(["outcome", "reason"]).aggregate([([], "count_all")]).to_pylist()
    ):
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


def run(batches: Iterator[pa.RecordBatch], dealt: Sequence[Sequence[Task]], recipe: Recipe) -> Iterator[pa.RecordBatch]:
    """``mapInArrow`` function: numbers of partitions -> the same, when the tasks dealt to them are done."""
    for batch in batches:
        for number in batch["id"].to_pylist():
            for task in dealt[number]:
                make(task, recipe)
        yield batch
