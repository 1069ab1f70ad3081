"""PSFs of :mod:`injection.optics.psf` acting on stamps of a device, by the same response."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from injection.optics import psf as psfs
from injection.optics.psf import Psf

Array = NDArray[np.float64]

TRANSFORMED = {"cpu": 4, "cuda": 256}
"""Stamps transformed together; always so many, since a library may transform other numbers of them otherwise."""


def convolve(
    images: Tensor,
    psf: Psf,
    sizes: NDArray[np.int64],
    fluxes: Array,
    pixel_scale_arcsec: float,
    out: tuple[Tensor, NDArray[np.int64]],
) -> None:
    """Images (batch, y, x) of unit flux with each band's PSF, scaled, into rows of ``out`` (batch, band, y, x).

    ``sizes`` (batch,) are the sides of the transforms, each row's own.
    """
    pixels, count = images.shape[-1], TRANSFORMED[images.device.type]
    stamps, rows = out
    for size in np.unique(sizes).tolist():
        own = np.flatnonzero(sizes == size)
        for start in range(0, len(own), count):
            index = own[start : start + count]
            place = torch.from_numpy(index).to(images.device)
            some = images.new_zeros(count, pixels, pixels)
            some[: len(index)] = images[place]
            filled = np.concatenate([index, np.repeat(index[-1:], count - len(index))])
            flux = torch.from_numpy(fluxes[filled].astype(np.float32)).to(images.device)
            response = transfer(psf.take(filled), size, pixels, pixel_scale_arcsec, images.device)
            spectrum = torch.fft.rfft2(some, s=(size, size))[:, None] * (response * flux[..., None, None])
            lines = torch.fft.ifft(spectrum, dim=-2)[..., :pixels, :]
            seen = torch.fft.irfft(lines, n=size, dim=-1)[: len(index), ..., :pixels]
            stamps[torch.from_numpy(rows[index]).to(stamps.device)] = seen


def transfer(psf: Psf, size: int, stamp_pixels: int, pixel_scale_arcsec: float, device: torch.device) -> Tensor:
    """What multiplies real transforms, as in ``psf.filtered``: (batch, band, size, size // 2 + 1)."""
    if psf.image is not None:
        kernel = torch.from_numpy(psfs.centred(psf.image, size, stamp_pixels)).to(device)
        response = torch.fft.rfft2(kernel)
    else:
        response = _analytic(psf, size, pixel_scale_arcsec, device)
    if not psf.includes_pixel:
        return response
    inverse_pixel = torch.from_numpy((1.0 / np.sinc(np.fft.fftfreq(size))).astype(np.float32)).to(device)
    return response * inverse_pixel[:, None] * inverse_pixel[: size // 2 + 1]


def _analytic(psf: Psf, size: int, pixel_scale_arcsec: float, device: torch.device) -> Tensor:
    """Modulation at every frequency, from the table of each band's profile."""
    values, steps = psfs.modulation_tables(psf)
    table = torch.from_numpy(values).to(device)
    rates = psfs.table_scale(psf) / (pixel_scale_arcsec * size * steps)
    frequency = np.minimum(np.arange(size), size - np.arange(size)).astype(np.float32)
    modulus = np.sqrt(frequency[:, None] ** 2 + frequency[: size // 2 + 1] ** 2)
    place = torch.from_numpy(rates.astype(np.float32)).to(device)[..., None, None] * torch.from_numpy(modulus).to(
        device
    )
    low = place.to(torch.int32).clamp(max=values.shape[1] - 2)
    part = (place - low).clamp(max=1.0)
    band = torch.arange(len(values), device=device)[:, None, None]
    below = table[band, low]
    return below + part * (table[band, low + 1] - below)
