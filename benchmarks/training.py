"""Training and scoring of demo1's network against a plain Dataset and DataLoader: `python -m benchmarks.training`.

Stamps per second of wall-clock time and, where the machine is shared, of CPU time per thread; the ratio is that to the
plain loop in the same arithmetic and thread count, timed in the same run.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from modeling.config import TrainParams, resolve_generation
from modeling.networks.augment import augment, sample_seeds
from modeling.networks.factory import LensFinder, build
from modeling.networks.inference import Arithmetic, logits_of, threads
from modeling.networks.preprocess import normalise

STAMPS, PIXELS, BATCH = 512, 101, 64


class PlainStamps(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """One stamp at a time, normalised and turned when it is asked for."""

    def __init__(self, stamps: torch.Tensor, labels: torch.Tensor, params: TrainParams, training: bool) -> None:
        self._stamps, self._labels, self._params, self._training = stamps, labels, params, training

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = normalise(self._stamps[index : index + 1], self._params.preprocessing)[0]
        if self._training:
            x = torch.rot90(x, int(torch.randint(4, ())), (-2, -1))
        return x, self._labels[index]


def step(network: LensFinder, optimiser: torch.optim.Optimizer, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """One update."""
    optimiser.zero_grad(set_to_none=True)
    torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
    optimiser.step()


def plain_training(stamps: torch.Tensor, labels: torch.Tensor, params: TrainParams, dtype: torch.dtype) -> None:
    """An epoch of a plain loop."""
    network = build(params.network, 3)
    optimiser = torch.optim.AdamW(network.parameters())
    for x, y in DataLoader(PlainStamps(stamps, labels, params, training=True), BATCH, shuffle=True):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = network(x)
        step(network, optimiser, logits.float(), y)
        float(logits.detach().mean())


def our_training(x: torch.Tensor, labels: torch.Tensor, params: TrainParams, arithmetic: Arithmetic) -> None:
    """An epoch as modeling.train runs it, on arrays normalised once for the whole run."""
    network = arithmetic.place(build(params.network, 3))
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    for start in range(0, len(x), BATCH):
        rows = np.arange(start, start + BATCH)
        seeds = sample_seeds(params.augmentation.seed, rows, 0, len(x))
        batch = augment(x.index_select(0, torch.from_numpy(rows)), params.augmentation, seeds, 0)
        step(network, optimiser, arithmetic.forward(network, batch), labels[rows])


def plain_scoring(stamps: torch.Tensor, labels: torch.Tensor, params: TrainParams, dtype: torch.dtype) -> None:
    """Scores of a plain loop."""
    network = build(params.network, 3).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        for x, _ in DataLoader(PlainStamps(stamps, labels, params, training=False), BATCH):
            network(x)


def our_scoring(stamps: torch.Tensor, params: TrainParams, arithmetic: Arithmetic) -> None:
    """Scores as a checkpoint's scorer gives them."""
    logits_of(arithmetic.place(build(params.network, 3)), arithmetic, normalise(stamps, params.preprocessing))


def rates(work: Callable[[], None]) -> tuple[float, float]:
    """Stamps per second of wall-clock and of CPU time, the best of two runs after a first."""
    work()
    best = [0.0, 0.0]
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        spent = time.perf_counter() - wall, time.process_time() - cpu
        best = [max(rate, STAMPS / seconds) for rate, seconds in zip(best, spent, strict=True)]
    return best[0], best[1]


def main() -> None:
    params = resolve_generation("demo1")
    stamps = torch.randn(STAMPS, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(STAMPS) % 6 == 0).float()
    x = normalise(stamps, params.preprocessing)
    print(f"{'':34s} {'stamps/s':>9s} {'per CPU s':>9s} {'plain':>9s} {'ratio':>6s}")
    for number in (1, 2):
        for dtype in (torch.float32, torch.bfloat16):
            arithmetic = Arithmetic(torch.device("cpu"), dtype, channels_last=True)
            pairs = {
                "training": (
                    lambda a=arithmetic: our_training(x, labels, params, a),
                    lambda d=dtype: plain_training(stamps, labels, params, d),
                ),
                "scoring": (
                    lambda a=arithmetic: our_scoring(stamps, params, a),
                    lambda d=dtype: plain_scoring(stamps, labels, params, d),
                ),
            }
            for name, (ours, plain) in pairs.items():
                with threads(number):
                    (wall, cpu), (plain_wall, plain_cpu) = rates(ours), rates(plain)
                label = f"{name}, {number} thread(s), {str(dtype).removeprefix('torch.')}"
                print(f"{label:34s} {wall:9.0f} {cpu:9.0f} {plain_wall:9.0f} {cpu / plain_cpu:6.2f}", flush=True)


if __name__ == "__main__":
    main()
