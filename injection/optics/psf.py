"""Point-spread functions per object and band: Gaussian, Moffat, pixel images; and how they act on a rendered stamp.

What the profile means is declared. ``includes_pixel``: it is the effective PSF, the pixel's response included, as a
stored PSF image usually is; a rendered image, whose pixels are integrals already, is then convolved with the PSF
deconvolved by the pixel, so that the pixel acts once. Otherwise it is the optical PSF and acts as it is.

A width has a kind: ``fwhm`` is that of the named profile, ``fwhm_nea`` that of the Gaussian with the effective PSF's
noise-equivalent area, which is the catalogue's ``psfsize`` (see :mod:`lake.sky.psfsize`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.fft import next_fast_len, rfft2

from injection.optics import profiles
from lake.errors import DataError, invalid
from lake.sky.psfsize import area_of_fwhm_nea, fwhm_nea_of_area
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC, PSFSIZE_RELATIVE_TO_R

Array = NDArray[np.float64]

SUM_TOLERANCE = 0.01
CENTRE_TOLERANCE_PX = 0.5
_WING_FWHM = 4.0
"""Padding of a stamp, in units of the FWHM, for the wings of an analytic profile."""
_LEAST_PADDING = 27


@dataclass(frozen=True)
class Psf:
    """PSFs of a batch: named profiles, or images (batch, band, y, x) of unit sum."""

    kind: Literal["gaussian", "moffat", "image"]
    fwhm_nea_arcsec: Array
    """FWHM (batch, band) of the Gaussian with the noise-equivalent area of the effective PSF, pixel included"""
    includes_pixel: bool
    fwhm_arcsec: Array
    """FWHM (batch, band) of the named profile; NaN for images, which have none"""
    beta: Array
    """Exponent (band,) of the Moffat profile; infinite for other kinds"""
    image: Array | None = None
    sums: Array | None = None
    """Sums (batch, band) of the images before they were normalised."""

    @property
    def named(self) -> profiles.Named:
        """The kind, if it is a named profile."""
        if self.kind == "image":
            raise invalid("psf kind", "gaussian or moffat", self.kind)
        return self.kind

    @classmethod
    def gaussian(
        cls, fwhm_arcsec: ArrayLike, includes_pixel: bool, pixel_scale_arcsec: float = PIXEL_SCALE_ARCSEC
    ) -> Psf:
        """Gaussian PSF of a FWHM (batch, band)."""
        return cls._of_width("gaussian", fwhm_arcsec, np.inf, includes_pixel, pixel_scale_arcsec)

    @classmethod
    def moffat(
        cls,
        fwhm_arcsec: ArrayLike,
        beta: ArrayLike,
        includes_pixel: bool,
        pixel_scale_arcsec: float = PIXEL_SCALE_ARCSEC,
    ) -> Psf:
        """Moffat PSF of a FWHM (batch, band) and an exponent, one for all bands or (band,)."""
        return cls._of_width("moffat", fwhm_arcsec, beta, includes_pixel, pixel_scale_arcsec)

    @classmethod
    def _of_width(
        cls, kind: profiles.Named, fwhm_arcsec: ArrayLike, beta: ArrayLike, includes_pixel: bool, scale: float
    ) -> Psf:
        fwhm = _two_axes("fwhm_arcsec", fwhm_arcsec)
        betas = _betas(beta, fwhm.shape[1])
        if includes_pixel:
            area = profiles.area(kind, fwhm, betas)
        else:
            area = profiles.area_with_pixel(kind, fwhm / scale, betas) * scale**2
        return cls(kind, fwhm_nea_of_area(area), includes_pixel, fwhm, betas)

    @classmethod
    def of_area(
        cls,
        kind: profiles.Named,
        fwhm_nea_arcsec: ArrayLike,
        beta: ArrayLike,
        includes_pixel: bool,
        pixel_scale_arcsec: float = PIXEL_SCALE_ARCSEC,
    ) -> Psf:
        """The named profile whose effective PSF has the noise-equivalent area of ``fwhm_nea`` (batch, band).

        If the profile is the optical PSF, the pixel's part of the area is removed.
        """
        wanted = _two_axes("fwhm_nea_arcsec", fwhm_nea_arcsec)
        betas = _betas(np.inf if kind == "gaussian" else beta, wanted.shape[1])
        if includes_pixel:
            fwhm = wanted / fwhm_nea_of_area(profiles.area(kind, np.ones(len(betas)), betas))
        else:
            fwhm = pixel_scale_arcsec * profiles.width_under_pixel(
                kind, area_of_fwhm_nea(wanted / pixel_scale_arcsec), betas
            )
        return cls(kind, wanted, includes_pixel, fwhm, betas)

    @classmethod
    def from_image(cls, images: ArrayLike, pixel_scale_arcsec: float, includes_pixel: bool) -> Psf:
        """PSF images (batch, band, y, x): odd, finite, centred, of a sum within 1 % of one, which is then made one."""
        image: Array = np.array(images, dtype=np.float64)
        if image.ndim != 4 or image.shape[2] != image.shape[3] or image.shape[2] % 2 == 0:
            raise invalid("psf image", "(batch, band, n, n) with odd n", image.shape)
        if not np.isfinite(image).all():
            raise DataError("'psf image' must be finite, got NaN or infinite pixels")
        sums = image.sum(axis=(2, 3))
        if (np.abs(sums - 1.0) > SUM_TOLERANCE).any():
            raise invalid("psf image", "of a sum within 1 % of one", float(sums.flat[np.abs(sums - 1.0).argmax()]))
        image = image / sums[..., None, None]
        _check_centred(image)
        width = fwhm_nea_of_area(_image_areas(image, includes_pixel)) * pixel_scale_arcsec
        nothing = np.full(image.shape[:2], np.nan)
        return cls("image", width, includes_pixel, nothing, np.full(image.shape[1], np.inf), image, sums)

    def __len__(self) -> int:
        return len(self.fwhm_arcsec)

    def take(self, index: Any) -> Psf:
        """The PSFs of some rows."""
        image = None if self.image is None else self.image[index]
        sums = None if self.sums is None else self.sums[index]
        widths = self.fwhm_nea_arcsec[index], self.includes_pixel, self.fwhm_arcsec[index]
        return Psf(self.kind, *widths, self.beta, image, sums)


def _image_areas(image: Array, includes_pixel: bool) -> Array:
    """Noise-equivalent areas (batch, band) in pixels of images of unit sum, by Parseval's theorem."""
    if includes_pixel:
        return np.asarray(1.0 / (image**2).sum(axis=(2, 3)))
    pixel = np.sinc(np.fft.fftfreq(image.shape[-1])) ** 2
    return np.asarray(1.0 / (np.abs(np.fft.fft2(image)) ** 2 * pixel[:, None] * pixel).mean(axis=(2, 3)))


def _check_centred(image: Array) -> None:
    """Refuse PSF images of unit sum whose centroid is not on the central pixel: arcs would be moved."""
    place = np.arange(image.shape[-1]) - image.shape[-1] // 2
    offset = np.hypot((image * place).sum(axis=(2, 3)), (image * place[:, None]).sum(axis=(2, 3)))
    if (offset > CENTRE_TOLERANCE_PX).any():
        allowed = f"centred on its middle pixel within {CENTRE_TOLERANCE_PX:g} pixel"
        raise invalid("psf image", allowed, float(offset.max()))


def _two_axes(name: str, width_arcsec: ArrayLike) -> Array:
    width = np.asarray(width_arcsec, dtype=np.float64)
    if width.ndim != 2:
        raise invalid(f"psf {name}", "(batch, band)", width.shape)
    return width


def _betas(beta: ArrayLike, bands: int) -> Array:
    """Exponents (band,), from one for all bands or one per band."""
    value = np.asarray(beta, dtype=np.float64)
    if value.shape not in ((), (bands,)) or not (value > 1.0).all():
        raise invalid("psf_moffat_beta", f"above 1, one number or {bands}", value.tolist())
    return np.broadcast_to(value, (bands,))


def fwhm_nea_per_band(fwhm_nea_r_arcsec: ArrayLike) -> Array:
    """``fwhm_nea`` (batch, band) from that in r, for surveys that give only that."""
    r = np.asarray(fwhm_nea_r_arcsec, dtype=np.float64)
    return np.stack([r * PSFSIZE_RELATIVE_TO_R[band] for band in BANDS], axis=-1)


def profile(psf: Psf, radius_arcsec: ArrayLike) -> Array:
    """Surface brightness (per arcsec^2) of a unit-flux named profile, (batch, band) broadcast against radii."""
    return profiles.brightness(psf.named, psf.fwhm_arcsec, psf.beta, radius_arcsec)


def modulation(psf: Psf, frequency_per_arcsec: ArrayLike) -> Array:
    """Fourier transform of :func:`profile`, real and 1 at frequency 0."""
    return profiles.transform(psf.named, psf.fwhm_arcsec, psf.beta, frequency_per_arcsec)


def padded_sizes(psf: Psf, stamp_pixels: int, pixel_scale_arcsec: float) -> NDArray[np.int64]:
    """Side (batch,) of the transform in which a stamp and its PSF do not wrap onto each other."""
    if psf.image is not None:
        kernel = min(psf.image.shape[-1], 2 * stamp_pixels - 1)
        size = int(next_fast_len(stamp_pixels + kernel // 2, real=True))
        return np.full(len(psf), size)
    wings = np.nan_to_num(np.ceil(_WING_FWHM * psf.fwhm_arcsec.max(axis=1) / pixel_scale_arcsec), posinf=0.0)
    padding = np.minimum(np.maximum(wings, _LEAST_PADDING), stamp_pixels).astype(np.int64)
    unique, place = np.unique(padding, return_inverse=True)
    return np.array([next_fast_len(stamp_pixels + int(wing), real=True) for wing in unique])[place]


def filtered(
    spectrum: NDArray[np.complex64], psf: Psf, fluxes: Array, stamp_pixels: int, pixel_scale_arcsec: float
) -> NDArray[np.complex64]:
    """Real transforms (batch, size, size // 2 + 1) of pixel-integrated stamps, as the PSF of each band leaves them.

    Scaled by the bands' ``fluxes`` (batch, band): (batch, band, size, size // 2 + 1).
    """
    size = spectrum.shape[1]
    pixel = np.sinc(np.fft.fftfreq(size)) if psf.includes_pixel else np.ones(size)
    inverse_pixel = (1.0 / pixel).astype(np.float32)
    flux = fluxes.astype(np.float32)
    if psf.image is not None:
        response = rfft2(centred(psf.image, size, stamp_pixels)) * inverse_pixel[:, None]
        response *= inverse_pixel[: size // 2 + 1] * flux[..., None, None]
        return np.asarray(spectrum[:, None] * response, dtype=np.complex64)
    out = np.empty((*fluxes.shape, *spectrum.shape[1:]), dtype=np.complex64)
    tables, steps = modulation_tables(psf)
    rates = (table_scale(psf) / (pixel_scale_arcsec * size * steps)).astype(np.float32)
    _filter(rates, flux, tables, inverse_pixel, spectrum.view(np.float32), out.view(np.float32))
    return out


def centred(image: Array, size: int, stamp_pixels: int) -> NDArray[np.float32]:
    """PSF images with their centre at [0, 0] of a square of the given size; pixels no stamp can feel are left out."""
    half = min(image.shape[-1] // 2, stamp_pixels - 1)
    middle = image.shape[-1] // 2
    crop = image[..., middle - half : middle + half + 1, middle - half : middle + half + 1]
    out = np.zeros((*image.shape[:2], size, size), dtype=np.float32)
    place = np.arange(-half, half + 1) % size
    out[:, :, place[:, None], place[None, :]] += crop
    return out


def table_scale(psf: Psf) -> Array:
    """Length (arcsec) that makes frequencies dimensionless in the modulation table."""
    return psf.fwhm_arcsec if psf.kind == "gaussian" else profiles.moffat_scale(psf.fwhm_arcsec, psf.beta)


_TABLE_POINTS = 8192


def modulation_tables(psf: Psf) -> tuple[NDArray[np.float32], Array]:
    """Modulation (band, frequency) of each band's profile at unit scale, and the steps (band,) of frequency."""
    tables = [_modulation_table(psf.named, float(beta)) for beta in psf.beta]
    return np.stack([values for values, _ in tables]), np.array([step for _, step in tables])


@lru_cache(maxsize=32)
def _modulation_table(kind: profiles.Named, beta: float) -> tuple[NDArray[np.float32], float]:
    """Modulation of a profile of unit scale at equal steps of frequency, far enough to vanish in float32."""
    unit = 1.0 if kind == "gaussian" else 2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    last = 3.0 if kind == "gaussian" else 5.0
    grid = np.linspace(0.0, last, _TABLE_POINTS)
    return profiles.transform(kind, unit, beta, grid).astype(np.float32), last / (_TABLE_POINTS - 1)


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
def _filter(rates: Any, fluxes: Any, tables: Any, inverse_pixel: Any, spectrum: Any, out: Any) -> None:
    """Multiply spectra by flux and response; complex numbers are pairs of floats along the last axis."""
    size, half = out.shape[2], out.shape[3] // 2
    response = np.empty((half, half), np.float32)
    for row in range(out.shape[0]):
        for band in range(out.shape[1]):
            _respond(rates[row, band], tables[band], inverse_pixel, response)
            for j in range(size):
                line = response[min(j, size - j)]
                for i in range(half):
                    weight = fluxes[row, band] * line[i]
                    out[row, band, j, 2 * i] = spectrum[row, j, 2 * i] * weight
                    out[row, band, j, 2 * i + 1] = spectrum[row, j, 2 * i + 1] * weight
