"""Convolution of pixel-integrated stamps with PSFs: the response of each band at each frequency of a transform."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.fft import next_fast_len, rfft2

from injection.optics import profiles
from injection.optics.psf import BandPsf, Psf

Array = NDArray[np.float64]

_WING_FWHM = 4.0
"""Padding of a stamp, in units of the FWHM, for the wings of an analytic profile."""
_LEAST_PADDING = 27


def padded_sizes(psf: Psf, stamp_pixels: int) -> NDArray[np.int64]:
    """Side (batch,) of the transform in which a stamp, convolved with its PSFs, does not wrap around."""
    padding = np.max([_padding(band, stamp_pixels, psf.imaging.pixel_scale_arcsec) for band in psf.bands], axis=0)
    unique, place = np.unique(padding, return_inverse=True)
    return np.array([next_fast_len(stamp_pixels + int(wing), real=True) for wing in unique])[place]


def _padding(band: BandPsf, stamp_pixels: int, pixel_scale_arcsec: float) -> NDArray[np.int64]:
    """Pixels (batch,) around a stamp that the PSF of one band needs."""
    if band.image is not None:
        return np.full(len(band.image), min(band.image.shape[-1], 2 * stamp_pixels - 1) // 2)
    wings = np.nan_to_num(np.ceil(_WING_FWHM * band.fwhm_arcsec / pixel_scale_arcsec), posinf=0.0)
    return np.minimum(np.maximum(wings, _LEAST_PADDING), stamp_pixels).astype(np.int64)


@dataclass(frozen=True)
class Filter:
    """What multiplies the transforms of a batch of stamps: the response of each band, times its flux."""

    psf: Psf
    size: int
    """Side of the transforms"""
    stamp_pixels: int
    fluxes: NDArray[np.float32]
    """(batch, band)"""
    inverse_pixel: NDArray[np.float32]
    """See :func:`inverse_pixels`"""
    named: NDArray[np.int64]
    """Places of the bands whose PSF is a profile"""
    tables: NDArray[np.float32]
    rates: NDArray[np.float32]
    """See :func:`responses`"""

    @classmethod
    def of(cls, psf: Psf, fluxes: Array, size: int, stamp_pixels: int) -> Filter:
        """The filter of PSFs and fluxes (batch, band), for transforms of one size."""
        tables, rates = responses(psf, size)
        flux, inverse_pixel = fluxes.astype(np.float32), inverse_pixels(psf, size)
        return cls(psf, size, stamp_pixels, flux, inverse_pixel, psf.named, tables, rates)

    def applied(self, spectrum: NDArray[np.complex64], rows: slice) -> NDArray[np.complex64]:
        """Real transforms (row, size, size // 2 + 1) of the batch's ``rows``, pixel-integrated stamps of unit flux, as
        seen in each band: (row, band, size, size // 2 + 1).
        """
        flux = self.fluxes[rows]
        out = np.empty((*flux.shape, *spectrum.shape[1:]), dtype=np.complex64)
        for index, band in enumerate(self.psf.bands):
            if band.image is not None:
                inverse_pixel = self.inverse_pixel[index]
                response = rfft2(centred(band.image[rows], self.size, self.stamp_pixels)) * inverse_pixel[:, None]
                response *= inverse_pixel[: self.size // 2 + 1] * flux[:, index, None, None]
                out[:, index] = spectrum * response
        if len(self.named):
            seen = spectrum.view(np.float32), out.view(np.float32)
            _filter(self.named, self.rates[rows], flux, self.tables, self.inverse_pixel, *seen)
        return out


def inverse_pixels(psf: Psf, size: int) -> NDArray[np.float32]:
    """Factor (band, size) along one axis that removes the pixel from each band's response; one if it has no pixel.

    The rendered pixels are integrals already: with a PSF that includes the pixel, it would act twice.
    """
    inside = np.array([band.includes_pixel for band in psf.bands])[:, None]
    return np.where(inside, 1.0 / np.sinc(np.fft.fftfreq(size)), 1.0).astype(np.float32)


def centred(image: Array, size: int, stamp_pixels: int) -> NDArray[np.float32]:
    """PSF images (batch, y, x) centred on [0, 0] of a square of ``size``; pixels too far to reach a stamp are cut."""
    half = min(image.shape[-1] // 2, stamp_pixels - 1)
    middle = image.shape[-1] // 2
    crop = image[..., middle - half : middle + half + 1, middle - half : middle + half + 1]
    out = np.zeros((len(image), size, size), dtype=np.float32)
    place = np.arange(-half, half + 1) % size
    out[:, place[:, None], place[None, :]] += crop
    return out


def responses(psf: Psf, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Modulation (named band, frequency) of the profiles of unit scale, and table steps per step of frequency.

    The steps are (batch, named band), for a transform of ``size``.
    """
    named = [psf.bands[index] for index in psf.named]
    if not named:
        return np.empty((0, 0), np.float32), np.empty((len(psf), 0), np.float32)
    tables = [_modulation_table(band.beta) for band in named]
    lengths = [
        band.fwhm_arcsec if np.isinf(band.beta) else profiles.moffat_scale(band.fwhm_arcsec, [band.beta])
        for band in named
    ]
    steps = np.array([step for _, step in tables])
    rates = (np.stack(lengths, axis=1) / (psf.imaging.pixel_scale_arcsec * size * steps)).astype(np.float32)
    return np.stack([values for values, _ in tables]), rates


_TABLE_POINTS = 8192


@lru_cache(maxsize=32)
def _modulation_table(beta: float) -> tuple[NDArray[np.float32], float]:
    """Modulation of a profile of unit scale at equal steps of frequency, up to where it vanishes in float32."""
    unit = 1.0 if np.isinf(beta) else 2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    last = 3.0 if np.isinf(beta) else 5.0
    grid = np.linspace(0.0, last, _TABLE_POINTS)
    return profiles.transform(unit, beta, grid).astype(np.float32), last / (_TABLE_POINTS - 1)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)
def _respond(rate: Any, table: Any, inverse_pixel: Any, response: Any) -> None:
    """Interpolate the modulation at the frequencies (y, x) >= 0; ``rate`` is table steps per frequency step."""
    last = table.size - 2
    for j in range(response.shape[0]):
        for i in range(j, response.shape[0]):
            place = rate * np.sqrt(np.float32(i * i + j * j))
            low = min(int(place), last)
            part = min(place - np.float32(low), np.float32(1.0))
            value = (table[low] + part * (table[low + 1] - table[low])) * inverse_pixel[i] * inverse_pixel[j]
            response[j, i] = value
            response[i, j] = value


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _filter(named: Any, rates: Any, fluxes: Any, tables: Any, inverse_pixels: Any, spectrum: Any, out: Any) -> None:
    """Multiply spectra by flux and response of the ``named`` bands; complex numbers are pairs of floats."""
    size, half = out.shape[2], out.shape[3] // 2
    response = np.empty((half, half), np.float32)
    for row in range(out.shape[0]):
        for place, band in enumerate(named):
            _respond(rates[row, place], tables[place], inverse_pixels[band], response)
            for j in range(size):
                line = response[min(j, size - j)]
                for i in range(half):
                    weight = fluxes[row, band] * line[i]
                    out[row, band, j, 2 * i] = spectrum[row, j, 2 * i] * weight
                    out[row, band, j, 2 * i + 1] = spectrum[row, j, 2 * i + 1] * weight
