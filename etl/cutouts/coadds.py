"""Brick coadds: windows of whole pixels from tile-compressed images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from etl.cutouts.bricks import Tan
from lake.errors import DataError
from lake.files import fitslayout, storage
from lake.files.fitsheader import unit_fault
from lake.sky.photometry import psfdepth_from_sigma
from lake.sky.survey import BANDS, MASKBITS, PIXEL_SCALE_ARCSEC

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_SECTION_SHARE = 0.25
"""Windows that together cover less than this share of an image are read as sections, else the image as a whole."""

_GRID_TOLERANCE_PX = 0.01
"""Files of a brick whose pixels differ by more than this (in pixels) are on different grids."""
_FAR_PX = 1e9
"""Pixel coordinate given to sources on the far side of the sky: outside every image."""
_DEPTH_REACH_PX = 8
"""The depth at a source is taken from the pixels within this distance along each axis."""


def brick_folder(survey: str, brick: str) -> str:
    """Place of a brick's files below the survey folder."""
    return storage.below(survey, "coadds", brick[:3], brick)


def coadd_name(brick: str, kind: str, band: str | None) -> str:
    """Name of a coadd file in its brick's folder."""
    return f"legacysurvey-{brick}-{kind}-{band}.fits.fz" if band else f"legacysurvey-{brick}-{kind}.fits.fz"


@dataclass(frozen=True)
class Windows:
    """Windows of one brick: lower-left corners, sub-pixel offsets of the sources, and the size."""

    x0: NDArray[np.int64]
    y0: NDArray[np.int64]
    x_offset_px: Floats
    y_offset_px: Floats
    size: int

    @classmethod
    def around(cls, projection: Tan, ra_deg: Floats, dec_deg: Floats, size: int) -> Windows:
        """Windows whose central pixel contains the source; offsets are source minus centre of that pixel (pixels)."""
        x, y = (np.clip(place, -_FAR_PX, _FAR_PX) for place in projection.pixels(ra_deg, dec_deg))
        column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
        return cls(column - size // 2, row - size // 2, x - column, y - row, size)

    def inside(self, shape: tuple[int, ...]) -> Flags:
        """Whether each window is completely inside an image (y, x)."""
        top, right = self.y0 + self.size, self.x0 + self.size
        found: Flags = (self.x0 >= 0) & (self.y0 >= 0) & (right <= shape[1]) & (top <= shape[0])
        return found


@dataclass(frozen=True)
class Grid:
    """Shape (y, x) and projection that all files of a brick must share."""

    shape: tuple[int, int]
    projection: Tan

    @classmethod
    def of(cls, image: fits.CompImageHDU | fits.ImageHDU, name: str) -> Grid:
        return cls(image.shape, Tan.of(image.header, name))

    def check(self, image: fits.CompImageHDU | fits.ImageHDU, name: str) -> None:
        """Refuse an image whose shape or projection differs from this grid's."""
        if image.shape != self.shape:
            raise DataError(f"{name}: the image must be {self.shape}, like the brick's r image, got {image.shape}")
        apart = self.projection.apart_px(Tan.of(image.header, name), max(self.shape))
        if not apart <= _GRID_TOLERANCE_PX:
            raise DataError(
                f"{name}: the pixel grid must be that of the brick's r image, but is off by up to {apart:.3g} px"
            )


@contextmanager
def opened(folder: str, name: str, unit: str) -> Iterator[fits.CompImageHDU | fits.ImageHDU]:
    """The image of a coadd file; one that is missing, unreadable or in another unit is an error that names it."""
    place = storage.below(folder, name)
    if not storage.exists(place):
        raise DataError(f"{name} is missing")
    with fitslayout.opened(place, f"{name} cannot be read") as hdus:
        image = next((hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 2), None)
        if image is None:
            raise DataError(f"{name} contains no image")
        if problem := unit_fault(name, str(image.header.get("BUNIT", "")), unit):
            raise DataError(problem)
        yield image


def cut(pixels: Any, windows: Windows, keep: Flags) -> NDArray[np.float32]:
    """Windows (n, y, x) of an image (its array, or astropy's section) in its own values, where ``keep``."""
    out = np.empty((int(keep.sum()), windows.size, windows.size), dtype=np.float32)
    corners = zip(windows.x0[keep].tolist(), windows.y0[keep].tolist(), strict=True)
    for row, (x, y) in enumerate(corners):
        out[row] = pixels[y : y + windows.size, x : x + windows.size]
    return out


class Images:
    """The files of a brick while ``count`` windows of ``size`` pixels are cut from them, some at a time: the images are
    kept where the windows cover a good part of them.
    """

    def __init__(self, survey: str, brick: str, count: int, size: int) -> None:
        self.folder, self.brick, self.size = brick_folder(survey, brick), brick, size
        self._asked = count * size**2
        self.held: dict[str, NDArray[np.generic]] = {}

    @cached_property
    def grid(self) -> Grid:
        """That of the brick's r image, which the other files must share."""
        reference = coadd_name(self.brick, "image", "r")
        with opened(self.folder, reference, "nMgy") as image:
            return Grid.of(image, reference)

    def pixels(self, image: fits.CompImageHDU | fits.ImageHDU, name: str) -> Any:
        """The image's array, kept, or its section where only a small part is asked for."""
        if self._asked < _SECTION_SHARE * image.shape[0] * image.shape[1]:
            return image.section
        self.held[name] = image.data
        return self.held[name]


@dataclass(frozen=True)
class BrickStamps:
    """Windows of a brick, those that its coadds contain completely, and the stamps, masks and conditions of these.

    stamps : (n, band, y, x) in nMgy, NaN where there is no data; masked : (n, y, x), whether excluded bits are set,
    None without a mask file; psfsize, psfdepth : (n, band) in the catalogue's meaning and units, NaN where they are not
    asked for or the survey has no such coadds.
    """

    windows: Windows
    inside: Flags
    stamps: NDArray[np.float32]
    masked: Flags | None
    psfsize: Floats
    psfdepth: Floats


@dataclass(frozen=True)
class _Brick:
    """Reads windows of the files of one brick, which must share the grid of its r image."""

    windows: Windows
    inside: Flags
    images: Images

    def read(
        self, kind: str, band: str | None, unit: str, windows: Windows | None = None, keep: Flags | None = None
    ) -> NDArray[np.float32] | None:
        """Windows of one file (by default its stamps'); None where the brick has none of this kind."""
        images, name = self.images, coadd_name(self.images.brick, kind, band)
        windows, keep = windows or self.windows, self.inside if keep is None else keep
        if name in images.held:
            return cut(images.held[name], windows, keep)
        if kind != "image" and not storage.exists(storage.below(images.folder, name)):
            return None
        with opened(images.folder, name, unit) as image:
            images.grid.check(image, name)
            return cut(images.pixels(image, name), windows, keep)

    def psfsize(self, band: str, wanted: Flags) -> Floats:
        """PSF size (n,) at the sources, of those ``wanted``, from the brick's map."""
        found = np.full(int(self.inside.sum()), np.nan)
        half = self.windows.size // 2
        centres = replace(self.windows, x0=self.windows.x0 + half, y0=self.windows.y0 + half, size=1)
        values = self.read("psfsize", band, "arcsec", centres, self.inside & wanted) if wanted.any() else None
        if values is not None:
            found[wanted[self.inside]] = np.where(values > 0, values, np.nan)[:, 0, 0]
        return found


def brick_stamps(
    survey: str,
    brick: str,
    ra_deg: Floats,
    dec_deg: Floats,
    size: int,
    maskbits: tuple[int, ...],
    lacking: Flags | None = None,
) -> BrickStamps:
    """Stamps of one brick, all at once; see :func:`cut_stamps`."""
    return cut_stamps(Images(survey, brick, len(ra_deg), size), ra_deg, dec_deg, maskbits, lacking)


def cut_stamps(
    images: Images, ra_deg: Floats, dec_deg: Floats, maskbits: tuple[int, ...], lacking: Flags | None = None
) -> BrickStamps:
    """Stamps of one brick, at some positions.

    ``lacking`` marks sources whose seeing and depth are to be taken from the coadds.
    """
    size, grid = images.size, images.grid
    windows = Windows.around(grid.projection, ra_deg, dec_deg, size)
    inside = windows.inside(grid.shape)
    files = _Brick(windows, inside, images)
    bits = files.read("maskbits", None, "")
    if bits is not None and not np.isfinite(bits).all():
        raise DataError(f"{coadd_name(images.brick, 'maskbits', None)} holds values that are not mask bits")
    flags = None if bits is None else bits.astype(np.int64)
    asked = np.zeros(len(inside), dtype=bool) if lacking is None else lacking
    stamps = np.empty((int(inside.sum()), len(BANDS), size, size), dtype=np.float32)
    psfsize, psfdepth = np.full((2, len(stamps), len(BANDS)), np.nan)
    for place, band in enumerate(BANDS):
        stamps[:, place] = files.read("image", band, "nMgy")
        invvar = files.read("invvar", band, "nMgy^-2")
        np.copyto(stamps[:, place], np.nan, where=_without_data(stamps[:, place], invvar, flags, band))
        psfsize[:, place] = files.psfsize(band, asked)
        if invvar is not None:
            psfdepth[:, place] = _depth(invvar, psfsize[:, place])
    masked = None if flags is None else (flags & sum(1 << bit for bit in maskbits)) != 0
    return BrickStamps(windows, inside, stamps, masked, psfsize, psfdepth)


def _without_data(
    image: NDArray[np.float32], invvar: NDArray[np.float32] | None, flags: NDArray[np.int64] | None, band: str
) -> Flags:
    """Pixels of one band without data. Coadds hold 0 or a patched value there, and no inverse variance; without a map
    of it the mask tells where every exposure is bad, and zeros tell the rest.
    """
    if invvar is not None:
        return ~(invvar > 0)
    gone: Flags = image == 0
    if flags is not None:
        gone |= (flags & (1 << MASKBITS[f"ALLMASK_{band.upper()}"])) != 0
    return gone


def _depth(invvar: NDArray[np.float32], psfsize_arcsec: Floats) -> Floats:
    """``psfdepth`` (n,) of the pixels next to each source: their inverse variance over the PSF's noise area."""
    middle, reach = invvar.shape[-1] // 2, _DEPTH_REACH_PX
    near = invvar[:, middle - reach : middle + reach + 1, middle - reach : middle + reach + 1].reshape(len(invvar), -1)
    found = np.full(len(invvar), np.nan)
    for row in np.flatnonzero(np.isfinite(psfsize_arcsec)):
        known = near[row][near[row] > 0]
        if known.size:
            sigma = 1.0 / np.sqrt(np.median(known))
            found[row] = psfdepth_from_sigma(sigma, psfsize_arcsec[row], PIXEL_SCALE_ARCSEC)
    return found
