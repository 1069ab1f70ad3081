"""Made-up stamps, an untrained finder, and timing: what the parts of the GPU benchmark share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import pyarrow as pa
import torch

from lake.sky.survey import SURVEY
from lake.store.stamps import shard_name, stamp_hash, write_shard
from modeling.config import TrainParams, resolve_generation
from modeling.networks import recorded
from modeling.networks.preprocess import normalise
from modeling.scoring.checkpoint import Checkpoint, Manifest, publish
from modeling.training.data import TrainingArrays
from modeling.training.train import train

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
PIXELS = 101
NETWORK = "efficientnet_v2_s" if GPU else "bottlenecked_resnet"
REPEATS = 3 if GPU else 1


def about() -> dict[str, Any]:
    """The first record of a part: where it runs, and what it leaves out there."""
    if not GPU:
        torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if GPU else "no GPU: tiny sizes on the CPU, and nothing on a device"
    imports_s = time.time() - psutil.Process().create_time()
    what = f"{name}; torch {torch.__version__}; {NETWORK} at {PIXELS} px; {imports_s:.1f} s to start and import"
    return {
        "what": what, "device": DEVICE.type, "device_name": name, "torch": torch.__version__, "network": NETWORK,
        "imports_s": imports_s,
    }  # fmt: skip


def params(execution: dict[str, Any] | None = None, **loop: Any) -> TrainParams:
    """Paper IV's main line without ImageNet weights; on a CPU in one thread."""
    changes = {"network": {"name": NETWORK, "pretrained": False, "width": 8}, "loop": {"keep_every_epochs": 0, **loop}}
    where = {"threads": 1, "dtype": "auto" if GPU else "fp32", **(execution or {})}
    return resolve_generation("gen1", {**changes, "execution": where})


def stamps(count: int, seed: int = 0) -> torch.Tensor:
    """Noise around a round galaxy of random flux, float32 (count, band, y, x) nMgy."""
    generator = torch.Generator().manual_seed(seed)
    offset = torch.arange(PIXELS) - PIXELS // 2
    galaxy = torch.exp(-torch.hypot(offset[:, None].float(), offset.float()) / 4.0)
    flux = torch.rand(count, 3, 1, 1, generator=generator)
    return flux * galaxy + 0.02 * torch.randn(count, 3, PIXELS, PIXELS, generator=generator)


def arrays(count: int, settings: TrainParams) -> TrainingArrays:
    """Training arrays of made-up stamps, one lens in six."""
    x = torch.cat(
        [normalise(part.to(DEVICE), settings.preprocessing).half().cpu() for part in stamps(count).split(512)]
    )
    labels = (torch.arange(count) % 6 == 0).float()
    ids = pa.array([f"made-up:{row}" for row in range(count)])
    return TrainingArrays(ids, x, labels, torch.ones(count), None, PIXELS, SURVEY.bands)


def manifest_in(folder: Path, count: int) -> pa.Table:
    """Rows of a manifest of made-up stamps, and the stamps in a shard as the project stores them."""
    pixels = stamps(count, seed=2).numpy()
    write_shard(folder / shard_name(0), iter(pixels), count, PIXELS)
    return pa.table(
        {
            "galaxy_id": [f"made-up:{row:05d}" for row in range(count)],
            "shard": np.zeros(count, np.int32),
            "shard_row": np.arange(count, dtype=np.int32),
            "sha256": [stamp_hash(stamp) for stamp in pixels],
            "label": (np.arange(count) % 6 == 0).astype(np.int32),
            "tier": pa.nulls(count, pa.string()),
        }
    )


def finder(folder: Path) -> Checkpoint:
    """A checkpoint after a few steps, enough that its batch statistics fit its activations."""
    steps, batch = (24, 64) if GPU else (2, 8)
    settings = params(epochs=1, batch=batch, micro_batch=batch)
    training, validation = arrays(steps * batch, settings), arrays(batch, settings)
    result = train(settings, training, validation, folder / "work")
    return publish(result, folder / "finder", Manifest("made-up", ""), training, validation)


@contextmanager
def without_graphs() -> Iterator[None]:
    """The project's own code without CUDA graphs."""
    never = patch.object(recorded, "WARM_UP", 2**40), patch.object(recorded.Recorded, "rehearse", lambda run: None)
    with never[0], never[1]:
        yield


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median of several runs after a first, which is left out; waits for the GPU."""
    spent = []
    for _ in range(1 + repeats):
        settle()
        start = time.perf_counter()
        work()
        settle()
        spent.append(time.perf_counter() - start)
    return median(spent[1:])


def settle() -> None:
    """Wait for the GPU."""
    if GPU:
        torch.cuda.synchronize()


def peak_gib() -> float:
    """Most GPU memory held since the last call; 0 on a CPU."""
    if not GPU:
        return 0.0
    most = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return most


def checked(what: str, same: bool, **values: Any) -> dict[str, Any]:
    """The record of a check; a failed one ends the benchmark with status 1."""
    return {"what": f"{what}: {'yes' if same else 'NO'}", **values, **({} if same else {"failed": what})}


def shuffled(count: int) -> np.ndarray:
    """A fixed random order."""
    return np.random.default_rng(1).permutation(count)
