"""Brick coadds: which brick holds a window, and windows of whole pixels from its tile-compressed images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from etl.near import unit_vectors
from lake.errors import DataError
from lake.survey import BANDS, PIXEL_SCALE_ARCSEC, PIXEL_SCALE_TOLERANCE

Floats = NDArray[np.float64]
_NEIGHBOURS = 9
_SECTION_SHARE = 0.25
"""Windows that together cover less than this share of an image are read as sections, else the image as a whole."""


@dataclass(frozen=True)
class Bricks:
    """The survey's bricks: names and centres, as in ``survey-bricks.fits``."""

    name: NDArray[np.str_]
    ra_deg: Floats
    dec_deg: Floats

    @classmethod
    def read(cls, path: Path) -> Bricks:
        try:
            with fits.open(path) as hdus:
                table = {name.lower(): np.asarray(hdus[1].data[name]) for name in hdus[1].columns.names}
            return cls(np.char.strip(table["brickname"].astype(str)), table["ra"], table["dec"])
        except (OSError, KeyError, IndexError, TypeError) as error:
            raise DataError(f"{path} is no table of bricks (BRICKNAME, RA, DEC): {error}") from error


def tangent_pixels(bricks: Bricks, index: NDArray[np.intp], ra_deg: Floats, dec_deg: Floats, pixels: int) -> Floats:
    """Pixel coordinates (n, 2), x and y from 0, of positions in the TAN coadds of the bricks ``index``."""
    ra0, dec0 = np.deg2rad(bricks.ra_deg[index]), np.deg2rad(bricks.dec_deg[index])
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    cosine = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
    east = np.cos(dec) * np.sin(ra - ra0) / cosine
    north = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(ra - ra0)) / cosine
    scale = 180 * 3600 / np.pi / PIXEL_SCALE_ARCSEC
    middle = (pixels - 1) / 2
    where = np.stack([middle - east * scale, middle + north * scale], axis=-1)
    where[cosine <= 0] = np.inf
    return where


def holding_brick(
    bricks: Bricks, own: NDArray[np.str_], ra_deg: Floats, dec_deg: Floats, stamp_pixels: int, coadd_pixels: int
) -> NDArray[np.str_]:
    """Name of the brick whose coadd holds the whole window round each position: the source's own where it does, else
    the nearest that does, else ''."""
    half = stamp_pixels // 2
    count = min(_NEIGHBOURS, len(bricks.name))
    _, near = cKDTree(unit_vectors(bricks.ra_deg, bricks.dec_deg)).query(unit_vectors(ra_deg, dec_deg), k=count)
    near = near.reshape(len(ra_deg), count)
    chosen = np.full(len(ra_deg), "", dtype=bricks.name.dtype)
    for mine_only in (True, False):
        for rank in range(count):
            index = near[:, rank]
            centre = np.rint(tangent_pixels(bricks, index, ra_deg, dec_deg, coadd_pixels))
            inside = ((centre >= half) & (centre <= coadd_pixels - 1 - half)).all(axis=1)
            use = (chosen == "") & inside & ((bricks.name[index] == own) | (not mine_only))
            chosen[use] = bricks.name[index][use]
    return chosen


def coadd_path(survey: Path, brick: str, kind: str, band: str | None) -> Path:
    """Place of a coadd file below the survey folder."""
    suffix = f"{kind}-{band}" if band else kind
    return survey / "coadds" / brick[:3] / brick / f"legacysurvey-{brick}-{suffix}.fits.fz"


@dataclass(frozen=True)
class Windows:
    """Windows of one brick: lower-left corners, sub-pixel offsets of the sources, and the size."""

    x0: NDArray[np.int64]
    y0: NDArray[np.int64]
    x_offset_px: Floats
    y_offset_px: Floats
    size: int

    @classmethod
    def around(cls, wcs: WCS, ra_deg: Floats, dec_deg: Floats, size: int) -> Windows:
        """Windows whose centre pixel holds the source; the offset is the source minus the centre of that pixel."""
        x, y = wcs.all_world2pix(ra_deg, dec_deg, 0)
        column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
        return cls(column - size // 2, row - size // 2, x - column, y - row, size)

    def inside(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Whether each window lies whole in an image (y, x)."""
        top, right = self.y0 + self.size, self.x0 + self.size
        found: NDArray[np.bool_] = (self.x0 >= 0) & (self.y0 >= 0) & (right <= shape[1]) & (top <= shape[0])
        return found


@dataclass(frozen=True)
class Grid:
    """Shape (y, x) and projection of a coadd."""

    shape: tuple[int, int]
    wcs: WCS


def grid(path: Path) -> Grid:
    """Shape and projection of a coadd; another pixel scale than the survey's is an error."""
    with _opened(path) as hdus:
        header = _image(hdus, path).header
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            wcs = WCS(header)
        scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600)
        if abs(scale / PIXEL_SCALE_ARCSEC - 1) > PIXEL_SCALE_TOLERANCE:
            raise DataError(f"{path.name}: the pixel scale must be {PIXEL_SCALE_ARCSEC} arcsec, got {scale:.4f}")
        return Grid((int(header["NAXIS2"]), int(header["NAXIS1"])), wcs)


def cut(path: Path, windows: Windows, keep: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Windows (n, y, x) of an image in its own values, where ``keep``; an image of another shape is an error."""
    out = np.full((int(keep.sum()), windows.size, windows.size), np.nan, dtype=np.float32)
    with _opened(path) as hdus:
        image = _image(hdus, path)
        if image.shape != shape:
            raise DataError(f"{path.name}: the image must be {shape}, as the brick's r band, got {image.shape}")
        part = len(out) * windows.size**2 < _SECTION_SHARE * shape[0] * shape[1]
        try:
            pixels = image.section if part else image.data
            for row, place in enumerate(np.flatnonzero(keep)):
                x, y = int(windows.x0[place]), int(windows.y0[place])
                out[row] = pixels[y : y + windows.size, x : x + windows.size]
        except (OSError, ValueError, TypeError, IndexError, KeyError) as error:
            raise DataError(f"{path.name} cannot be read: {error}") from error
    return out


def _opened(path: Path) -> fits.HDUList:
    if not path.exists():
        raise DataError(f"{path.name} is missing")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)
            return fits.open(path, memmap=False, lazy_load_hdus=False)
    except (OSError, ValueError, TypeError, KeyError, AstropyWarning) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from error


def _image(hdus: fits.HDUList, path: Path) -> fits.CompImageHDU | fits.ImageHDU:
    for hdu in hdus:
        if hdu.header.get("NAXIS") == 2 and hdu.is_image:
            return hdu
    raise DataError(f"{path.name} holds no image")


def brick_stamps(
    survey: Path, brick: str, ra_deg: Floats, dec_deg: Floats, size: int
) -> tuple[Windows, NDArray[np.bool_], NDArray[np.float32]]:
    """Windows of a brick, which of them its coadds hold whole, and the stamps (n, band, y, x) of those, in nMgy."""
    found = grid(coadd_path(survey, brick, "image", "r"))
    windows = Windows.around(found.wcs, ra_deg, dec_deg, size)
    keep = windows.inside(found.shape)
    bands = [cut(coadd_path(survey, brick, "image", band), windows, keep, found.shape) for band in BANDS]
    return windows, keep, np.stack(bands, axis=1)


def brick_masks(
    survey: Path, brick: str, windows: Windows, keep: NDArray[np.bool_], bits: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    """Where excluded mask bits are set (n, y, x), or None where the brick has no mask file."""
    path = coadd_path(survey, brick, "maskbits", None)
    if not path.exists():
        return None
    with _opened(path) as hdus:
        shape = _image(hdus, path).shape
    values = cut(path, windows, keep, shape).astype(np.int64)
    found: NDArray[np.bool_] = (values & sum(1 << bit for bit in bits)) != 0
    return found
