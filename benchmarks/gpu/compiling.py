"""Training with the network compiled: seconds to the first step, and stamps per second of the steps."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.made_up import DEVICE, GPU, about, arrays, params, seconds, settle
from benchmarks.gpu.training import TRAINED_ON, epoch_of
from modeling.training.run import open_run
from modeling.training.train import optimise, train_epoch

ROWS, BATCH = 4096, 512


def records() -> Iterator[dict[str, Any]]:
    """Seconds to the first step, then the rate."""
    yield about()
    if not GPU:
        yield {"what": "a compiled network was not trained: no GPU"}
        return
    settings = params({"compile": True}, epochs=10**6, batch=BATCH, micro_batch=BATCH)
    held = arrays(ROWS, settings).to(DEVICE)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = open_run(settings, held, Path(folder), None)
        optimise(run, held, np.arange(BATCH), 0)
        settle()
        first = time.perf_counter() - start
        yield {"what": f"first step of a compiled network after {first:.1f} s", "first_step_s": first}
        rate = ROWS / seconds(lambda: train_epoch(run, held))
    what = f"compiled, micro-batch {BATCH}: {rate:.0f} stamps/s ({run.steps.mode}), {epoch_of(rate)}"
    spent = {"compiled_micro_batch": BATCH, "train_s": TRAINED_ON / rate}
    yield {"what": what, "stamps_per_s": rate, **spent, "mode": run.steps.mode}
