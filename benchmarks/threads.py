"""Can threads feed a finder on a GPU? `python -m benchmarks.threads`: the grid's stream without the scoring.

Threads load hosts, draw, render and measure injections and make their tables, each in batches of its own, for a finder
that takes no time here. One thread and two take turns in one process. One thread at a time holds Python's lock, and for
each injection it is held for some time, which limits the rate of any number of threads. py-spy, where it is installed
(`pip install py-spy`), measures that time in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.grids import PIXELS, made_up
from injection.experiment.grid import Plan
from injection.experiment.stream import batches, run_batch, side_by_side
from lake.ahead import in_order

HOSTS = 512
SAMPLES_PER_S = 250
NEEDED_PER_S = (5_500, 11_000)
"""Injections per second for a grid of 110,000 in 20 s, and in 10 s."""


class Elsewhere:
    """A finder whose work is done on another processor."""

    name, checkpoint_id, stamp_pixels, bands, conditions = "elsewhere", "elsewhere", PIXELS, None, ()
    on_gpu = True

    def score(self, stamps: NDArray[np.float32], conditions: object = None) -> NDArray[np.float64]:
        return np.zeros(len(stamps))


def streamed(plan: Plan) -> dict[str, float]:
    """Injections of a plan, and the seconds and the processor seconds that they take."""
    side, scorer, at_once = side_by_side(plan, Elsewhere())
    wall, spent = time.perf_counter(), time.process_time()
    made = sum(table.num_rows for table in in_order(lambda rows: run_batch(side, rows, scorer), batches(plan), at_once))
    return {"injections": made, "wall_s": time.perf_counter() - wall, "processor_s": time.process_time() - spent}


def turns(folder: Path, options: argparse.Namespace) -> list[list[dict[str, float]]]:
    """What one thread and two make of the same number of batches, several times in turn, after a first batch."""
    plans = [made_up(folder, HOSTS, threads, options.batch, options.batches) for threads in (1, 2)]
    run_batch(plans[0], batches(plans[0])[0], Elsewhere())
    return [[streamed(plan) for plan in plans] for _ in range(options.repeats)]


def sampler() -> str | None:
    """py-spy, if it is installed."""
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy")


def held(program: str, options: argparse.Namespace) -> float:
    """Processor seconds per injection in which one thread holds Python's lock."""
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder) / "stacks"
        record = [program, "record", "--gil", "--nonblocking", "--rate", str(SAMPLES_PER_S), "--format", "raw"]
        asked = ["--batch", str(options.batch), "--batches", str(options.batches), "--alone"]
        own = [sys.executable, "-m", "benchmarks.threads", *asked]
        done = subprocess.run([*record, "--output", str(stacks), "--", *own], capture_output=True, text=True)
        if done.returncode or not stacks.exists():
            raise SystemExit(f"py-spy cannot look at this process: {done.stderr.strip()}")
        one: dict[str, float] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
        lines = stacks.read_text(encoding="utf-8").splitlines()
        samples = sum(int(line.rsplit(" ", 1)[1]) for line in lines if ";streamed (" in line)
    # a process that waits for its processor holds the lock for longer, but not for more of its own time
    return samples / SAMPLES_PER_S * one["processor_s"] / one["wall_s"] / one["injections"]


def report(found: list[list[dict[str, float]]]) -> float:
    """Print rates and times; processor milliseconds per injection of one thread."""
    each = []
    for threads, runs in enumerate(zip(*found, strict=True), 1):
        rates = [run["injections"] / run["wall_s"] for run in runs]
        spent = [1e3 * run["processor_s"] / run["injections"] for run in runs]
        each.append(median(spent))
        print(
            f"{threads} thread(s): {median(rates):,.0f} injections/s ({min(rates):,.0f} to {max(rates):,.0f}), "
            f"{median(spent):.3f} ms of processor time each"
        )
    ratios = [one["wall_s"] / two["wall_s"] for one, two in found]
    print(f"two threads : one, in the same turn: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    needed = ", ".join(f"{rate:,}/s needs {rate * each[0] / 1e3:.1f}" for rate in NEEDED_PER_S)
    print(f"processors like this one for a grid of 110,000 in 20 and in 10 s: {needed}")
    return each[0]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description=__doc__)
    parser.add_argument("--batch", type=int, default=1024, help="injections of a batch")
    parser.add_argument("--batches", type=int, default=6, help="batches of a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if options.alone:
            plan = made_up(Path(folder), HOSTS, 1, options.batch, options.batches)
            run_batch(plan, batches(plan)[0], Elsewhere())
            print(json.dumps(streamed(plan)))
            return
        report(turns(Path(folder), options))
    if (program := sampler()) is None:
        print("the time in Python's lock was not measured: py-spy is not installed")
        return
    lock = held(program, options)
    print(f"Python's lock is held for {1e3 * lock:.3f} ms of each, so that threads make at most {1 / lock:,.0f}/s")


if __name__ == "__main__":
    main()
