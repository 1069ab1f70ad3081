"""The grid's stream on made-up hosts: injections per second by number of threads, and where the time goes."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from benchmarks.gpu.made_up import GPU, about, finder
from benchmarks.grids import made_up
from injection.experiment import setting, stream
from injection.experiment.grid import Plan
from lake.ahead import in_order
from modeling.scoring.scorer import CheckpointScorer

HOSTS, SECONDS = (512, 8.0) if GPU else (8, 1.0)
"""Made-up hosts; seconds after which a number of threads is stopped."""
CORES = os.cpu_count() or 1
THREADS, BATCH = (tuple(sorted({1, 4, CORES})), 1024) if GPU else ((1, 2), 4)
"""Numbers of threads, each of which makes batches of its own beside a GPU; injections of a batch."""
ROUNDS = 8 if GPU else 2
"""Batches for each thread."""


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
            patch.object(stream, "host_stamps", self.around("hosts", stream.host_stamps)),
            patch.object(stream, "_scored", self.around("scoring and waiting for it", stream._scored)),
            patch.object(scorer, "score", self.around("scoring", scorer.score)),
        ):
            yield


def records() -> Iterator[dict[str, Any]]:
    """Rates and shares by number of threads."""
    yield about()
    with tempfile.TemporaryDirectory() as folder:
        scorer = CheckpointScorer(finder(Path(folder)))
        first = None
        for threads in THREADS:
            plan = made_up(Path(folder), HOSTS, threads, BATCH, 1 + ROUNDS * threads)
            record = _streamed(plan, scorer)
            first = first or record["injections_per_s"]
            record["ratio"] = record["injections_per_s"] / first
            record["what"] += f"; {record['ratio']:.2f} times the first"
            yield record


def _streamed(planned: Plan, scorer: CheckpointScorer) -> dict[str, Any]:
    """Rate and shares of the grid's threads, without the first batch, until each has finished its batch."""
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
