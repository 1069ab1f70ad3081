"""Random changes of training stamps, which depend only on data-set seed, sample index and epoch.

The change of a stamp in an epoch does not depend on the batch, the device or the number of workers.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modeling.networks.preprocess import radius_pixels
from modeling.networks.recorded import on
from modeling.sections import AugmentationParams
from modeling.seeds import mix

SEED_STRIDE = 1_000_003
"""From the reference system's seed formula ``(seed * 1000003 + i + epoch * N) & 0x7fffffff``."""
SYMMETRIES = 8
DROPPED, SHUFFLED = np.uint64(0xC04E), np.uint64(0xA217)
"""Streams of the random numbers of core dropout and azimuthal shuffle."""


def sample_seeds(seed: int, index: NDArray[np.int64], epoch: int, samples: int) -> NDArray[np.uint64]:
    """Seed of every sample, from its index ``i`` in a data set of ``samples`` rows and the epoch (from 0).

    An index of ``samples`` or more is a repetition of row ``i mod samples`` within the epoch; it has its own random
    stream.
    """
    row, repetition = index % samples, index // samples
    base = (seed * SEED_STRIDE + row + epoch * samples) & 0x7FFFFFFF
    return base.astype(np.uint64) | (repetition.astype(np.uint64) << np.uint64(32))


def symmetry_codes(params: AugmentationParams, seeds: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Element of the square's symmetry group per sample: quarter turns k + 4 x (mirrored left-right).

    An up-down mirror is a left-right mirror plus half a turn, so flips and turns together give one of eight elements.
    """
    bits = mix(seeds)
    hflip = (bits & np.uint64(1)).astype(np.int64) * params.hflip
    vflip = (bits >> np.uint64(1) & np.uint64(1)).astype(np.int64) * params.vflip
    turns = (bits >> np.uint64(2) & np.uint64(3)).astype(np.int64) * params.rot90
    return (turns + 2 * vflip) % 4 + 4 * (hflip ^ vflip)


def augment(x: Tensor, params: AugmentationParams, seeds: NDArray[np.uint64], epoch: int) -> Tensor:
    """Change normalised stamps (batch, band, y, x), one seed per stamp, as in epoch ``epoch`` (from 0)."""
    x = apply_symmetries(x, symmetry_codes(params, seeds))
    if params.azimuthal_shuffle > 0:
        x = _shuffle_cores(x, params, seeds)
    if params.core_dropout > 0:
        x = _drop_cores(x, params, seeds, epoch)
    return x


def apply_symmetries(x: Tensor, codes: NDArray[np.int64]) -> Tensor:
    """Mirror each stamp left-right if its code is 4-7, then turn it by ``code % 4`` quarter turns."""
    if x.device.type != "cpu":
        return gathered(x, on(codes, x.device))
    out = torch.empty_like(x)
    for code in range(SYMMETRIES):
        chosen = torch.from_numpy(np.flatnonzero(codes == code))
        if len(chosen):
            out.index_copy_(0, chosen, _symmetric(x.index_select(0, chosen), code))
    return out


def gathered(x: Tensor, codes: Tensor) -> Tensor:
    """The same in one kernel for all codes, on any device: on a GPU it is faster, on a CPU slower."""
    places = _places(x.shape[-1], x.device).index_select(0, codes)
    return x.flatten(2).gather(2, places[:, None, :].expand(-1, x.shape[1], -1)).view_as(x)


@lru_cache(maxsize=8)
def _places(side: int, device: torch.device) -> Tensor:
    """Where each pixel (code, pixel) of a changed stamp comes from."""
    pixels = torch.arange(side * side).view(1, 1, side, side)
    return torch.cat([_symmetric(pixels, code).reshape(1, -1) for code in range(SYMMETRIES)]).to(device)


def _symmetric(x: Tensor, code: int) -> Tensor:
    return torch.rot90(x.flip(-1) if code >= 4 else x, code % 4, (-2, -1))


def _drop_cores(x: Tensor, params: AugmentationParams, seeds: NDArray[np.uint64], epoch: int) -> Tensor:
    ramp = params.core_dropout_ramp_epochs
    share = params.core_dropout * (min(epoch / ramp, 1.0) if ramp else 1.0)
    dropped = on(_uniform(seeds ^ DROPPED) < share, x.device)
    core = on((radius_pixels(*x.shape[-2:]) < params.core_radius_pixels).numpy(), x.device)
    return x.masked_fill(dropped[:, None, None, None] & core, 0.0)


def _shuffle_cores(x: Tensor, params: AugmentationParams, seeds: NDArray[np.uint64]) -> Tensor:
    """Permute the core's pixels within their rings in some of the stamps."""
    chosen = np.flatnonzero(_uniform(seeds ^ SHUFFLED) < params.azimuthal_shuffle)
    radius = radius_pixels(*x.shape[-2:]).flatten()
    core = np.flatnonzero(radius.numpy() < params.core_radius_pixels)
    rings = radius.numpy()[core].round()
    keys = rings + _uniform(mix(seeds[chosen] ^ SHUFFLED)[:, None] ^ core.astype(np.uint64))
    places = core[np.argsort(rings, kind="stable")]
    taken = on(core[np.argsort(keys, axis=1)], x.device)
    out, bands = x.flatten(2).clone(), on(np.arange(x.shape[1]), x.device)
    rows = on(chosen, x.device)
    moved = out[rows].gather(2, taken[:, None, :].expand(-1, x.shape[1], -1))
    out[rows[:, None, None], bands[:, None], on(places, x.device)] = moved
    return out.view_as(x)


def _uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) from seeds."""
    return np.asarray((mix(bits) >> np.uint64(11)) * 2.0**-53, dtype=np.float64)
