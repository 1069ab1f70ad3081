"""Brick coadds: windows of whole pixels from tile-compressed images."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etl.cutouts import rice
from etl.cutouts.bricks import Tan
from etl.cutouts.tiles import Image, Memory, TiledImage, Tiles, tiled_or_not
from lake.errors import DataError
from lake.files import fitslayout, storage
from lake.files.fitsheader import unit_fault
from lake.sky.photometry import psfdepth_from_sigma
from lake.sky.survey import BANDS, MASKBITS, PIXEL_SCALE_ARCSEC

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_SECTION_SHARE = 0.25
"""Windows that together cover less than this share of an image are read as sections, else the image as a whole."""
_AT_A_TIME = 16
"""Windows cut at a time: few enough for the processor's cache."""
_NEAR_PX = 100
"""Side of a square: windows whose corners lie in the same square are cut one after another."""

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

    def where(self, keep: Flags) -> Windows:
        """Some of the windows."""
        corners, offsets = (self.x0[keep], self.y0[keep]), (self.x_offset_px[keep], self.y_offset_px[keep])
        return Windows(*corners, *offsets, self.size)

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
    def of(cls, image: Image, name: str) -> Grid:
        return cls(image.shape, Tan.of(image.header, name))

    def check(self, image: Image, name: str) -> None:
        """Refuse an image whose shape or projection differs from this grid's."""
        if image.shape != self.shape:
            raise DataError(f"{name}: the image must be {self.shape}, like the brick's r image, got {image.shape}")
        apart = self.projection.apart_px(Tan.of(image.header, name), max(self.shape))
        if not apart <= _GRID_TOLERANCE_PX:
            raise DataError(
                f"{name}: the pixel grid must be that of the brick's r image, but is off by up to {apart:.3g} px"
            )


@contextmanager
def opened(folder: str, name: str, unit: str) -> Iterator[Image]:
    """The image of a coadd file; one that is missing, unreadable or in another unit is an error that names it."""
    place = storage.below(folder, name)
    if not storage.exists(place):
        raise DataError(f"{name} is missing")
    with fitslayout.located(place, f"{name} cannot be read") as (file, units), ExitStack() as held:
        with _faults_of(name):
            image = held.enter_context(tiled_or_not(file, units))
        if image is None:
            raise DataError(f"{name} contains no image")
        if problem := unit_fault(name, str(image.header.get("BUNIT", "")), unit):
            raise DataError(problem)
        yield image


@contextmanager
def _faults_of(name: str) -> Iterator[None]:
    """Faults that the decoder finds, with the file's name."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name} cannot be read: {error}") from error


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

    folder: str
    brick: str
    grid: Grid
    windows: Windows
    """Those inside the coadd."""
    memory: BrickReader

    def each(
        self, kind: str, band: str | None, unit: str, windows: Windows | None = None
    ) -> Generator[Some, None, None]:
        """Windows (by default the stamps') of one file, some at a time, in an order that does not depend on the file:
        their places, and their pixels (n, y, x) in memory that the next ones use again; none where the brick has no
        file of this kind.
        """
        windows, name = windows or self.windows, coadd_name(self.brick, kind, band)
        memory = self.memory.weights if kind == "invvar" else self.memory.files
        if kind != "image" and not storage.exists(storage.below(self.folder, name)):
            return
        with opened(self.folder, name, unit) as image:
            self.grid.check(image, name)
            with _faults_of(name):
                pixels = self._pixels(image, windows, memory)
            out = np.empty((_AT_A_TIME, windows.size, windows.size), dtype=np.float32)
            order = np.lexsort((windows.x0 // _NEAR_PX, windows.y0 // _NEAR_PX))
            for start in range(0, len(order), _AT_A_TIME):
                some = order[start : start + _AT_A_TIME]
                _cut(pixels, windows.x0[some], windows.y0[some], out[: len(some)])
                yield some, out[: len(some)]

    def _pixels(self, image: Image, windows: Windows, memory: Memory[np.float32]) -> Any:
        """The image's pixels, or only those under the windows if these are a small part of it."""
        part = len(windows.x0) * windows.size**2 < _SECTION_SHARE * image.shape[0] * image.shape[1]
        if not isinstance(image, TiledImage):
            return image.section if part else image.data
        if not part:
            return image.all(memory)
        return image.under(windows.x0, windows.y0, windows.size, memory)

    def psfsize(self, band: str, wanted: Flags) -> Floats:
        """PSF size (n,) at the sources, of those ``wanted``, from the brick's map."""
        found, half = np.full(len(wanted), np.nan), self.windows.size // 2
        corners = {name: getattr(self.windows, name)[wanted] + half for name in ("x0", "y0")}
        place = np.flatnonzero(wanted)
        if len(place):
            for some, values in self.each("psfsize", band, "arcsec", replace(self.windows, **corners, size=1)):
                found[place[some]] = np.where(values > 0, values, np.nan)[:, 0, 0]
        return found

    def stamps(self, band: str, stamps: NDArray[np.float32], psfsize: Floats) -> Floats:
        """Write one band of stamps (n, band, y, x), NaN where there is no data; ``psfdepth`` (n,) at the sources."""
        place, depth, weighted = BANDS.index(band), np.full(len(stamps), np.nan), False
        with closing(self.each("invvar", band, "nMgy^-2")) as weights:
            for some, pixels in self.each("image", band, "nMgy"):
                for same, invvar in islice(weights, 1):
                    rice.weighted(pixels, invvar, stamps, same, place)
                    depth[same], weighted = _depth(invvar, psfsize[same]), True
                if not weighted:
                    stamps[some, place] = pixels
        if not weighted:
            self._without_weights(band, stamps[:, place])
        return depth

    def _without_weights(self, band: str, out: NDArray[np.float32]) -> None:
        """Mark pixels without data where there is no map of inverse variance: coadds hold 0 there, or the mask tells
        that every exposure is bad.
        """
        out[out == 0] = np.nan
        for some, flags in self.each("maskbits", None, ""):
            bad = (flags.astype(np.int64) & (1 << MASKBITS[f"ALLMASK_{band.upper()}"])) != 0
            _erase(out, some, bad)

    def masked(self, maskbits: tuple[int, ...]) -> Flags | None:
        """Whether excluded bits are set (n, y, x); None without a mask file."""
        found, bits = None, sum(1 << bit for bit in maskbits)
        for some, flags in self.each("maskbits", None, ""):
            if not np.isfinite(flags).all():
                raise DataError(f"{coadd_name(self.brick, 'maskbits', None)} holds values that are not mask bits")
            if found is None:
                found = self.memory.masked.array(len(self.windows.x0), *flags.shape[1:])
            rice.flagged(flags, bits, found, some)
        return found


Some = tuple[NDArray[np.intp], NDArray[np.float32]]


def _erase(stamps: NDArray[np.float32], some: NDArray[np.intp], where: Flags) -> None:
    """Set pixels of some stamps to NaN."""
    for place in np.flatnonzero(where.any(axis=(1, 2))):
        stamps[some[place]][where[place]] = np.nan


def _cut(pixels: Any, x0: NDArray[np.int64], y0: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    """Windows (n, y, x) of an image (its tiles, array or section) with these lower-left corners."""
    if isinstance(pixels, Tiles):
        pixels.windows(x0, y0, out)
        return
    for row, (x, y) in enumerate(zip(x0.tolist(), y0.tolist(), strict=True)):
        out[row] = pixels[y : y + out.shape[1], x : x + out.shape[1]]


class BrickReader:
    """Stamps of one brick after another, in memory that the next brick uses again."""

    def __init__(self) -> None:
        self.files, self.weights, self.pixels = Memory(np.float32), Memory(np.float32), Memory(np.float32)
        self.masked = Memory(np.bool_)

    def stamps(
        self,
        survey: str,
        brick: str,
        ra_deg: Floats,
        dec_deg: Floats,
        size: int,
        maskbits: tuple[int, ...],
        lacking: Flags | None = None,
    ) -> BrickStamps:
        """Stamps of one brick, at some positions, valid until the next. Each of its files is read once.

        ``lacking`` marks sources whose seeing and depth are to be taken from the coadds.
        """
        folder, reference = brick_folder(survey, brick), coadd_name(brick, "image", "r")
        with opened(folder, reference, "nMgy") as image:
            grid = Grid.of(image, reference)
        windows = Windows.around(grid.projection, ra_deg, dec_deg, size)
        inside = windows.inside(grid.shape)
        files = _Brick(folder, brick, grid, windows.where(inside), self)
        asked = np.zeros(int(inside.sum()), dtype=bool) if lacking is None else lacking[inside]
        stamps = self.pixels.array(len(asked), len(BANDS), size, size)
        psfsize, psfdepth = np.full((2, len(asked), len(BANDS)), np.nan)
        masked = files.masked(maskbits)
        for place, band in enumerate(BANDS):
            psfsize[:, place] = files.psfsize(band, asked)
            psfdepth[:, place] = files.stamps(band, stamps, psfsize[:, place])
        return BrickStamps(windows, inside, stamps, masked, psfsize, psfdepth)


def _depth(invvar: NDArray[np.float32], psfsize_arcsec: Floats) -> Floats:
    """``psfdepth`` (n,) of the pixels next to each source: their inverse variance over the PSF's noise area."""
    middle, reach = invvar.shape[-1] // 2, _DEPTH_REACH_PX
    near = invvar[:, middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    found = np.full(len(invvar), np.nan)
    for row in np.flatnonzero(np.isfinite(psfsize_arcsec)):
        known = near[row][near[row] > 0]
        if known.size:
            sigma = 1.0 / np.sqrt(np.median(known))
            found[row] = psfdepth_from_sigma(sigma, psfsize_arcsec[row], PIXEL_SCALE_ARCSEC)
    return found
