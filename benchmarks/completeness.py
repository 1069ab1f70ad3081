"""Time from score batches to completeness at the size of a survey: ``python -m benchmarks.completeness [injections]``.

Run in the folder of a finished demo (`make demo`), which stays as it is. In a copy, the grid of its first finder is
repeated under new names of injections and hosts until it has 1.1 million injections. The stages ingest and completeness
then run on a warm Spark server, and the views and commands on what they made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from etl.spark import server
from etl.spark.session import session
from lake.root import DataRoot
from lake.store.query import query
from pipeline.experiment.reweighting import headline
from pipeline.project import params
from pipeline.project.outputs import grid_batches, grid_facts, write_grid_facts
from pipeline.stage import run_stage

_STAGES = ("ingest", "completeness")
_ROWS_PER_FILE = 50_000
_QUERIES = (
    "select * from completeness_by_theta_e_depth",
    "select * from completeness_by_host_type_seeing_src_mag",
    "select threshold_id, completeness, joint_95_low, joint_95_high from completeness where cell = 'marginal'",
)
_COMMANDS = ("dhs completeness --threshold p0.5", "dhs completeness --by theta_e,depth --threshold p0.5")


def timed(name: str, step: Callable[[], object]) -> float:
    """Seconds that a step takes, also printed."""
    start = time.perf_counter()
    step()
    spent = time.perf_counter() - start
    print(f"{name:85s} {spent:6.1f} s", flush=True)
    return spent


def copied(demo: Path, folder: Path) -> None:
    """A project with the tables of a finished one, whose Spark compiles its queries."""
    values = yaml.safe_load((demo / params.FILE).read_text())
    values["survey"]["compile_queries"] = True
    (folder / params.FILE).write_text(yaml.safe_dump(values))
    made_here = shutil.ignore_patterns(*(f"{name}.*" for name in ("injections", "injection_scores", "completeness")))
    shutil.copytree(demo / "data" / "lake", folder / "data" / "lake")
    shutil.copytree(demo / "data" / "cards", folder / "data" / "cards", ignore=made_here)


def repeated(here: DataRoot, there: DataRoot, name: str, injections: int) -> int:
    """The grid of a finder again and again, under identifiers that end in the number of the copy; rows made."""
    whole = pa.concat_tables(pq.read_table(path) for path in grid_batches(here, name))
    copies, per_file = -(-injections // whole.num_rows), max(_ROWS_PER_FILE // whole.num_rows, 1)
    there.grid(name).mkdir(parents=True)
    for first in range(0, copies, per_file):
        parts = [_copy(whole, number) for number in range(first, min(first + per_file, copies))]
        pq.write_table(pa.concat_tables(parts), there.grid(name) / f"batch-{first:05d}.parquet")
    write_grid_facts(there.grid(name), {**grid_facts(here, name), "batches": None, "sha256": None})
    return copies * whole.num_rows


def _copy(rows: pa.Table, number: int) -> pa.Table:
    for name in ("injection_id", "galaxy_id"):
        values = pc.binary_join_element_wise(rows[name], f"{number:04d}", "")
        rows = rows.set_column(rows.column_names.index(name), name, values)
    return rows


def main() -> None:
    wanted, demo = int(sys.argv[1]) if len(sys.argv) > 1 else 1_100_000, params.load(Path())
    name, source = headline(demo), Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        copied(source, Path(place))
        os.chdir(place)
        project = params.load(Path())
        made = repeated(DataRoot.of(source / "data"), project.data, name, wanted)
        session(project.data, "benchmark").range(10).count()
        total = sum(timed(stage, lambda stage=stage: run_stage(project, stage, name)) for stage in _STAGES)
        total += sum(timed(text, lambda text=text: query(project.data, text)) for text in _QUERIES)
        server.stop(project.data.spark)
        print(f"{made:,} injections from batches to completeness, views and intervals: {total:.1f} s")
        for of, folder in ((f"{made:,}", Path(place)), ("the demo", source)):
            os.chdir(folder)
            for command in _COMMANDS:
                asked = [*command.split(), "--generation", name]
                timed(f"{command} of {of}", lambda asked=asked: subprocess.run(asked, check=True, capture_output=True))


if __name__ == "__main__":
    main()
