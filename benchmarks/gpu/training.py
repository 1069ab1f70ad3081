"""The training loop by micro-batch, against a plain loop of the same network; loading; whether graphs agree."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.made_up import (
    DEVICE,
    GPU,
    about,
    arrays,
    checked,
    manifest_in,
    params,
    peak_gib,
    seconds,
    settle,
    without_graphs,
)
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore
from modeling.config import TrainParams
from modeling.networks.factory import build
from modeling.networks.inference import DTYPES, choose_dtype
from modeling.training.data import Reused, TrainingArrays, load_arrays
from modeling.training.run import open_run
from modeling.training.train import optimise, train_epoch

ROWS, BATCH, MICRO_BATCHES = (4096, 512, (64, 512)) if GPU else (16, 8, (4, 8))
LOADED = 8192 if GPU else 16
TRAINED_ON, SELECTED_ON = 316_100, 135_581
"""Rows of the DR10 manifest parity_70_30 that an epoch trains on, and is evaluated on."""
STEPS = 8
"""Steps taken with and without a graph, to compare the losses."""
LARGEST_DIFFERENCE = 0.05
"""Relative difference of the two losses after these steps above which they do not agree."""


def epoch_of(rate: float) -> str:
    """What a rate of training means for an epoch of DR10."""
    return f"{TRAINED_ON / rate:.0f} s for the {TRAINED_ON:,} stamps of an epoch"


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
    """Loading; an epoch by micro-batch, from the device's memory and from the processor's; validation; agreement."""
    yield about()
    base = params(epochs=10**6, batch=BATCH, micro_batch=BATCH)
    yield _loading(base)
    held = arrays(ROWS, base).to(DEVICE)
    for micro_batch in reversed(MICRO_BATCHES):
        yield _epoch(params(epochs=10**6, batch=BATCH, micro_batch=micro_batch), held)
    yield _agreement(base, held)
    if not GPU:
        yield {"what": "recorded graphs, and stamps that are brought to a device, were not run: no GPU"}


def _loading(settings: TrainParams) -> dict[str, Any]:
    """Stamps read from shards, checked, normalised and put where training reads them."""
    with tempfile.TemporaryDirectory() as folder:
        rows = manifest_in(Path(folder), LOADED)
        start = time.perf_counter()
        held = load_arrays(rows, StampStore(Path(folder)), settings, SURVEY)
        settle()
        rate = LOADED / (time.perf_counter() - start)
    whole = (TRAINED_ON + SELECTED_ON) / rate
    what = f"loading: {rate:.0f} stamps/s into the memory of the {held.x.device.type}; {whole:.0f} s for an epoch's"
    return {"what": what, "stamps_per_s": rate, "whole_s": whole, "device": held.x.device.type}


def _epoch(settings: TrainParams, held: TrainingArrays) -> dict[str, Any]:
    micro_batch = settings.loop.micro_batch
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = open_run(settings, held, Path(folder), None)
        optimise(run, held, np.arange(BATCH), 0)
        settle()
        first, steps = time.perf_counter() - start, run.steps_per_epoch
        run.state.step = 0
        peak_gib()
        rates = {"ours": ROWS / seconds(lambda: train_epoch(run, held))}
        memory = peak_gib()
        rates["putting together"] = BATCH / seconds(lambda: run.steps.fill(held, np.arange(BATCH), 0))
        if GPU:
            away = replace(held, x=held.x.cpu(), batches=Reused())
            rates["from main memory"] = ROWS / seconds(lambda: train_epoch(run, away))
        rates["validation"] = ROWS / seconds(lambda: run.evaluated.logits(held.x, held.metadata).cpu())
        mode, validated = run.steps.mode, run.evaluated.mode
    dtype = choose_dtype(settings.execution, build(settings.network, 3), tuple(held.x.shape[1:]), 0)
    rates["plain"] = ROWS / seconds(plain_epoch(settings, held, DTYPES[dtype]), repeats=1)
    share, ratio = rates["ours"] / rates["putting together"], rates["ours"] / rates["plain"]
    spent = {"train_s": TRAINED_ON / rates["ours"], "validation_s": SELECTED_ON / rates["validation"]}
    whole = sum(spent.values())
    brought = f", {rates['from main memory']:.0f} from main memory" if GPU else ""
    what = (
        f"micro-batch {micro_batch:3d} of {BATCH}: {rates['ours']:.0f} stamps/s ({mode}){brought}, validation "
        f"{rates['validation']:.0f} ({validated}): {whole:.0f} s an epoch; putting batches together takes {share:.1%}; "
        f"first step after {first:.1f} s; a plain loop {rates['plain']:.0f}, ratio {ratio:.2f}; {dtype}, "
        f"{memory:.1f} GiB"
    )
    return {
        "what": what, "micro_batch": micro_batch, "batch": BATCH, "steps": steps, "stamps_per_s": rates, "mode": mode,
        "ratio": ratio, "loader_share": share, "first_step_s": first, "epoch_s": whole, **spent,
        "dtype": dtype, "gib": memory,
    }  # fmt: skip


def _agreement(settings: TrainParams, held: TrainingArrays) -> dict[str, Any]:
    """Losses after the same steps from the same weights, with and without a graph."""
    losses = [_loss(settings, held)]
    with without_graphs():
        losses.append(_loss(settings, held))
    difference = abs(losses[0] - losses[1]) / losses[1]
    what = f"losses after {STEPS} steps with and without a graph differ by {difference:.1e}, limit {LARGEST_DIFFERENCE}"
    return checked(what, difference <= LARGEST_DIFFERENCE, losses=losses, loss_difference=difference)


def _loss(settings: TrainParams, held: TrainingArrays) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(settings, held, Path(folder), None)
        for step in range(STEPS):
            optimise(run, held, (np.arange(BATCH) + step * BATCH) % len(held), 0)
        return float(run.state.loss_sum)
