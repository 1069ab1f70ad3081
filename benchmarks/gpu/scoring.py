"""Stamps per second of a checkpoint's scorer by batch size, against a plain loop of the same network."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.gpu.made_up import (
    DEVICE,
    GPU,
    about,
    checked,
    finder,
    peak_gib,
    seconds,
    shuffled,
    stamps,
    without_graphs,
)
from lake.scorer import Scorer
from modeling.networks import inference
from modeling.networks.factory import LensFinder, restored
from modeling.networks.inference import DTYPES, BatchedNetwork
from modeling.networks.preprocess import normalise
from modeling.scoring.checkpoint import Checkpoint
from modeling.scoring.scorer import CheckpointScorer, score_together

BATCHES = (64, 256, 1024, 2048) if GPU else (32, inference.BATCH["cpu"])
MOST = 8192 if GPU else 64


def plain(network: LensFinder, x: torch.Tensor, batch: int, dtype: torch.dtype) -> torch.Tensor:
    """Logits of normalised stamps on the device, as a few lines of torch give them."""
    with torch.inference_mode(), torch.autocast(DEVICE.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        return torch.cat([network(part).float() for part in x.split(batch)]).cpu()


def network_of(checkpoint: Checkpoint) -> LensFinder:
    """The checkpoint's network on the device, in eval mode."""
    network = restored(checkpoint.card.config.network, 3, checkpoint.weights()).to(DEVICE)
    return network.to(memory_format=torch.channels_last).eval()


def decided(network: LensFinder) -> None:
    """Large random weights in the head: a network of a few steps gives all stamps one logit, which compares nothing."""
    weight = network.head[1].weight
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(4)))


def records() -> Iterator[dict[str, Any]]:
    """Rates by batch size, and whether a stamp's logit depends on the rest of its batch."""
    yield about()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = finder(Path(folder))
        scorer, network = CheckpointScorer(checkpoint), network_of(checkpoint)
        for each in (scorer._network, network):
            decided(each)
        dtype = DTYPES["bf16" if checkpoint.card.dtype == "bfloat16" else "fp32"]
        everything, logits = stamps(MOST), {}
        peak_gib()
        for batch in BATCHES:
            with patch.dict(inference.BATCH, {DEVICE.type: batch}):
                count = min(MOST, 32 * batch)
                host = everything[:count].numpy()
                logits[batch] = scorer.score(host)
                yield independent(scorer, host, batch, logits[batch])
                yield as_it_stands(scorer, host[: 2 * batch], batch, logits[batch][: 2 * batch])
                yield _rates(scorer, network, host, batch, dtype)
        few = min(len(found) for found in logits.values())
        base = logits[BATCHES[-1]][:few]
        differ = max(float(abs(found[:few] - base).max()) for found in logits.values())
        spread = float(base.std())
        yield checked("logits differ between stamps", spread > 0.0, logit_std=spread)
        what = f"logits between batch sizes differ by {differ:.2e} at most, their standard deviation is {spread:.2e}"
        yield {"what": what, "largest_difference": differ, "logit_std": spread}


def independent(scorer: Scorer, host: np.ndarray, batch: int, logits: np.ndarray) -> dict[str, Any]:
    """Whether each stamp keeps its logit in another order, and among the first half batch of it."""
    order = shuffled(len(host))
    some = order[: batch // 2 + 1]
    same = bool((scorer.score(host[order]) == logits[order]).all() and (scorer.score(host[some]) == logits[some]).all())
    return checked(f"batch {batch:4d}: logits bitwise the same in another order and a shorter batch", same, batch=batch)


def as_it_stands(scorer: CheckpointScorer, host: np.ndarray, batch: int, logits: np.ndarray) -> dict[str, Any]:
    """Whether passes with CUDA graphs give the same logits as passes without."""
    with without_graphs():
        plainly = BatchedNetwork(scorer._network, scorer._arithmetic).logits(scorer.normalised(torch.from_numpy(host)))
    same = bool((plainly.cpu().numpy() == logits).all())
    return checked(f"batch {batch:4d}: logits of a {scorer.mode} bitwise those of plain passes", same, mode=scorer.mode)


def _rates(
    scorer: CheckpointScorer, network: LensFinder, host: np.ndarray, batch: int, dtype: torch.dtype
) -> dict[str, Any]:
    on_device = torch.from_numpy(host).to(DEVICE)
    x = torch.cat([normalise(part, scorer.preprocessing) for part in on_device.split(max(batch, 512))])
    x = x.contiguous(memory_format=torch.channels_last)
    work = {
        "host": lambda: scorer.score(host),
        "device": lambda: score_together([scorer], on_device, [None]),
        "normalising": lambda: [normalise(part, scorer.preprocessing) for part in on_device.split(max(batch, 512))],
        "plain": lambda: plain(network, x, batch, dtype),
    }
    rates = {name: len(host) / seconds(call) for name, call in work.items()}
    memory = peak_gib()
    what = (
        f"batch {batch:4d}: {rates['host']:7.0f} stamps/s from the host, {rates['device']:7.0f} from the device; "
        f"normalising alone {rates['normalising']:8.0f}, a plain loop of normalised stamps {rates['plain']:7.0f}; "
        f"ratio {rates['host'] / rates['plain']:.2f} and {rates['device'] / rates['plain']:.2f}; "
        f"{str(dtype).removeprefix('torch.')}, {scorer.mode}, {memory:.1f} GiB"
    )
    return {
        "what": what,
        "batch": batch,
        "stamps": len(host),
        "stamps_per_s": rates,
        "dtype": str(dtype),
        "mode": scorer.mode,
        "gib": memory,
    }
