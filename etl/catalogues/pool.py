"""Sweeps -> ``tractor_pool`` and ``tractor_near_candidates``, with every row accounted for.

Each file is read once, by a Spark task that leaves a part of the pool and an account in the table's folder
(:mod:`etl.catalogues.partfile`); what an earlier run left there of the same content is used again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from multiprocessing.pool import ThreadPool
from operator import add

import pyarrow as pa
from pyspark.sql import SparkSession

from etl.catalogues import partfile, repeats
from etl.catalogues.account import Account
from etl.catalogues.fates import KEPT, NEAR, POOL, QUARANTINED
from etl.catalogues.partfile import Recipe, Task
from etl.files import sweeps
from etl.files.sweepfiles import Sweep
from etl.tables.scan import shared_out
from lake import tables
from lake.contract.fingerprint import Sums
from lake.errors import DataError, one_line
from lake.files import storage
from lake.store import parts, quarantine
from lake.store.parts import Parts

log = logging.getLogger(__name__)

STAGE = "pool"
_BYTES_PER_TASK = 32 << 20
_THREADS = 16


@dataclass(frozen=True)
class Made:
    """The stage's tables: good rows without duplicates, and rows of the shared tables of counts and quarantine."""

    parts: Parts
    near: pa.Table
    counts: pa.Table
    quarantine: pa.Table


def build(
    spark: Callable[[], SparkSession],
    files: Sequence[Sweep],
    recipe: Recipe,
    contents: Mapping[str, object],
    code: str,
) -> Made:
    """Pool, near table, counts and quarantine of the files of a folder of sweeps.

    ``contents`` tells the content of files by name, as far as it is known; ``code`` is a hash of the code. Rows that do
    not add up are an error.
    """
    tasks = planned(files, recipe, contents, code)
    accounts = [Account(sweep.name, sweeps.Facts(problem=sweep.problem)) for sweep in files if sweep.problem]
    accounts += accounted(spark, tasks, recipe)
    for account in accounts:
        if account.facts.problem:
            log.warning("%s is quarantined: %s", account.sweep_file, account.facts.problem)
    accounts = repeats.settled(sorted(accounts, key=lambda account: account.sweep_file), recipe.table)
    kept = tuple(account.part for account in accounts if account.part is not None)
    return Made(
        parts=Parts(kept, reduce(add, (account.sums for account in accounts), Sums()).render()),
        near=pa.concat_tables([NEAR.row_schema().empty_table(), *(account.near for account in accounts)]),
        counts=reconciled(accounts),
        quarantine=_quarantine(accounts),
    )


def planned(files: Sequence[Sweep], recipe: Recipe, contents: Mapping[str, object], code: str) -> list[Task]:
    """A task for each file that is read, in order of name; with ``limit_rows`` no file after that row is opened."""
    params = recipe.params
    sweeps.require_known(params.catalogue)
    left = params.limit_rows
    settings = [
        params.model_dump(mode="json", exclude={"limit_files", "limit_rows"}),
        recipe.split.model_dump(mode="json"),
        recipe.collection,
        recipe.listed.to_pylist(),
        [spec.schema_hash() for spec in (POOL, NEAR)],
        code,
    ]
    base = _digest(settings)
    tasks = []
    for sweep in [sweep for sweep in sorted(files) if sweep.problem is None][: params.limit_files]:
        if left == 0:
            break
        stop = None
        if left is not None:
            rows = sweeps.inspect(sweep, 0, params.catalogue)
            stop = left if rows.problem is None and rows.rows > left else None
            left -= 0 if rows.problem else min(rows.rows, left)
        content = contents.get(sweep.name) or sweeps.identity(sweep)
        key = _digest([base, sweep.name, content, stop])
        tasks.append(Task(sweep.name, storage.absolute(sweep.path), stop, key))
    return tasks


def _digest(facts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def accounted(spark: Callable[[], SparkSession], tasks: Sequence[Task], recipe: Recipe) -> list[Account]:
    """The accounts of the tasks, of which Spark does those that were not done before."""
    known = {name: facts.size for name, facts in storage.files(recipe.table)}
    found = _loaded([task for task in tasks if parts.account(task.key) in known], recipe.table)
    held = {
        key: account
        for key, account in found.items()
        if account.lasting and (account.part is None or known.get(account.part.path) == account.part.size)
    }
    missing = [task for task in tasks if task.key not in held]
    log.info("%d sweeps to read, %d read before", len(missing), len(held))
    if missing:
        _run(spark(), missing, recipe)
        held |= _loaded(missing, recipe.table)
    return [held[task.key] for task in tasks]


def _loaded(tasks: Sequence[Task], table: str) -> dict[str, Account]:
    """Accounts by key; one that is damaged is as good as none."""

    def load(task: Task) -> Account | None:
        try:
            return Account.load(f"{table}/{parts.account(task.key)}")
        except (pa.ArrowInvalid, OSError, LookupError) as error:
            log.warning("the account of %s cannot be read and is made again: %s", task.name, one_line(error))
            return None

    with ThreadPool(_THREADS) as threads:
        found = zip(tasks, threads.map(load, tasks), strict=True)
    return {task.key: account for task, account in found if account is not None}


def _run(spark: SparkSession, tasks: Sequence[Task], recipe: Recipe) -> None:
    """Do tasks on the executors, in partitions of about equal size."""
    dealt = shared_out(tasks, [_size(task.path) for task in tasks], _BYTES_PER_TASK)
    numbers = spark.range(0, len(dealt), 1, len(dealt))
    numbers.mapInArrow(partial(partfile.run, dealt=dealt, recipe=recipe), "id bigint").collect()


def _size(path: str) -> int:
    """Bytes of a file; 0 if it cannot be read, which its task will find out."""
    try:
        found = storage.find(path)
    except OSError:
        return 0
    return found.size if found else 0


def reconciled(accounts: Sequence[Account]) -> pa.Table:
    """``ingest_counts`` rows of the stage; a file whose rows do not add up is an error."""
    wrong = {a.sweep_file: (a.read, a.counts.total()) for a in accounts if a.read != a.counts.total()}
    if wrong:
        raise DataError(f"rows read and accounted for differ, by file: {wrong}")
    counted = []
    for account in accounts:
        found: Counter[tuple[str, str]] = Counter(account.counts)
        found.update({("column_derived", f"type {old}"): rows for old, rows in account.renamed.items()})
        if account.facts.problem:
            found[QUARANTINED, account.facts.problem] = account.facts.rows
        elif not account.facts.rows:
            found[KEPT, ""] = 0
        found.update({("column_missing", name): 0 for name in account.facts.missing})
        found.update({("column_derived", name): 0 for name in account.facts.derived})
        of_file = {"stage": STAGE, "source_file": account.sweep_file, "sha256": account.facts.sha256}
        counted += [{**of_file, "outcome": o, "reason": r, "rows": rows} for (o, r), rows in sorted(found.items())]
    return tables.spec("ingest_counts").table(counted)


def _quarantine(accounts: Sequence[Account]) -> pa.Table:
    bad = [(account.sweep_file, account.facts.problem) for account in accounts if account.facts.problem]
    files = [{"source_file": name, "row_index": -1, "reason": problem} for name, problem in bad]
    rows = [account.rejected for account in accounts]
    return pa.concat_tables([*rows, pa.Table.from_pylist(files, schema=quarantine.SCHEMA)])
