"""Convolution on a GPU, with the same response as :mod:`injection.optics.filtering`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from injection.optics.filtering import centred, inverse_pixels, padded_sizes, responses
from injection.optics.psf import Psf

Array = NDArray[np.float64]

TRANSFORMED = {"cpu": 4, "cuda": 256}
"""Stamps transformed together: always this number, since a library may treat other numbers differently."""


def summed(flat: Tensor) -> tuple[Array, Array]:
    """Sums of pixel integrals (batch, y * x + 1): of all, and without the last, which is off the stamp."""
    sums = flat.sum(dim=1, dtype=torch.float64)
    return sums.cpu().numpy(), (sums - flat[:, -1]).cpu().numpy()


def convolve(images: Tensor, psf: Psf, fluxes: Array) -> Tensor:
    """The same as ``render.convolve``, for at most :data:`TRANSFORMED` images (batch, y, x)."""
    pixels, count = images.shape[-1], len(images)
    size = int(padded_sizes(psf, pixels).max())
    filled = np.minimum(np.arange(TRANSFORMED[images.device.type]), count - 1)
    some = images.new_zeros(len(filled), pixels, pixels)
    some[:count] = images
    flux = torch.from_numpy(fluxes[filled].astype(np.float32)).to(images.device)
    response = transfer(psf.take(filled), size, pixels, images.device)
    spectrum = torch.fft.rfft2(some, s=(size, size))[:, None] * (response * flux[..., None, None])
    lines = torch.fft.ifft(spectrum, dim=-2)[..., :pixels, :]
    return torch.fft.irfft(lines, n=size, dim=-1)[:count, ..., :pixels]


def transfer(psf: Psf, size: int, stamp_pixels: int, device: torch.device) -> Tensor:
    """Response by which real transforms are multiplied, (batch, band, size, size // 2 + 1)."""
    named = len(psf.named) == len(psf.bands)
    response = _analytic(psf, size, device) if named else _with_images(psf, size, stamp_pixels, device)
    if not any(band.includes_pixel for band in psf.bands):
        return response
    inverse_pixel = torch.from_numpy(inverse_pixels(psf, size)).to(device)
    return response * inverse_pixel[:, :, None] * inverse_pixel[:, None, : size // 2 + 1]


def _with_images(psf: Psf, size: int, stamp_pixels: int, device: torch.device) -> Tensor:
    """Transforms of the PSFs of the bands, if some or all are images."""
    out = torch.empty((len(psf), len(psf.bands), size, size // 2 + 1), dtype=torch.complex64, device=device)
    for index, band in enumerate(psf.bands):
        if band.image is not None:
            out[:, index] = torch.fft.rfft2(torch.from_numpy(centred(band.image, size, stamp_pixels)).to(device))
    if len(psf.named):
        out[:, torch.from_numpy(psf.named).to(device)] = _analytic(psf, size, device).to(torch.complex64)
    return out


def _analytic(psf: Psf, size: int, device: torch.device) -> Tensor:
    """Modulation at every frequency in the bands with a profile, interpolated in its table."""
    values, rates = responses(psf, size)
    table = torch.from_numpy(values).to(device)
    frequency = np.minimum(np.arange(size), size - np.arange(size)).astype(np.float32)
    modulus = np.sqrt(frequency[:, None] ** 2 + frequency[: size // 2 + 1] ** 2)
    place = torch.from_numpy(rates).to(device)[..., None, None] * torch.from_numpy(modulus).to(device)
    low = place.to(torch.int32).clamp(max=values.shape[1] - 2)
    part = (place - low).clamp(max=1.0)
    band = torch.arange(len(values), device=device)[:, None, None]
    below = table[band, low]
    return below + part * (table[band, low + 1] - below)
