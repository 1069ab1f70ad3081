"""Noise on a GPU: the same random integers as on the processor, and the same counts and deviates."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from injection.device import CELLS, fused

Words = NDArray[np.uint64]

_STEPS = 8
"""Counts tried before the pixels that have found theirs are taken off the list."""
_MOST_COUNTS = 1000


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


_GAMMA, _FIRST, _SECOND = (_signed(w) for w in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Logical shift to the right of words held in int64."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def uniform(key: Tensor, counter: Tensor) -> Tensor:
    """A number in (0, 1) from a key and a counter (the finaliser of SplitMix64), float64."""
    z = key + _GAMMA * (counter + 1)
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return (_shifted(z ^ _shifted(z, 31), 11).to(torch.float64) + 0.5) / 9007199254740992.0


def normal(key: Tensor, counter: Tensor) -> Tensor:
    """A standard normal number (Box & Muller), float64."""
    radius = torch.sqrt(-2.0 * torch.log(uniform(key, 2 * counter)))
    return radius * torch.cos(2.0 * math.pi * uniform(key, 2 * counter + 1))


def _many(expected: Tensor, key: Tensor, counter: Tensor) -> Tensor:
    """Counts if many are expected: the Cornish-Fisher expansion of the quantile."""
    z, root = normal(key, counter), torch.sqrt(expected)
    counts = expected + root * z + (z * z - 1.0) / 6.0 - (z * z * z - z) / (72.0 * root) + 0.5
    return torch.floor(counts).clamp(min=0.0)


def _first(expected: Tensor, key: Tensor, counter: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of no count, and the quantile to find."""
    return torch.exp(-expected), uniform(key, 2 * counter)


def _advanced(
    tried: Tensor, count: Tensor, term: Tensor, total: Tensor, u: Tensor, expected: Tensor
) -> tuple[Tensor, ...]:
    """Counts, terms and sums after trying the next few counts: a count grows while the sum is below the quantile."""
    for step in range(1, _STEPS + 1):
        count = count + (u > total)
        term = term * (expected / (tried + step))
        total = total + term
    return count, term, total


def _few(expected: Tensor, key: Tensor, counter: Tensor) -> Tensor:
    """Counts by summing probabilities, if few are expected."""
    device = expected.device
    counts, index = torch.zeros_like(expected), torch.arange(len(expected), device=device)
    term, u = fused(_first, device)(expected, key, counter)
    count, total = torch.zeros_like(term), term.clone()
    for tried in range(0, _MOST_COUNTS, _STEPS):
        base = torch.tensor(float(tried), dtype=torch.float64, device=device)
        count, term, total = fused(_advanced, device)(base, count, term, total, u, expected)
        counts[index] = count
        left = (u > total).nonzero().squeeze(1)
        index, count, term, total, u, expected = (x[left] for x in (index, count, term, total, u, expected))
        if not len(left):
            break
    return counts


def add_poisson(arcs: Tensor, gain: float, words: Words, exact_below: float) -> Tensor:
    """The same as ``noise.add_poisson``, on a GPU; ``words`` are the keys of the rows."""
    out = arcs.clone()
    for flat, keys in _chunks(out, words):
        pixels = flat.shape[1]
        place = (flat > 0.0).flatten().nonzero().squeeze(1)
        expected = flat.flatten()[place].to(torch.float64) * gain
        key, counter = keys[place // pixels], place % pixels
        for some, draw in ((expected < exact_below, _few), (expected >= exact_below, fused(_many, arcs.device))):
            index = some.nonzero().squeeze(1)
            if len(index):
                counts = draw(expected[index], key[index], counter[index])
                flat.view(-1)[place[index]] = (counts / gain).to(torch.float32)
    return out


def add_sky(images: Tensor, sigma: NDArray[np.float64], words: Words) -> Tensor:
    """The same as ``noise.add_sky``, on a GPU."""
    out = images.clone()
    deviation = torch.from_numpy(sigma).to(images.device)
    start = 0
    for flat, keys in _chunks(out, words):
        pixels = torch.arange(flat.shape[1], device=flat.device)
        drawn = fused(normal, flat.device)(keys[:, None], pixels[None, :])
        spread = deviation[start : start + len(flat)].repeat_interleave(images.shape[2] * images.shape[3], dim=1)
        flat.copy_(flat + spread * drawn)
        start += len(flat)
    return out


def _chunks(images: Tensor, words: Words) -> Iterator[tuple[Tensor, Tensor]]:
    """Views (batch, pixels) of as many rows as fit into the device's lists, and their keys."""
    flat = images.view(len(images), -1)
    keys = torch.from_numpy(words.view(np.int64)).to(images.device)
    size = max(1, CELLS[images.device.type] // flat.shape[1])
    return zip(flat.split(size), keys.split(size), strict=True)
