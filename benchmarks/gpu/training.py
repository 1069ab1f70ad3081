"""Optimiser steps per second of the training loop by micro-batch, against a plain loop of the same network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.made_up import DEVICE, GPU, about, arrays, params, peak_gib, seconds
from modeling.config import TrainParams
from modeling.networks.factory import build
from modeling.networks.inference import DTYPES, choose_dtype
from modeling.training.data import TrainingArrays
from modeling.training.run import open_run
from modeling.training.train import train_epoch

ROWS, BATCH, MICRO_BATCHES = (4096, 512, (64, 512)) if GPU else (16, 8, (4, 8))


def plain_epoch(settings: TrainParams, held: TrainingArrays, dtype: torch.dtype) -> Callable[[], None]:
    """An epoch of a plain loop: rows held on the device, each micro-batch turned as a whole."""
    network = build(settings.network, 3).to(DEVICE).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    loss = torch.nn.BCEWithLogitsLoss(reduction="sum")

    def epoch() -> None:
        for rows in torch.randperm(len(held), device=DEVICE).split(settings.loop.batch):
            optimiser.zero_grad(set_to_none=True)
            for part in rows.split(settings.loop.micro_batch):
                x = torch.rot90(held.x[part].float(), int(torch.randint(4, ())), (-2, -1))
                x = x.contiguous(memory_format=torch.channels_last)
                with torch.autocast(DEVICE.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                    logits = network(x)
                (loss(logits.float(), held.labels[part]) / len(rows)).backward()
            optimiser.step()

    return epoch


def records() -> Iterator[dict[str, Any]]:
    """Steps per second of an epoch by micro-batch."""
    yield about()
    base = params(epochs=10**6, batch=BATCH, micro_batch=BATCH)
    held = arrays(ROWS, base).to(DEVICE)
    for micro_batch in MICRO_BATCHES:
        settings = params(epochs=10**6, batch=BATCH, micro_batch=micro_batch)
        with tempfile.TemporaryDirectory() as folder:
            run = open_run(settings, held, Path(folder), None)
            steps = run.steps_per_epoch
            peak_gib()
            ours = steps / seconds(lambda run=run: train_epoch(run, held))
            memory = peak_gib()
        dtype = choose_dtype(settings.execution, build(settings.network, 3), tuple(held.x.shape[1:]), 0)
        plain = steps / seconds(plain_epoch(settings, held, DTYPES[dtype]))
        what = (
            f"micro-batch {micro_batch:3d}: {ours:.2f} steps/s of {BATCH} ({ours * BATCH:.0f} stamps/s), "
            f"a plain loop {plain:.2f}; ratio {ours / plain:.2f}; {dtype}, {memory:.1f} GiB"
        )
        yield {
            "what": what, "micro_batch": micro_batch, "batch": BATCH, "steps": steps, "steps_per_s": ours,
            "plain_steps_per_s": plain, "ratio": ours / plain, "dtype": dtype, "gib": memory,
        }  # fmt: skip
