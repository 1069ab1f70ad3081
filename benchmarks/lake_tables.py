"""What the lake costs: a session cold and warm, publishing, fingerprints, a query without a JVM.

``python benchmarks/lake_tables.py [rows]`` prints a Markdown table.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil

from etl.spark import record, server
from etl.spark.session import session
from etl.tables import judge, table
from etl.tables.table import read
from etl.tables.writer import publish
from lake import tables
from lake.contract.fingerprint import fingerprint
from lake.contract.spec import TableSpec
from lake.errors import LakeError
from lake.root import DataRoot
from lake.store import delta
from lake.store.writing import Provenance, Target

_QUERY = """
import sys
from lake.store.query import query
from lake.root import DataRoot
print(query(DataRoot.of(sys.argv[1]), "select split, count(*), avg(mag_r) from tractor_pool group by split"))
"""


def timed(action: Callable[[], object]) -> float:
    """Seconds an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def worked(folder: Path, action: Callable[[], object]) -> float:
    """Processor seconds that the Spark server spends on an action: comparable on a busy machine too."""
    found = record.living(folder)
    if found is None:
        raise LakeError(f"no Spark server runs for {folder}")
    machine = next(p for p in psutil.Process(found.pid).children() if p.name() == "java")
    before = machine.cpu_times()
    action()
    after = machine.cpu_times()
    return float(after.user + after.system - before.user - before.system)


def columns(spec: TableSpec) -> list[str]:
    """Expressions over ``id`` that fill a table with plausible, varied values."""
    made = []
    for column in spec.columns:
        low, high = column.low or 0, column.high if column.high is not None else (column.low or 0) + 50
        unit = f"pmod(xxhash64(id, '{column.name}'), 1000003) / 1000003D"
        if column.role == "key":
            value = "concat('ls-dr10:0003m005_', id)"
        elif column.allowed:
            value = f"element_at(array{column.allowed!r}, cast({unit} * {len(column.allowed)} as int) + 1)"
        elif column.type == "string":
            value = "'0003m005'"
        elif column.type == "timestamp":
            value = "timestamp_seconds(0)"
        else:
            value = f"({low} + {unit} * {high - low})"
        made.append(f"cast({value} as {column.type}) as {column.name}")
    return made


def interpreted_share(root: DataRoot, spec: TableSpec, rows: int) -> float:
    """Processor time of publishing with interpreted queries over that with compiled ones, code generated before."""
    spent = {}
    for compiled in (True, False):
        spark = session(root, f"compiled-{compiled}-{rows}", compile_queries=compiled)
        frame = spark.range(rows).selectExpr(*columns(spec))
        spent[compiled] = worked(root.spark, partial(publish, frame, Target(root, spec, None, {}, Provenance("bench"))))
    return spent[False] / spent[True]


def main(rows: int) -> None:
    """Measure and print."""
    logging.basicConfig(level=logging.WARNING)
    spec = tables.spec("tractor_pool")
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = DataRoot.of(Path(folder) / "data")
        results["session, cold (server started)"] = timed(lambda: session(root, "bench").range(1).count())
        spark = session(root, "bench")
        results["session, warm, with a first answer"] = timed(lambda: session(root, "second").range(1).count())
        frame = spark.range(rows).selectExpr(*columns(spec))
        target = Target(root, spec, None, {}, Provenance("bench"))
        publish(frame.limit(100), target)
        results[f"publish, {rows} rows: judge, write, quarantine, card"] = timed(lambda: publish(frame, target))
        results[f"publish, {rows} rows judged by the job"] = timed(lambda: publish(frame, target, judged=rows))
        held = read(spark, root, spec.name).persist()
        held.count()
        prints = held.agg(*judge.aggregates(spec))
        prints.collect()
        write = worked(root.spark, lambda: table.replace(held, rows, spec, root, {}, target.who))
        scan = worked(root.spark, lambda: held.where("mag_r + mag_g + mag_z < -1e9").count())
        share = (worked(root.spark, prints.collect) - scan) / write
        arrow = delta.read(root, spec.name)
        results["the same fingerprint without a JVM"] = timed(lambda: fingerprint(arrow, spec))
        command = [sys.executable, "-c", _QUERY, str(root.local)]
        results["query without a JVM, Python's start included"] = timed(
            lambda: subprocess.run(command, check=True, capture_output=True)
        )
        interpreted = interpreted_share(root, spec, rows)
        server.stop(root.spark)
    sys.stdout.write("| what | seconds |\n|---|---|\n")
    for name, seconds in results.items():
        sys.stdout.write(f"| {name} | {seconds:.2f} |\n")
    sys.stdout.write(f"\nprocessor time of publishing, queries interpreted / compiled: {interpreted:.2f}\n")
    sys.stdout.write(f"\nprocessor time of the fingerprint / of the write: {share:.2f} (goal: below 0.20)\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)
