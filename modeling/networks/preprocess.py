"""Pixels to network input: robust normalisation over an annulus, then a centre crop.

The radii are measured on the whole stamp, before the crop, so the sky annulus does not shrink with the input of
the network. Preprocessing belongs to the model: it is stored in the checkpoint with its radii resolved.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lake.errors import invalid
from modeling.sections import PreprocessingParams

AUTO_ANNULUS = (0.65, 0.90)
"""Radii of ``auto``, as fractions of the half-width ``min(H, W) // 2``."""
MAD_FLOOR = 1e-8
CPU_CHUNK = 64
"""Stamps normalised at once on a CPU: as many as its cache holds."""


def resolved(params: PreprocessingParams, stamp_pixels: int) -> PreprocessingParams:
    """The same preprocessing with ``auto`` replaced by radii in pixels; refused if it does not fit the stamps."""
    radii = annulus_radii(params, stamp_pixels, stamp_pixels)
    if params.kind != "full":
        _inside(stamp_pixels, stamp_pixels, params, torch.device("cpu"))
    if params.crop_pixels > stamp_pixels:
        raise invalid("preprocessing.crop_pixels", f"at most the stamp's {stamp_pixels} pixels", params.crop_pixels)
    return params.model_copy(update={"annulus": radii})


def annulus_radii(params: PreprocessingParams, height: int, width: int) -> tuple[float, float]:
    """Radii [r_in, r_out) in pixels for stamps of this size."""
    if params.annulus != "auto":
        return params.annulus
    half = min(height, width) // 2
    return (AUTO_ANNULUS[0] * half, AUTO_ANNULUS[1] * half)


def normalise(stamps: Tensor, params: PreprocessingParams) -> Tensor:
    """Normalise stamps (batch, band, y, x) in nMgy; returns float32 (batch, band, crop, crop), clipped.

    ``x = (x - median) / (MAD + 1e-8)`` per stamp and band, without the Gaussian factor 1.4826. Missing pixels (not
    finite) are left out of median and MAD, and then set to 0 nMgy.
    """
    if stamps.device.type != "cpu" or len(stamps) <= CPU_CHUNK:
        return _normalise(stamps, params)
    return torch.cat([_normalise(chunk, params) for chunk in stamps.split(CPU_CHUNK)])


def _normalise(stamps: Tensor, params: PreprocessingParams) -> Tensor:
    x = stamps.to(torch.float32)
    if params.kind == "residual":
        x = x - azimuthal_median(x)
    pixels = _reference_pixels(x, params)
    centre = median(pixels)
    spread = median((pixels - centre).abs_())
    x = _finite(centre_crop(x, params.crop_pixels))
    x = _finite((x - centre[..., None]) / (spread[..., None] + MAD_FLOOR)).clamp_(-params.clip_range, params.clip_range)
    return torch.asinh(x) if params.stretch == "asinh" else x


def _finite(x: Tensor) -> Tensor:
    return torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)


def _reference_pixels(x: Tensor, params: PreprocessingParams) -> Tensor:
    """Pixels (batch, band, n) over which location and scale are measured."""
    if params.kind == "full":
        return x.flatten(2)
    height, width = x.shape[-2:]
    return x.flatten(2).index_select(2, _inside(height, width, params, x.device))


def _inside(height: int, width: int, params: PreprocessingParams, device: torch.device) -> Tensor:
    """Places of the annulus's pixels in a flattened stamp; refused if there are none."""
    inside = _annulus_index(height, width, *annulus_radii(params, height, width), device)
    if not len(inside):
        raise invalid("preprocessing.annulus", f"inside a {height} x {width} stamp", params.annulus)
    return inside


def median(values: Tensor) -> Tensor:
    """Median of the finite values over the last axis, which keeps length one; 0 if there are none.

    For an even count, the mean of the middle two. On a CPU numpy selects if all values are finite (ten times
    faster than torch here); both give the exact order statistics. A GPU sorts whatever the values are: to look at them
    the processor would have to wait for it.
    """
    finite = values.isfinite()
    if values.device.type != "cpu":
        return _median_of_lowest(values.masked_fill(~finite, torch.inf), finite.sum(dim=-1, keepdim=True))
    whole = finite.all(dim=-1)
    if whole.all():
        return _median_of_all(values)
    found = _median_of_all(values.masked_fill(~finite, 0.0))
    part, holed = finite[~whole], values[~whole]
    found[~whole] = _median_of_lowest(holed.masked_fill(~part, torch.inf), part.sum(dim=-1, keepdim=True))
    return found


def _median_of_all(values: Tensor) -> Tensor:
    half, odd = divmod(values.shape[-1], 2)
    ordered = torch.from_numpy(np.partition(values.numpy(), half, axis=-1))
    upper = ordered[..., half, None]
    return upper if odd else (ordered[..., :half].amax(dim=-1, keepdim=True) + upper) / 2


def _median_of_lowest(values: Tensor, count: Tensor) -> Tensor:
    """Median of the ``count`` lowest values of each row."""
    ordered = values.sort(dim=-1).values
    lower, upper = (
        ordered.gather(-1, place.clamp(0, values.shape[-1] - 1)) for place in ((count - 1) // 2, count // 2)
    )
    return torch.where(count > 0, (lower + upper) / 2, 0.0)


def centre_crop(stamps: Tensor, pixels: int) -> Tensor:
    """Central square of the last two axes, with the centre pixel ``N // 2`` at ``pixels // 2``; 0 keeps everything."""
    if pixels == 0:
        return stamps
    top, left = (size // 2 - pixels // 2 for size in stamps.shape[-2:])
    return stamps[..., top : top + pixels, left : left + pixels]


def azimuthal_median(stamps: Tensor) -> Tensor:
    """Per stamp and band, each pixel's ring median: rings are one pixel wide, about the centre."""
    height, width = stamps.shape[-2:]
    ring = radius_pixels(height, width).round().long().flatten()
    flat, profile = stamps.flatten(2), torch.empty_like(stamps.flatten(2))
    for index in range(int(ring.max()) + 1):
        inside = (ring == index).nonzero().squeeze(1).to(stamps.device)
        profile[..., inside] = median(flat[..., inside])
    return profile.view_as(stamps)


@lru_cache(maxsize=8)
def radius_pixels(height: int, width: int) -> Tensor:
    """Distance (y, x) of every pixel from the centre pixel ``(height // 2, width // 2)``."""
    y = torch.arange(height, dtype=torch.float64) - height // 2
    x = torch.arange(width, dtype=torch.float64) - width // 2
    return torch.hypot(y[:, None], x[None, :])


@lru_cache(maxsize=8)
def _annulus_index(height: int, width: int, r_in: float, r_out: float, device: torch.device) -> Tensor:
    radius = radius_pixels(height, width).flatten()
    return ((radius >= r_in) & (radius < r_out)).nonzero().squeeze(1).to(device)
