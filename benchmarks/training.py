"""Speed of training and scoring the demo network, beside a plain torch loop: `python -m benchmarks.training`.

The plain loop is what one writes first: a `Dataset` that reads, normalises and flips one stamp at a time, a
`DataLoader`, the same network and optimiser, validation left out on both sides. One thread is timed in processor time,
so that other work on the machine counts little; two threads in wall time, so that it must be idle.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader, Dataset

from lake.stamps import StampStore, write_shard
from lake.survey import STAMP_PIXELS
from modeling.config import TrainParams, resolve_generation
from modeling.data import load_arrays
from modeling.hardware import DTYPES
from modeling.inference import Arithmetic, logits_of, threads
from modeling.networks import build
from modeling.preprocess import normalise
from modeling.run import open_run
from modeling.train import train_epoch

ROWS = 1024
STAMPS_IN_SLOW_RUNS = 256
REPEATS = 3


class PlainStamps(Dataset):
    """One stamp at a time, from a memory map."""

    def __init__(self, rows: pa.Table, store: StampStore, params: TrainParams) -> None:
        self.store, self.params = store, params
        self.labels = torch.from_numpy(rows["label"].to_numpy().astype(np.float32))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = normalise(torch.from_numpy(self.store.get([0], [row])), self.params.preprocessing)[0]
        if torch.rand(()) < 0.5:
            x = x.flip(-1)
        return torch.rot90(x, int(torch.randint(4, ())), (-2, -1)), self.labels[row]


def plain_epoch(rows: pa.Table, store: StampStore, params: TrainParams) -> None:
    """The loop one writes first."""
    network = build(params.network).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=params.optimiser.lr)
    loader = DataLoader(PlainStamps(rows, store, params), params.loop.batch, shuffle=True, drop_last=True)
    for x, y in loader:
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(x), y)
        loss.backward()
        optimiser.step()
        loss.item()


def survey(folder: Path, rows: int) -> tuple[pa.Table, StampStore]:
    """A shard of noise and its manifest rows."""
    rng = np.random.default_rng(0)
    stamps = (rng.normal(0, 1, (3, STAMP_PIXELS, STAMP_PIXELS)).astype(np.float32) for _ in range(rows))
    write_shard(folder / "bucket-0000.npy", stamps, rows, STAMP_PIXELS)
    table = pa.table(
        {
            "galaxy_id": [f"b:{row:06d}" for row in range(rows)],
            "shard": np.zeros(rows, dtype=np.int32),
            "shard_row": np.arange(rows, dtype=np.int32),
            "label": (np.arange(rows) % 6 == 0).astype(np.int32),
            "sample_weight": np.ones(rows, dtype=np.float32),
        }
    )
    return table, StampStore(folder)


def rate(name: str, images: int, number: int, work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Print and answer the best rate of a few runs, in stamps per second."""
    clock = time.process_time if number == 1 else time.perf_counter
    best = float("inf")
    for _ in range(repeats):
        started = clock()
        work()
        best = min(best, clock() - started)
    print(f"{name:58s} {images / best:9.0f} stamps/s", flush=True)
    return images / best


def our_rates(rows: pa.Table, store: StampStore, folder: Path, number: int, dtype: str) -> float:
    """Training and scoring with this many threads; answers the training rate."""
    params = resolve_generation("demo1", {"execution": {"threads": number, "dtype": dtype, "device": "cpu"}})
    slow = dtype == "bf16" and "AVX512" not in torch.backends.cpu.get_cpu_capability()
    arrays = load_arrays(rows.slice(0, STAMPS_IN_SLOW_RUNS) if slow else rows, store, params)
    images = len(arrays) // params.loop.batch * params.loop.batch
    repeats = 1 if slow else REPEATS
    with threads(number):
        run = open_run(params, arrays, folder / f"{number}-{dtype}", None)
        arithmetic = Arithmetic(torch.device("cpu"), DTYPES[dtype], params.execution.channels_last)
        trained = rate(f"train, {dtype}", images, number, partial(train_epoch, run, arrays), repeats)
        scoring = partial(logits_of, run.state.evaluated, arithmetic, arrays.x)
        rate(f"score normalised stamps, {dtype}", len(arrays), number, scoring, repeats)
    return trained


def compare(rows: pa.Table, store: StampStore, folder: Path, number: int) -> None:
    """All rates with this many threads."""
    print(f"-- threads: {number}")
    params = resolve_generation("demo1", {"execution": {"threads": number}})
    stamps = torch.from_numpy(store.get(np.zeros(ROWS), np.arange(ROWS)))
    with threads(number):
        rate("normalise", ROWS, number, partial(normalise, stamps, params.preprocessing))
        plain = rate("train, plain Dataset and DataLoader", ROWS, number, partial(plain_epoch, rows, store, params), 2)
    ours = our_rates(rows, store, folder, number, "fp32")
    our_rates(rows, store, folder, number, "bf16")
    print(f"{'fp32 training, ratio to the plain loop':58s} {ours / plain:9.2f}", flush=True)


def main() -> None:
    os.environ.setdefault("TQDM_DISABLE", "1")
    with tempfile.TemporaryDirectory() as name:
        rows, store = survey(Path(name), ROWS)
        for number in [int(word) for word in sys.argv[1:]] or [1, 2]:
            compare(rows, store, Path(name), number)


if __name__ == "__main__":
    main()
