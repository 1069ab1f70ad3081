"""Cleaning of stamps of real galaxies: the galaxy alone, with unit flux and a corrected PSF."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import irfft2, next_fast_len, rfft2

from injection.config import PsfCorrection, StampCleaning
from lake.errors import DataError

Array = NDArray[np.float64]
Images = NDArray[np.float32]

_SMOOTHING_PX = 2.0
_FOOTPRINT_SIGMAS = 2.0


def clean(
    stamp: Images, noise: float, cleaning: StampCleaning, psf: Array | None = None, pixel_arcsec: float | None = None
) -> Images | str:
    """The galaxy alone, with unit flux and an empty border, or why it cannot be used.

    The sky is subtracted, and everything outside the galaxy's footprint (neighbours, noise) is masked. ``psf`` (y, x)
    and the stamp's pixel scale are needed if the cleaning corrects the PSF.
    """
    if not np.isfinite(stamp).all() or not noise > 0:
        return "stamp or noise is not finite"
    edge = np.concatenate([stamp[0], stamp[-1], stamp[:, 0], stamp[:, -1]])
    image = stamp.astype(np.float64) - np.median(edge)
    footprint = _footprint(image, noise)
    if footprint is None:
        return "nothing significant at the stamp's centre"
    snr = image[footprint].sum() / (noise * np.sqrt(footprint.sum()))
    if not snr >= cleaning.min_snr:
        return f"signal to noise {snr:.1f} is below {cleaning.min_snr:g}"
    if cleaning.psf_correction is not None:
        if psf is None or pixel_arcsec is None:
            raise DataError("a PSF correction needs the stamps' own PSFs and pixel scale, which are missing")
        image = corrected(image, psf, pixel_arcsec, cleaning.psf_correction)
    inside = np.where(footprint, image, 0.0)
    return (np.pad(inside, 2) / inside.sum()).astype(np.float32)


def _footprint(image: Array, noise: float) -> NDArray[np.bool_] | None:
    """Pixels of the central object that are significant after smoothing, and two pixels around them."""
    smooth = ndimage.gaussian_filter(image, _SMOOTHING_PX)
    bright = smooth > _FOOTPRINT_SIGMAS * noise / (2.0 * np.sqrt(np.pi) * _SMOOTHING_PX)
    labels, _ = ndimage.label(bright)
    middle = labels[image.shape[0] // 2, image.shape[1] // 2]
    return None if middle == 0 else ndimage.binary_dilation(labels == middle, iterations=2)


def corrected(image: Array, psf: Array, pixel_arcsec: float, correction: PsfCorrection) -> Array:
    """An image (y, x) with its PSF (y, x; with the pixel response, centred on its pixel ``n // 2``) replaced.

    The transform P of the PSF is replaced by the narrow Gaussian G of the correction, with the damped division
    ``G P* / (|P|^2 + e^2)``: no spatial frequency is amplified by more than ``1 / 2e``, the declared limit. The PSF of
    the survey acts after lensing, so the source's own PSF must be removed before, and cannot be subtracted from it.
    """
    size = [next_fast_len(a + b, real=True) for a, b in zip(image.shape, psf.shape, strict=True)]
    place = np.ix_(*(np.arange(n) - n // 2 for n in psf.shape))
    centred = np.zeros(size)
    centred[place] = psf / psf.sum()
    own, damping = rfft2(centred), 0.5 / correction.max_amplification
    sigma_px = correction.fwhm_arcsec / pixel_arcsec / np.sqrt(8.0 * np.log(2.0))
    square = np.fft.fftfreq(size[0])[:, None] ** 2 + np.fft.rfftfreq(size[1]) ** 2
    wanted = np.exp(-2.0 * np.pi**2 * sigma_px**2 * square)
    exchange = wanted * own.conj() * (1.0 + damping**2) / (np.abs(own) ** 2 + damping**2)
    return irfft2(rfft2(image, s=size) * exchange, s=size)[: image.shape[0], : image.shape[1]]
