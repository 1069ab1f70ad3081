"""The grid's stream on made-up hosts: injections per second by number of threads, and where the time goes."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import yaml

from benchmarks.gpu.made_up import GPU, about, finder, manifest_in
from injection.config import GridParams
from injection.experiment import grid as grids
from injection.experiment import setting, stream
from injection.experiment.grid import Plan
from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from lake.ahead import in_order
from lake.sky.photometry import flux_from_magnitude
from lake.sky.survey import BANDS, SURVEY
from lake.store.stamps import StampStore
from modeling.scoring.scorer import CheckpointScorer

HOSTS, SECONDS = (512, 8.0) if GPU else (8, 1.0)
"""Made-up hosts; seconds after which a number of threads is stopped."""
CORES = os.cpu_count() or 1
THREADS, BATCH = ((1, 4, CORES), 1024) if GPU else ((1, 2), 4)
"""Numbers of threads, each of which makes batches of its own beside a GPU; injections of a batch."""
ROUNDS = 8 if GPU else 2
"""Batches for each thread."""


def grid_params(threads: int) -> GridParams:
    """The grid of params/base.yaml, all hosts in one cell per Einstein radius."""
    base = yaml.safe_load((Path(__file__).parents[2] / "params" / "base.yaml").read_text(encoding="utf-8"))["grid"]
    wide = {"psf_fwhm_nea_edges_arcsec": [0.5, 3.0], "depth_edges_mag": [20.0, 27.0], "max_uses_per_host": 10**6}
    per_cell = -(-(1 + ROUNDS * threads) * BATCH // len(base["theta_e_arcsec"]))
    size = {"per_cell": per_cell, "batch_size": BATCH, "threads": threads}
    return GridParams.load({**base, **wide, **size}, "grid")


def hosts_in(folder: Path) -> pa.Table:
    """Made-up hosts, their stamps in a shard."""
    table, random = manifest_in(folder, HOSTS), np.random.default_rng(3)
    depth = (5.0 / flux_from_magnitude(random.uniform(23.0, 24.5, (HOSTS, len(BANDS))))) ** 2
    seeing = random.uniform(0.9, 1.7, (HOSTS, len(BANDS)))
    for index, band in enumerate(BANDS):
        table = table.append_column(f"psfsize_{band}", pa.array(seeing[:, index]))
        table = table.append_column(f"psfdepth_{band}", pa.array(depth[:, index]))
    return table.drop_columns(["label", "tier"])


class Clock:
    """Seconds of all threads by what they were spent on."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(("hosts", "rendering", "measuring", "scoring", "scoring and waiting for it"), 0.0)
        self._lock = threading.Lock()

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            found = function(*arguments)
            with self._lock:
                self.spent[name] += time.perf_counter() - start
            return found

        return timed

    @contextmanager
    def running(self, scorer: CheckpointScorer) -> Iterator[None]:
        """Time the calls of the stream and of the scorer."""
        with (
            patch.object(setting, "render_arcs", self.around("rendering", setting.render_arcs)),
            patch.object(setting, "measure", self.around("measuring", setting.measure)),
            patch.object(stream, "_host_stamps", self.around("hosts", stream._host_stamps)),
            patch.object(stream, "_scored", self.around("scoring and waiting for it", stream._scored)),
            patch.object(scorer, "score", self.around("scoring", scorer.score)),
        ):
            yield


def records() -> Iterator[dict[str, Any]]:
    """Rates and shares by number of threads."""
    yield about()
    with tempfile.TemporaryDirectory() as folder:
        scorer, table = CheckpointScorer(finder(Path(folder))), hosts_in(Path(folder))
        rows = {galaxy_id: row for row, galaxy_id in enumerate(table["galaxy_id"].to_pylist())}
        places, store = table.select(["shard", "shard_row", "sha256"]), StampStore(Path(folder))

        def load(galaxy_ids: Sequence[str]) -> np.ndarray:
            return store.get(places.take(pa.array([rows[each] for each in galaxy_ids])))

        def plan(threads: int) -> Plan:
            grid = grid_params(threads)
            hosts = HostSet("made-up", table, load, scorer.stamp_pixels, grid.host_model, SURVEY)
            return grids.plan(Setting.of(grid, hosts, 1))

        first = None
        for threads in THREADS:
            record = _streamed(plan(threads), scorer)
            first = first or record["injections_per_s"]
            record["ratio"] = record["injections_per_s"] / first
            record["what"] += f"; {record['ratio']:.2f} times the first"
            yield record


def _streamed(planned: Plan, scorer: CheckpointScorer) -> dict[str, Any]:
    """Rate and shares of the grid's threads, without the first batch, until each has finished the batch it was at."""
    grid, clock, todo = planned.setting.grid, Clock(), stream.batches(planned)
    start = time.perf_counter()
    stream.run_batch(planned, todo[0], scorer)
    first = time.perf_counter() - start
    made = list[int]()
    side, one, at_once = stream.side_by_side(planned, scorer)

    def run(rows: pa.Table) -> None:
        made.append(stream.run_batch(side, rows, one).num_rows)

    with clock.running(scorer):
        start = time.perf_counter()
        with closing(in_order(run, todo[1:], at_once)) as results:
            for _ in results:
                if time.perf_counter() - start > SECONDS:
                    break
        done, total, spent = sum(made), time.perf_counter() - start, dict(clock.spent)
    # one thread never waits for another; scoring a batch takes as long with several threads
    busy, scoring = spent["scoring"] / total, spent.pop("scoring")
    if at_once == 1:
        spent["scoring"] = spent.pop("scoring and waiting for it")
    alone = done * at_once / spent["rendering"]
    shares = {name: each / (total * at_once) for name, each in spent.items()}
    shares["the rest"] = 1.0 - sum(shares.values())
    rate = done / total
    what = f"{grid.threads:2d} thread(s), batch {grid.batch_size:4d}: {rate:7.1f} injections/s; "
    return {
        "what": what + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        + f" of the threads' time; some thread scores in {busy:.0%} of the whole; first batch {first:.1f} s; rendering "
        f"alone {alone:.1f}/s",
        "threads": grid.threads, "batch": grid.batch_size, "injections": done,
        "injections_per_s": rate, "rendering_per_s": alone, "first_batch_s": first,
        "shares": shares, "scoring_s": scoring, "scoring_busy": busy,
    }  # fmt: skip
