"""Point-spread functions per object and band: Gaussian, Moffat, pixel images; and how they act on a rendered stamp.

What the profile means is declared. ``includes_pixel``: it is the effective PSF, the pixel's response included, as a
survey's FWHM or stored PSF image usually is; a rendered image, whose pixels are integrals already, is then convolved
with the PSF deconvolved by the pixel, so that the pixel acts once. Otherwise it is the optical PSF and acts as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.fft import next_fast_len, rfft2
from scipy.special import gamma, kv

from lake.errors import DataError, invalid
from lake.survey import BANDS, PSF_FWHM_RELATIVE_TO_R

Array = NDArray[np.float64]

SUM_TOLERANCE = 0.01
CENTRE_TOLERANCE_PX = 0.5
_WING_FWHM = 4.0
"""Padding of a stamp, in units of the FWHM, for the wings of an analytic profile."""
_LEAST_PADDING = 27


@dataclass(frozen=True)
class Psf:
    """PSFs of a batch: analytic with a FWHM (batch, band) in arcsec, or images (batch, band, y, x) of unit sum."""

    kind: Literal["gaussian", "moffat", "image"]
    fwhm_arcsec: Array
    beta: float
    includes_pixel: bool
    image: Array | None = None
    sums: Array | None = None
    """Sums (batch, band) of the images before they were normalised."""

    @classmethod
    def gaussian(cls, fwhm_arcsec: ArrayLike, includes_pixel: bool) -> Psf:
        return cls("gaussian", _positive(fwhm_arcsec), np.inf, includes_pixel)

    @classmethod
    def moffat(cls, fwhm_arcsec: ArrayLike, beta: float, includes_pixel: bool) -> Psf:
        if not beta > 1.0:
            raise invalid("psf_moffat_beta", "above 1", beta)
        return cls("moffat", _positive(fwhm_arcsec), beta, includes_pixel)

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
        equivalent = np.sqrt(1.0 / (image**2).sum(axis=(2, 3)) / (4.0 * np.pi))
        fwhm = equivalent * np.sqrt(8.0 * np.log(2.0)) * pixel_scale_arcsec
        return cls("image", fwhm, np.inf, includes_pixel, image, sums)

    def take(self, index: Any) -> Psf:
        """The PSFs of some rows."""
        image = None if self.image is None else self.image[index]
        sums = None if self.sums is None else self.sums[index]
        return Psf(self.kind, self.fwhm_arcsec[index], self.beta, self.includes_pixel, image, sums)


def _check_centred(image: Array) -> None:
    """Refuse PSF images of unit sum whose centroid is not on the central pixel: arcs would be moved."""
    place = np.arange(image.shape[-1]) - image.shape[-1] // 2
    offset = np.hypot((image * place).sum(axis=(2, 3)), (image * place[:, None]).sum(axis=(2, 3)))
    if (offset > CENTRE_TOLERANCE_PX).any():
        allowed = f"centred on its middle pixel within {CENTRE_TOLERANCE_PX:g} pixel"
        raise invalid("psf image", allowed, float(offset.max()))


def _positive(fwhm_arcsec: ArrayLike) -> Array:
    fwhm = np.asarray(fwhm_arcsec, dtype=np.float64)
    if fwhm.ndim != 2:
        raise invalid("psf fwhm_arcsec", "(batch, band)", fwhm.shape)
    return fwhm


def fwhm_per_band(fwhm_r_arcsec: ArrayLike) -> Array:
    """FWHM (batch, band) from that in r, where a survey gives no more."""
    r = np.asarray(fwhm_r_arcsec, dtype=np.float64)
    return np.stack([r * PSF_FWHM_RELATIVE_TO_R[band] for band in BANDS], axis=-1)


def moffat_scale(fwhm_arcsec: ArrayLike, beta: float) -> Array:
    """Moffat ``alpha`` of a FWHM."""
    return np.asarray(fwhm_arcsec) / (2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0))


def profile(psf: Psf, radius_arcsec: ArrayLike) -> Array:
    """Surface brightness (per arcsec^2) of a unit-flux analytic PSF, (batch, band) broadcast against radii."""
    radius = np.asarray(radius_arcsec)
    if psf.kind == "gaussian":
        variance = psf.fwhm_arcsec**2 / (8.0 * np.log(2.0))
        return np.exp(-0.5 * radius**2 / variance) / (2.0 * np.pi * variance)
    scale = moffat_scale(psf.fwhm_arcsec, psf.beta)
    return (psf.beta - 1.0) / (np.pi * scale**2) * (1.0 + (radius / scale) ** 2) ** -psf.beta


def modulation(psf: Psf, frequency_per_arcsec: ArrayLike) -> Array:
    """Fourier transform of :func:`profile`, real and 1 at frequency 0.

    Moffat: ``2^(2-beta) / Gamma(beta-1) z^(beta-1) K_(beta-1)(z)`` with ``z = 2 pi alpha k`` (Matern), which for
    beta = 3.5 is ``e^-z (1 + z + z^2/3)``.
    """
    k = np.asarray(frequency_per_arcsec)
    if psf.kind == "gaussian":
        return np.exp(-2.0 * np.pi**2 * psf.fwhm_arcsec**2 / (8.0 * np.log(2.0)) * k**2)
    z = 2.0 * np.pi * moffat_scale(psf.fwhm_arcsec, psf.beta) * k
    safe = np.where(z > 1e-9, z, 1.0)
    order = psf.beta - 1.0
    return np.where(z > 1e-9, 2.0 ** (1.0 - order) / gamma(order) * safe**order * kv(order, safe), 1.0)


def effective_area_arcsec2(psf: Psf, pixel_scale_arcsec: float) -> Array:
    """Noise-equivalent area ``1 / integral(psf^2)`` (batch, band) in arcsec^2."""
    if psf.kind == "gaussian":
        return 4.0 * np.pi * psf.fwhm_arcsec**2 / (8.0 * np.log(2.0))
    if psf.kind == "moffat":
        return np.pi * moffat_scale(psf.fwhm_arcsec, psf.beta) ** 2 * (2.0 * psf.beta - 1.0) / (psf.beta - 1.0) ** 2
    if psf.image is None:
        raise invalid("psf image", "given for kind 'image'", None)
    return pixel_scale_arcsec**2 / (psf.image**2).sum(axis=(2, 3))


def padded_sizes(psf: Psf, stamp_pixels: int, pixel_scale_arcsec: float) -> NDArray[np.int64]:
    """Side (batch,) of the transform in which a stamp and its PSF do not wrap onto each other."""
    if psf.image is not None:
        kernel = min(psf.image.shape[-1], 2 * stamp_pixels - 1)
        size = int(next_fast_len(stamp_pixels + kernel // 2, real=True))
        return np.full(len(psf.fwhm_arcsec), size)
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
    table, step = modulation_table(psf.kind, psf.beta)
    rates = (table_scale(psf) / (pixel_scale_arcsec * size * step)).astype(np.float32)
    _filter(rates, flux, table, inverse_pixel, spectrum.view(np.float32), out.view(np.float32))
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
    return psf.fwhm_arcsec if psf.kind == "gaussian" else moffat_scale(psf.fwhm_arcsec, psf.beta)


_TABLES: dict[tuple[str, float], tuple[NDArray[np.float32], float]] = {}
_TABLE_POINTS = 8192


def modulation_table(kind: str, beta: float) -> tuple[NDArray[np.float32], float]:
    """Modulation of a profile of unit scale at equal steps of frequency, far enough to vanish in float32."""
    if (kind, beta) not in _TABLES:
        one = np.ones((1, 1))
        unit = one if kind == "gaussian" else one * 2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0)
        psf = Psf("gaussian" if kind == "gaussian" else "moffat", unit, beta, includes_pixel=False)
        last = 3.0 if kind == "gaussian" else 5.0
        grid = np.linspace(0.0, last, _TABLE_POINTS)
        _TABLES[kind, beta] = (modulation(psf, grid)[0].astype(np.float32), last / (_TABLE_POINTS - 1))
    return _TABLES[kind, beta]


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
def _filter(rates: Any, fluxes: Any, table: Any, inverse_pixel: Any, spectrum: Any, out: Any) -> None:
    """Multiply spectra by flux and response; complex numbers are pairs of floats along the last axis."""
    size, half = out.shape[2], out.shape[3] // 2
    response = np.empty((half, half), np.float32)
    for row in range(out.shape[0]):
        for band in range(out.shape[1]):
            _respond(rates[row, band], table, inverse_pixel, response)
            for j in range(size):
                line = response[min(j, size - j)]
                for i in range(half):
                    weight = fluxes[row, band] * line[i]
                    out[row, band, j, 2 * i] = spectrum[row, j, 2 * i] * weight
                    out[row, band, j, 2 * i + 1] = spectrum[row, j, 2 * i + 1] * weight
