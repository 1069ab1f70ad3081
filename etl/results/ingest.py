"""Grid batches -> ``injections`` and ``injection_scores``: one verdict per row, the same in both tables.

Each batch is read once, by a Spark task that leaves a part of both tables in their folders
(:mod:`etl.results.batchparts`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from etl.results import batchparts
from etl.results.batchparts import ANSWER, INJECTIONS, SCHEMA, SCORES, GridRun, Made, Recipe, file_name
from etl.tables.scan import shared_out
from lake.contract.asking import ask
from lake.contract.fingerprint import Sums
from lake.contract.spec import TableSpec
from lake.errors import DataError
from lake.files import storage
from lake.provenance import lineage
from lake.root import DataRoot
from lake.store import quarantine
from lake.store.parts import Parts

log = logging.getLogger(__name__)

_BYTES_PER_TASK = 32 << 20


@dataclass(frozen=True)
class Ingested:
    """The stage's tables: good rows without duplicates in each; those of ``quarantine`` are in neither."""

    injections: Parts
    injection_scores: Parts
    quarantine: pa.Table


def ingest(spark: SparkSession, root: DataRoot, batches: Sequence[str], scored: GridRun) -> Ingested:
    """Tables of the batch files of one grid and one scorer, whose parts lie in the tables' folders.

    A row without a finite score is failed, even if its status is ``scored``. Of rows with one injection_id the lowest
    (file, row) counts; rows of another grid or outside the contract are quarantined. A file that is not a batch is an
    error, since what it held is not known; so are rows that do not add up.
    """
    batches = [storage.absolute(path) for path in batches]
    found = _require_batches(batches)
    recipe = Recipe(scored, lineage(), {spec.name: root.table(spec.name) for spec in (INJECTIONS, SCORES)})
    dealt = shared_out(batches, [size for _, size in found], _BYTES_PER_TASK)
    made = _run(spark, dealt, {}, recipe)
    if surplus := _surplus(made, batches):
        log.warning("%d rows repeat an injection_id and are quarantined", sum(map(len, surplus.values())))
        touched = [n for n, share in enumerate(dealt) if not surplus.keys().isdisjoint(map(file_name, share))]
        again = _run(spark, [dealt[number] for number in touched], surplus, recipe)
        made = [*(each for n, each in enumerate(made) if n not in touched), *again]
    _reconcile(made, sum(rows for rows, _ in found))
    rejected = pa.concat_tables([quarantine.SCHEMA.empty_table(), *(each.rejected for each in made)])
    return Ingested(_parts(INJECTIONS, made), _parts(SCORES, made), rejected)


def _require_batches(batches: Sequence[str]) -> list[tuple[int, int]]:
    """Rows and bytes of each batch; their names must differ, since the names tell where rows come from."""
    if not batches:
        raise DataError("the grid has no batches; run `dvc repro grid`")
    named: dict[str, str] = {}
    for path in batches:
        if (name := file_name(path)) in named:
            raise DataError(f"batches of a grid must have different names, got {named[name]} and {path}")
        named[name] = path
    return [_require_batch(path) for path in batches]


def _require_batch(path: str) -> tuple[int, int]:
    """Rows and bytes of a file with the columns of a batch, each of them once and of its type."""
    try:
        with storage.open_file(path) as file:
            held, size = pq.ParquetFile(file), file.size()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} is not a grid batch: {error}") from error
    schema = held.schema_arrow
    if lacking := [name for name in SCHEMA.names if name not in schema.names]:
        raise DataError(f"{path} is not a grid batch: it lacks the columns {', '.join(lacking)}")
    if repeated := [name for name in SCHEMA.names if schema.names.count(name) > 1]:
        raise DataError(f"{path} is not a grid batch: it has several columns named {', '.join(repeated)}")
    if other := [each.name for each in SCHEMA if schema.field(each.name).type != each.type]:
        raise DataError(
            f"{path} is not a grid batch: '{other[0]}' must be {SCHEMA.field(other[0]).type}, "
            f"got {schema.field(other[0]).type}"
        )
    return held.metadata.num_rows, size


def _run(
    spark: SparkSession, dealt: Sequence[Sequence[str]], surplus: Mapping[str, Sequence[int]], recipe: Recipe
) -> list[Made]:
    """What the executors make of each share of the batches."""
    numbers = spark.range(0, len(dealt), 1, len(dealt))
    job = partial(batchparts.run, dealt=dealt, surplus=surplus, recipe=recipe)
    return [Made.of(row.asDict()) for row in numbers.mapInArrow(job, ANSWER).collect()]


def _surplus(made: Sequence[Made], batches: Sequence[str]) -> dict[str, list[int]]:
    """Rows by file whose injection_id a good row before them has."""
    keys = pa.concat_tables([each.keys for each in made])
    ordered = np.sort(keys["key"].to_numpy())
    shared = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    maybe = keys.filter(pc.is_in(keys["key"], pa.array(shared)))
    if not maybe.num_rows:
        return {}
    files = set(maybe["source_file"].to_pylist())
    named = pa.concat_tables([_named(path) for path in batches if file_name(path) in files])
    query = """
        SELECT source_file, row_index FROM maybe JOIN named USING (source_file, row_index)
        QUALIFY row_number() OVER (PARTITION BY injection_id ORDER BY source_file, row_index) > 1
        ORDER BY source_file, row_index"""
    surplus: dict[str, list[int]] = {}
    for row in ask(query, {"maybe": maybe, "named": named}).to_pylist():
        surplus.setdefault(row["source_file"], []).append(row["row_index"])
    return surplus


def _named(path: str) -> pa.Table:
    """The injection_id of each row of a batch."""
    with storage.open_file(path) as file:
        ids = pq.read_table(file, columns=["injection_id"])["injection_id"]
    return pa.table(
        {
            "injection_id": ids,
            "source_file": pa.repeat(file_name(path), len(ids)),
            "row_index": pa.array(np.arange(len(ids))),
        }
    )


def _reconcile(made: Sequence[Made], rows: int) -> None:
    """Refuse tables whose rows and those quarantined are not the rows of the batches."""
    read, rejected = sum(each.read for each in made), sum(each.rejected.num_rows for each in made)
    for spec in (INJECTIONS, SCORES):
        kept = sum(each.sums[spec.name].rows for each in made)
        if not read == rows == kept + rejected:
            raise DataError(
                f"the batches have {rows} rows: {read} were read, {kept} are in '{spec.name}', {rejected} quarantined"
            )


def _parts(spec: TableSpec, made: Sequence[Made]) -> Parts:
    files = tuple(part for each in made if (part := each.parts[spec.name]) is not None)
    return Parts(files, reduce(add, (each.sums[spec.name] for each in made), Sums()).render())
