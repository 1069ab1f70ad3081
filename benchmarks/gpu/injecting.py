"""The grid's stream on made-up hosts: injections per second of both engines, where the time goes, how they agree."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import yaml

from benchmarks.gpu.made_up import GPU, about, checked, finder, manifest_in, settle
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
"""Made-up hosts; seconds after which an engine is stopped."""
CORES = os.cpu_count() or 1
PROCESSOR = (("cpu", 1, 256), ("cpu", CORES, 1024), ("cpu", CORES, 2048)) if GPU else (("cpu", 1, 4), ("cpu", 2, 4))
TORCH = (("cuda", 1, 4096), ("cuda", 2, 4096)) if GPU else ()
"""Engine, threads, injections of a batch; with several threads, batches are made side by side."""
LARGEST_DIFFERENCE = 1e-4
"""Of two engines' pixels, relative to the image's peak, above which they do not agree."""


def grid_params(device: str, threads: int, batch: int) -> GridParams:
    """The grid of params/base.yaml, all hosts in one cell per Einstein radius."""
    base = yaml.safe_load((Path(__file__).parents[2] / "params" / "base.yaml").read_text(encoding="utf-8"))["grid"]
    wide = {"psf_fwhm_nea_edges_arcsec": [0.5, 3.0], "depth_edges_mag": [20.0, 27.0], "max_uses_per_host": 10**6}
    radii = base["theta_e_arcsec"]
    size = {
        "per_cell": -(-(2 + 2 * threads if GPU else 2) * batch // len(radii)),
        "batch_size": batch,
        "threads": threads,
    }
    return GridParams.load({**base, **wide, **size, "device": device}, "grid")


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
    """Seconds of all threads by what they were spent on; waits for the GPU at the end of each if it renders."""

    def __init__(self, waits: bool) -> None:
        self.spent = dict.fromkeys(("hosts", "rendering", "measuring", "scoring", "scoring and waiting for it"), 0.0)
        self.waits, self._lock = waits, threading.Lock()

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            found = function(*arguments)
            if self.waits:
                settle()
            with self._lock:
                self.spent[name] += time.perf_counter() - start
            return found

        return timed

    @contextmanager
    def running(self, scorer: CheckpointScorer, device: str) -> Iterator[None]:
        """Time the calls of the stream and of the scorer, which gets tensors from a GPU and arrays from a CPU."""
        asked = "score" if device == "cpu" else "score_tensor"
        with (
            patch.object(setting, "render_arcs", self.around("rendering", setting.render_arcs)),
            patch.object(setting, "measure", self.around("measuring", setting.measure)),
            patch.object(stream, "_host_stamps", self.around("hosts", stream._host_stamps)),
            patch.object(stream, "_scored", self.around("scoring and waiting for it", stream._scored)),
            patch.object(scorer, asked, self.around("scoring", getattr(scorer, asked))),
        ):
            yield


def records() -> Iterator[dict[str, Any]]:
    """Rates and shares of each engine, and where there is a GPU their agreement."""
    yield about()
    with tempfile.TemporaryDirectory() as folder:
        scorer, table = CheckpointScorer(finder(Path(folder))), hosts_in(Path(folder))
        rows = {galaxy_id: row for row, galaxy_id in enumerate(table["galaxy_id"].to_pylist())}
        places, store = table.select(["shard", "shard_row", "sha256"]), StampStore(Path(folder))

        def load(galaxy_ids: Sequence[str]) -> np.ndarray:
            return store.get(places.take(pa.array([rows[each] for each in galaxy_ids])))

        def plan(device: str, threads: int, batch: int) -> Plan:
            grid = grid_params(device, threads, batch)
            hosts = HostSet("made-up", table, load, scorer.stamp_pixels, grid.host_model, SURVEY)
            return grids.plan(Setting.of(grid, hosts, 1))

        rates: list[float] = []
        for engine, threads, batch in (*PROCESSOR, *TORCH):
            if engine == "cuda" and len(rates) == len(PROCESSOR):
                yield from _agreement(plan("cpu", CORES, batch), scorer)
            record = _engine(plan(engine, threads, batch), scorer)
            rates.append(record["injections_per_s"])
            record["ratio"] = rates[-1] / rates[0]
            record["what"] += f"; {record['ratio']:.2f} times the first"
            yield record
        if not TORCH:
            yield {"what": "the torch engine and its agreement with the processor's were not run: no GPU"}


def _engine(planned: Plan, scorer: CheckpointScorer) -> dict[str, Any]:
    """Rate and shares of an engine, without the first batch."""
    grid, done = planned.setting.grid, 0
    clock, todo = Clock(waits=grid.device != "cpu" and grid.threads == 1), stream.batches(planned)
    start = time.perf_counter()
    stream.run_batch(planned, todo[0], scorer)
    settle()
    first = time.perf_counter() - start
    with clock.running(scorer, grid.device):
        side, one, at_once = stream.side_by_side(planned, scorer)
        start = time.perf_counter()
        for table in in_order(lambda rows: stream.run_batch(side, rows, one), todo[1:], at_once):
            done += table.num_rows
            total = time.perf_counter() - start
            if total > SECONDS:
                break
        spent = dict(clock.spent)
    # one thread never waits for another; scoring a batch takes as long with several threads
    busy, scoring = spent["scoring"] / total, spent.pop("scoring")
    if at_once == 1:
        spent["scoring"] = spent.pop("scoring and waiting for it")
    # batches side by side on a GPU do not wait for each other's kernels, so only one after another can be timed
    alone = done * at_once / spent["rendering"] if clock.waits or grid.device == "cpu" else None
    shares = {name: each / (total * at_once) for name, each in spent.items()}
    shares["the rest"] = 1.0 - sum(shares.values())
    rate = done / total
    where = "processor" if grid.device == "cpu" else "torch"
    what = f"{where} engine, {grid.threads:2d} thread(s), batch {grid.batch_size:4d}: {rate:7.1f} injections/s; "
    return {
        "what": what + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        + f" of the threads' time; some thread scores in {busy:.0%} of the whole; first batch {first:.1f} s"
        + ("" if alone is None else f"; rendering alone {alone:.1f}/s"),
        "engine": where, "threads": grid.threads, "batch": grid.batch_size, "injections": done,
        "injections_per_s": rate, "rendering_per_s": alone, "first_batch_s": first,
        "shares": shares, "scoring_s": scoring, "scoring_busy": busy,
    }  # fmt: skip


def _agreement(planned: Plan, scorer: CheckpointScorer) -> Iterator[dict[str, Any]]:
    """Pixels of both engines for the same draws, and what the stream makes of them."""
    rows, here = stream.batches(planned)[0], planned.setting
    there = replace(here, grid=here.grid.model_copy(update={"device": "cuda"}))
    hosts = pa.array([ids[0] for ids in rows["host_ids"].to_pylist()])
    drawn = here.parameters(rows.append_column("galaxy_id", hosts))
    spent, arcs = {}, {}
    for each in (here, there):
        start = time.perf_counter()
        arcs[each.grid.device] = each.draw(drawn).arcs
        settle()
        spent[each.grid.device] = time.perf_counter() - start
    what = f"the torch engine's first {rows.num_rows} injections took {spent['cuda']:.1f} s, with compiling its kernels"
    yield {"what": what, "first_s": spent["cuda"]}
    cpu, gpu = arcs["cpu"], arcs["cuda"]
    difference = abs(gpu.images.cpu().numpy() - cpu.images).max(axis=(2, 3)) / cpu.images.max(axis=(2, 3))
    largest = float(difference.max())
    yield checked(
        f"{rows.num_rows} injections: pixels of both engines differ by {largest:.1e} of the peak at most, "
        f"which is within {LARGEST_DIFFERENCE:g}", largest <= LARGEST_DIFFERENCE, largest_difference=largest,
    )  # fmt: skip
    ours, theirs = (stream.run_batch(replace(planned, setting=each), rows, scorer) for each in (here, there))
    scores = [table["score"].to_numpy() for table in (ours, theirs)]
    score = float(abs(scores[0] - scores[1]).max())
    what = f"the stream's logits differ by {score:.1e} at most between the engines"
    yield {"what": what, "largest_score_difference": score}
