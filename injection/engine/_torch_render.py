"""Lensed light of a batch on a device, from packed scene to PSF-convolved stamps."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from injection.engine._rays import Scene
from injection.engine._torch_formulas import NOT_FINITE
from injection.engine._torch_rays import trace
from injection.optics._torch_convolve import convolve
from injection.optics.psf import Psf

Array = NDArray[np.float64]


def traced(
    scene: Scene, stamp_pixels: int, device: torch.device
) -> tuple[Tensor, NDArray[np.int64], NDArray[np.bool_]]:
    """Pixel integrals (batch, y * x + 1) of unit source flux, on the device; rays; rows whose light is not finite.

    Those are empty.
    """
    flat, counts = trace(scene, stamp_pixels, device)
    bad = counts >= NOT_FINITE
    flat[bad], counts[bad] = 0.0, 0
    return flat, counts.cpu().numpy(), bad.cpu().numpy()


def placed(flat: NDArray[np.float32], device: torch.device) -> Tensor:
    """Pixel integrals that the processor traced, on the device."""
    return torch.from_numpy(flat).to(device)


def zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Empty stamps on the device."""
    return torch.zeros(shape, dtype=torch.float32, device=device)


def stamps(
    flat: Tensor,
    psf: Psf,
    sizes: NDArray[np.int64],
    fluxes: Array,
    out: tuple[Tensor, NDArray[np.int64]],
) -> tuple[Array, Array]:
    """Put stamps, after the PSF, into rows of ``out``; flux on the stamp and in all, per unlensed flux."""
    sums = flat.sum(dim=1, dtype=torch.float64)
    pixels = round((flat.shape[1] - 1) ** 0.5)
    convolve(flat[:, :-1].view(-1, pixels, pixels), psf, sizes, fluxes, out)
    return (sums - flat[:, -1]).cpu().numpy(), sums.cpu().numpy()
