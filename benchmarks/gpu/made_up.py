"""Made-up stamps, an untrained finder, and timing: what the parts of the GPU benchmark share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from lake.sky.survey import SURVEY
from modeling.config import TrainParams, resolve_generation
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
    what = f"{name}; torch {torch.__version__}; {NETWORK} at {PIXELS} px"
    return {"what": what, "device": DEVICE.type, "device_name": name, "torch": torch.__version__, "network": NETWORK}


def params(**loop: Any) -> TrainParams:
    """Paper IV's main line without ImageNet weights; on a CPU in one thread."""
    changes = {"network": {"name": NETWORK, "pretrained": False, "width": 8}, "loop": {"keep_every_epochs": 0, **loop}}
    return resolve_generation("gen1", {**changes, "execution": {"threads": 1, "dtype": "auto" if GPU else "fp32"}})


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


def finder(folder: Path) -> Checkpoint:
    """A checkpoint after a few steps, enough that its batch statistics fit its activations."""
    steps, batch = (24, 64) if GPU else (2, 8)
    settings = params(epochs=1, batch=batch, micro_batch=batch)
    training, validation = arrays(steps * batch, settings), arrays(batch, settings)
    result = train(settings, training, validation, folder / "work")
    return publish(result, folder / "finder", Manifest("made-up", ""), training, validation)


def seconds(work: Callable[[], object]) -> float:
    """Median of several runs after a first, which is left out; waits for the GPU."""
    spent = []
    for _ in range(1 + REPEATS):
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
