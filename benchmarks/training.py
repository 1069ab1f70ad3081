"""Training and scoring of demo1's network against a plain Dataset and DataLoader: `python -m benchmarks.training`.

Stamps per second of wall-clock time and, where the machine is shared, of CPU time per thread; the ratio is that to the
plain loop in the same arithmetic and thread count, timed in the same run.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import torch
from torch.utils.data import DataLoader, Dataset

from lake.sky.survey import SURVEY
from modeling.config import TrainParams, resolve_generation
from modeling.networks.factory import LensFinder, build
from modeling.networks.inference import DTYPES, Arithmetic, BatchedNetwork, threads
from modeling.networks.preprocess import normalise
from modeling.training.data import TrainingArrays
from modeling.training.run import open_run
from modeling.training.steps import Steps
from modeling.training.train import train_epoch

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


def our_training(held: TrainingArrays, params: TrainParams, loading: list[float]) -> None:
    """An epoch as the project runs it, on arrays normalised once for the whole run; ``loading`` gets the CPU seconds in
    which batches are assembled."""
    real = Steps.fill

    def timed(*given: object) -> None:
        start = time.process_time()
        real(*given)  # type: ignore[arg-type]
        loading[0] += time.process_time() - start

    with tempfile.TemporaryDirectory() as folder, patch.object(Steps, "fill", timed):
        train_epoch(open_run(params, held, Path(folder), None), held)


def plain_scoring(stamps: torch.Tensor, labels: torch.Tensor, params: TrainParams, dtype: torch.dtype) -> None:
    """Scores of a plain loop."""
    network = build(params.network, 3).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        for x, _ in DataLoader(PlainStamps(stamps, labels, params, training=False), BATCH):
            network(x)


def our_scoring(stamps: torch.Tensor, params: TrainParams, arithmetic: Arithmetic) -> None:
    """Scores as a checkpoint's scorer gives them."""
    network = arithmetic.place(build(params.network, 3))
    BatchedNetwork(network, arithmetic).logits(normalise(stamps, params.preprocessing))


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


def held_of(stamps: torch.Tensor, labels: torch.Tensor, params: TrainParams) -> TrainingArrays:
    """Training arrays of the stamps."""
    ids, weights = pa.array([str(row) for row in range(len(labels))]), torch.ones(len(labels))
    return TrainingArrays(ids, normalise(stamps, params.preprocessing), labels, weights, None, PIXELS, SURVEY.bands)


def main() -> None:
    stamps = torch.randn(STAMPS, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(STAMPS) % 6 == 0).float()
    print(f"{'':34s} {'stamps/s':>9s} {'per CPU s':>9s} {'plain':>9s} {'ratio':>6s} {'loading':>8s}")
    for number in (1, 2):
        for name, dtype in DTYPES.items():
            params = resolve_generation("demo1", {"execution": {"threads": number, "device": "cpu", "dtype": name}})
            held, arithmetic = held_of(stamps, labels, params), Arithmetic(torch.device("cpu"), dtype, True)
            spent = [0.0]
            with threads(number):
                start = time.process_time()
                ours = rates(lambda h=held, p=params, s=spent: our_training(h, p, s))
                share = spent[0] / (time.process_time() - start)
                plain = rates(lambda p=params, d=dtype: plain_training(stamps, labels, p, d))
                _row(f"training, {number} thread(s), {name}", ours, plain, f"{share:8.1%}")
                ours = rates(lambda p=params, a=arithmetic: our_scoring(stamps, p, a))
                plain = rates(lambda p=params, d=dtype: plain_scoring(stamps, labels, p, d))
                _row(f"scoring, {number} thread(s), {name}", ours, plain)


def _row(label: str, ours: tuple[float, float], plain: tuple[float, float], share: str = "") -> None:
    print(f"{label:34s} {ours[0]:9.0f} {ours[1]:9.0f} {plain[0]:9.0f} {ours[1] / plain[1]:6.2f} {share}", flush=True)


if __name__ == "__main__":
    main()
