"""The grid's stream on made-up hosts: injections per second of both engines, where the time goes, how they agree."""

from __future__ import annotations

import os
import tempfile
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

from benchmarks.gpu.made_up import GPU, about, checked, finder, settle, stamps
from injection.config import GridParams
from injection.experiment import grid as grids
from injection.experiment import setting, stream
from injection.experiment.grid import Plan
from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from lake.sky.photometry import flux_from_magnitude
from lake.sky.survey import BANDS, SURVEY
from lake.store.stamps import StampStore, shard_name, stamp_hash, write_shard
from modeling.scoring.scorer import CheckpointScorer

HOSTS, INJECTIONS, SECONDS = (512, 10_240, 5.0) if GPU else (8, 4, 1.0)
"""Made-up hosts; injections timed of each engine, or four batches if they are more; seconds after which it stops."""
CORES = os.cpu_count() or 1
PROCESSOR = (("cpu", 1, 256), ("cpu", CORES, 256)) if GPU else (("cpu", 1, 4), ("cpu", 2, 4))
TORCH = (("cuda", 1, 256), ("cuda", 1, 1024), ("cuda", 1, 4096)) if GPU else ()
"""Engine, threads, injections of a batch."""
LARGEST_DIFFERENCE = 1e-4
"""Of two engines' pixels, relative to the image's peak, above which they do not agree."""


def grid_params(device: str, threads: int, batch: int) -> GridParams:
    """The grid of params/base.yaml, all hosts in one cell per Einstein radius."""
    base = yaml.safe_load((Path(__file__).parents[2] / "params" / "base.yaml").read_text(encoding="utf-8"))["grid"]
    wide = {"psf_fwhm_nea_edges_arcsec": [0.5, 3.0], "depth_edges_mag": [20.0, 27.0], "max_uses_per_host": 10**6}
    radii = base["theta_e_arcsec"]
    size = {
        "per_cell": -(-(batch + max(INJECTIONS, (4 if GPU else 1) * batch)) // len(radii)),
        "batch_size": batch,
        "threads": threads,
    }
    return GridParams.load({**base, **wide, **size, "device": device}, "grid")


def hosts_in(folder: Path) -> pa.Table:
    """Made-up hosts, their stamps in a shard as the product holds them."""
    pixels, random = stamps(HOSTS, seed=2).numpy(), np.random.default_rng(3)
    write_shard(folder / shard_name(0), iter(pixels), HOSTS, pixels.shape[-1])
    depth = (5.0 / flux_from_magnitude(random.uniform(23.0, 24.5, (HOSTS, len(BANDS))))) ** 2
    seeing = random.uniform(0.9, 1.7, (HOSTS, len(BANDS)))
    return pa.table(
        {
            "galaxy_id": [f"made-up:{row:05d}" for row in range(HOSTS)],
            "shard": np.zeros(HOSTS, np.int32),
            "shard_row": np.arange(HOSTS, dtype=np.int32),
            "sha256": [stamp_hash(stamp) for stamp in pixels],
            **{f"psfsize_{band}": seeing[:, index] for index, band in enumerate(BANDS)},
            **{f"psfdepth_{band}": depth[:, index] for index, band in enumerate(BANDS)},
        }
    )


class Clock:
    """Seconds by what they were spent on; waits for the GPU at the end of each."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(("loading hosts", "rendering", "measuring", "scoring"), 0.0)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            found = function(*arguments)
            settle()
            self.spent[name] += time.perf_counter() - start
            return found

        return timed

    @contextmanager
    def running(self) -> Iterator[None]:
        """Clock the stream's own calls."""
        with (
            patch.object(setting, "render_arcs", self.around("rendering", setting.render_arcs)),
            patch.object(setting, "measure", self.around("measuring", setting.measure)),
            patch.object(stream, "_load", self.around("loading hosts", stream._load)),
            patch.object(stream, "_scored", self.around("scoring", stream._scored)),
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
    grid, clock, done = planned.setting.grid, Clock(), 0
    todo = stream.batches(planned)
    stream.run_batch(planned, todo[0], scorer)
    settle()
    start = time.perf_counter()
    with clock.running():
        for rows in todo[1:]:
            stream.run_batch(planned, rows, scorer)
            done += rows.num_rows
            if time.perf_counter() - start > SECONDS:
                break
    total = time.perf_counter() - start
    shares = {name: spent / total for name, spent in clock.spent.items()}
    shares["the rest"] = 1.0 - sum(shares.values())
    rate = done / total
    where = "processor" if grid.device == "cpu" else "torch"
    what = f"{where} engine, {grid.threads:2d} thread(s), batch {grid.batch_size:4d}: {rate:7.1f} injections/s; "
    return {
        "what": what + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        "engine": where, "threads": grid.threads, "batch": grid.batch_size, "injections": done,
        "injections_per_s": rate, "shares": shares,
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
