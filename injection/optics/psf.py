"""Point-spread functions per host and band: Gaussian, Moffat, pixel images.

With ``includes_pixel`` a profile or an image is the effective PSF, which contains the response of the pixel, as stored
PSF images usually do. Without it, it is the optical PSF, on which the pixel acts.

There are two kinds of width. ``fwhm`` is that of the named profile; ``fwhm_nea`` is that of the Gaussian with the
noise-equivalent area of the effective PSF: the catalogue's ``psfsize`` (see :mod:`lake.sky.photometry`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from injection.optics import profiles
from lake.errors import DataError, invalid
from lake.sky.imaging import Imaging
from lake.sky.photometry import area_of_fwhm_nea, fwhm_nea_of_area

Array = NDArray[np.float64]

SUM_TOLERANCE = 0.01
CENTRE_TOLERANCE_PX = 0.5


@dataclass(frozen=True)
class BandPsf:
    """PSFs of a batch of hosts in one band: a Gaussian, a Moffat, or images (batch, y, x) of unit sum."""

    fwhm_nea_arcsec: Array
    """FWHM (batch,) of the Gaussian with the noise-equivalent area of the effective PSF, pixel included"""
    includes_pixel: bool
    fwhm_arcsec: Array
    """FWHM (batch,) of the profile; NaN for images"""
    beta: float = np.inf
    """Exponent of the Moffat profile; infinite for a Gaussian and for images"""
    image: Array | None = None
    sums: Array | None = None
    """Sums (batch,) of the images before they were normalised"""

    @classmethod
    def of_width(cls, fwhm_arcsec: Array, beta: float, includes_pixel: bool, pixel_scale_arcsec: float) -> Self:
        """The profile of a FWHM (batch,)."""
        if includes_pixel:
            area = profiles.area(fwhm_arcsec, beta)
        else:
            area = profiles.area_with_pixel(fwhm_arcsec / pixel_scale_arcsec, beta) * pixel_scale_arcsec**2
        return cls(fwhm_nea_of_area(area), includes_pixel, fwhm_arcsec, beta)

    @classmethod
    def of_area(cls, fwhm_nea_arcsec: Array, beta: float, includes_pixel: bool, pixel_scale_arcsec: float) -> Self:
        """The profile whose effective PSF has the noise-equivalent area of ``fwhm_nea`` (batch,).

        If the profile is the optical PSF, the pixel's part of the area is removed.
        """
        if includes_pixel:
            fwhm = fwhm_nea_arcsec / fwhm_nea_of_area(profiles.area(np.ones(1), beta))
        else:
            area_px = area_of_fwhm_nea(fwhm_nea_arcsec / pixel_scale_arcsec)
            fwhm = pixel_scale_arcsec * profiles.width_under_pixel(area_px, beta)
        return cls(fwhm_nea_arcsec, includes_pixel, fwhm, beta)

    @classmethod
    def of_image(cls, images: ArrayLike, includes_pixel: bool, pixel_scale_arcsec: float) -> Self:
        """PSF images (batch, y, x): square, of an odd side, finite, centred; sums within 1 % of one become one."""
        image: Array = np.array(images, dtype=np.float64)
        if image.ndim != 3 or image.shape[1] != image.shape[2] or image.shape[1] % 2 == 0:
            raise invalid("psf image", "(batch, n, n) with odd n in each band", image.shape)
        if not np.isfinite(image).all():
            raise DataError("'psf image' must be finite, got NaN or infinite pixels")
        sums = image.sum(axis=(1, 2))
        if (np.abs(sums - 1.0) > SUM_TOLERANCE).any():
            raise invalid("psf image", "of a sum within 1 % of one", float(sums[np.abs(sums - 1.0).argmax()]))
        image = image / sums[:, None, None]
        _check_centred(image)
        width = fwhm_nea_of_area(_image_areas(image, includes_pixel)) * pixel_scale_arcsec
        return cls(width, includes_pixel, np.full(len(image), np.nan), image=image, sums=sums)

    def take(self, index: Any) -> BandPsf:
        """The PSFs of some rows."""
        arrays = {name: value[index] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **arrays)


@dataclass(frozen=True)
class Psf:
    """PSFs of a batch of hosts in every band of their imaging, each band of its own kind."""

    imaging: Imaging
    bands: tuple[BandPsf, ...]

    @classmethod
    def gaussian(cls, fwhm_arcsec: ArrayLike, includes_pixel: bool, imaging: Imaging) -> Self:
        """Gaussian PSF of a FWHM (batch, band)."""
        return cls.moffat(fwhm_arcsec, np.inf, includes_pixel, imaging)

    @classmethod
    def moffat(cls, fwhm_arcsec: ArrayLike, beta: ArrayLike, includes_pixel: bool, imaging: Imaging) -> Self:
        """Moffat PSF of a FWHM (batch, band) and an exponent, one for all bands or (band,); infinite is a Gaussian."""
        return cls(imaging, _profiles(BandPsf.of_width, "fwhm_arcsec", fwhm_arcsec, beta, includes_pixel, imaging))

    @classmethod
    def of_area(cls, fwhm_nea_arcsec: ArrayLike, beta: ArrayLike, includes_pixel: bool, imaging: Imaging) -> Self:
        """Profiles like those of :meth:`moffat`, whose effective PSF has the noise-equivalent area of ``fwhm_nea``."""
        bands = _profiles(BandPsf.of_area, "fwhm_nea_arcsec", fwhm_nea_arcsec, beta, includes_pixel, imaging)
        return cls(imaging, bands)

    @classmethod
    def from_image(cls, images: ArrayLike, includes_pixel: bool, imaging: Imaging) -> Self:
        """PSF images (batch, band, y, x), see :meth:`BandPsf.of_image`."""
        image: Array = np.asarray(images, dtype=np.float64)
        if image.ndim != 4 or image.shape[1] != len(imaging.bands):
            raise invalid("psf image", f"(batch, {len(imaging.bands)}, n, n) with odd n", image.shape)
        scale = imaging.pixel_scale_arcsec
        bands = (BandPsf.of_image(image[:, band], includes_pixel, scale) for band in range(image.shape[1]))
        return cls(imaging, tuple(bands))

    @cached_property
    def fwhm_nea_arcsec(self) -> Array:
        """``fwhm_nea`` (batch, band)."""
        return np.stack([band.fwhm_nea_arcsec for band in self.bands], axis=1)

    @cached_property
    def fwhm_arcsec(self) -> Array:
        """FWHM (batch, band) of the profiles; NaN in bands of images."""
        return np.stack([band.fwhm_arcsec for band in self.bands], axis=1)

    @property
    def named(self) -> NDArray[np.int64]:
        """Places of the bands whose PSF is a profile."""
        return np.flatnonzero([band.image is None for band in self.bands])

    def __len__(self) -> int:
        return len(self.bands[0].fwhm_arcsec)

    def take(self, index: Any) -> Psf:
        """The PSFs of some rows."""
        return Psf(self.imaging, tuple(band.take(index) for band in self.bands))


def exponents(beta: ArrayLike, imaging: Imaging) -> list[float]:
    """Exponents of the bands, from one for all or one per band; infinite is a Gaussian."""
    value, count = np.asarray(beta, dtype=np.float64), len(imaging.bands)
    if value.shape not in ((), (1,), (count,)) or not (value > 1.0).all():
        allowed = f"above 1, one number per band ({', '.join(imaging.bands)}) or one for all"
        raise invalid("psf_moffat_beta", allowed, value.tolist())
    return [float(one) for one in np.broadcast_to(value, (count,))]


def _profiles(
    make: Callable[..., BandPsf], name: str, widths: ArrayLike, beta: ArrayLike, includes_pixel: bool, imaging: Imaging
) -> tuple[BandPsf, ...]:
    """Profiles of each band, of widths (batch, band) in arcsec."""
    width = np.asarray(widths, dtype=np.float64)
    if width.ndim != 2 or width.shape[1] != len(imaging.bands):
        raise invalid(f"psf {name}", f"(batch, {len(imaging.bands)})", width.shape)
    return tuple(
        make(np.ascontiguousarray(width[:, band]), exponent, includes_pixel, imaging.pixel_scale_arcsec)
        for band, exponent in enumerate(exponents(beta, imaging))
    )


def _image_areas(image: Array, includes_pixel: bool) -> Array:
    """Noise-equivalent areas (batch,) in pixels of images of unit sum, by Parseval's theorem."""
    if includes_pixel:
        return np.asarray(1.0 / (image**2).sum(axis=(1, 2)))
    pixel = np.sinc(np.fft.fftfreq(image.shape[-1])) ** 2
    return np.asarray(1.0 / (np.abs(np.fft.fft2(image)) ** 2 * pixel[:, None] * pixel).mean(axis=(1, 2)))


def _check_centred(image: Array) -> None:
    """Refuse PSF images of unit sum whose centroid is not on the central pixel, since they would move arcs."""
    place = np.arange(image.shape[-1]) - image.shape[-1] // 2
    offset = np.hypot((image * place).sum(axis=(1, 2)), (image * place[:, None]).sum(axis=(1, 2)))
    if (offset > CENTRE_TOLERANCE_PX).any():
        allowed = f"centred on its middle pixel within {CENTRE_TOLERANCE_PX:g} pixel"
        raise invalid("psf image", allowed, float(offset.max()))
