"""Sums over pixels of :mod:`injection.experiment.measure` on a GPU; only numbers per injection leave it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def _offsets(size: int, device: torch.device) -> Tensor:
    return torch.arange(size, dtype=torch.float64, device=device) - (size - 1) / 2


def sums(
    reference: int, arcs: Tensor, hosts: Tensor, usable: Tensor, sigma: Array, places: Array, sky_sigmas: float
) -> tuple[Array, Array]:
    """The sums of ``measure._sums``, (batch, sum) float64, and the share of usable pixels.

    ``places`` has theta_E, PSF width and lens centre in pixels.
    """
    device, axes = arcs.device, (1, 2)
    noise = torch.from_numpy(sigma).to(device)[:, None, None]
    theta_e, width, x, y = torch.from_numpy(places).to(device).T[:, :, None, None]
    offset = _offsets(arcs.shape[-1], device)
    radius2 = (offset - x) ** 2 + (offset[:, None] - y) ** 2
    ring = usable & (radius2 >= (theta_e - width).clamp(min=0.0) ** 2) & (radius2 <= (theta_e + width) ** 2)
    light = arcs[:, reference].to(torch.float64)
    seen = torch.where(usable, light, 0.0)
    ratio = torch.where(usable, light / torch.maximum(hosts[:, reference].to(torch.float64), noise), 0.0)
    brightest, where = seen.flatten(1).max(dim=1)
    at_brightest = torch.where(brightest > 0, ratio.flatten(1).gather(1, where[:, None]).squeeze(1), 0.0)
    bright = torch.where(seen > sky_sigmas * noise, ratio, 0.0).amax(dim=axes)
    columns = [
        (seen * seen).sum(dim=axes), torch.where(ring, light, 0.0).sum(dim=axes), ring.sum(dim=axes),
        torch.where(usable, 0.0, light).sum(dim=axes), brightest.clamp(min=0.0), at_brightest, bright.clamp(min=0.0),
        *arcs.sum(dim=(2, 3), dtype=torch.float64).T, *arcs.amax(dim=(2, 3)).clamp(min=0.0).T,
    ]  # fmt: skip
    table = torch.stack([column.to(torch.float64) for column in columns], dim=1)
    return table.cpu().numpy(), usable.to(torch.float64).mean(dim=axes).cpu().numpy()


def annulus_deviation(images: Tensor, usable: Tensor, inner_px: float, outer_px: float) -> tuple[Array, Array]:
    """Median absolute deviation (batch,) of the usable pixels in a ring, and their share of the ring's pixels."""
    offset = _offsets(images.shape[-1], images.device)
    radius = torch.hypot(offset, offset[:, None])
    ring = ((radius >= inner_px) & (radius < outer_px)).flatten().nonzero().squeeze(1)
    known = usable.flatten(1)[:, ring]
    values = torch.where(known, images.flatten(1)[:, ring].to(torch.float64), torch.nan)
    count = known.sum(dim=1, keepdim=True)
    deviation = _median((values - _median(values, count)).abs(), count)
    return deviation.squeeze(1).cpu().numpy(), (count.squeeze(1) / len(ring)).cpu().numpy()


def _median(values: Tensor, count: Tensor) -> Tensor:
    """Median over the last axis of the ``count`` values that are not NaN."""
    ordered = values.sort(dim=1).values
    low, high = ((count - 1) // 2).clamp(min=0), (count // 2).clamp(max=values.shape[1] - 1)
    return 0.5 * (ordered.gather(1, low) + ordered.gather(1, high))
