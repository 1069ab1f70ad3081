"""Brick coadds: windows of whole pixels from tile-compressed images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from etl import units
from lake.errors import DataError
from lake.survey import BANDS, PIXEL_SCALE_ARCSEC, PIXEL_SCALE_TOLERANCE

Floats = NDArray[np.float64]
_SECTION_SHARE = 0.25
"""Windows that together cover less than this share of an image are read as sections, else the image as a whole."""


def coadd_path(survey: Path, brick: str, kind: str, band: str | None) -> Path:
    """Place of a coadd file below the survey folder."""
    suffix = f"{kind}-{band}" if band else kind
    return survey / "coadds" / brick[:3] / brick / f"legacysurvey-{brick}-{suffix}.fits.fz"


@dataclass(frozen=True)
class Tan:
    """A gnomonic projection: reference position, its pixel (from 0), and pixels per degree of the tangent plane."""

    ra_deg: float
    dec_deg: float
    x: float
    y: float
    to_pixels: Floats

    @classmethod
    def of(cls, header: fits.Header, name: str) -> Tan:
        """Projection of a coadd's header; any but TAN at the survey's pixel scale is an error."""
        kinds = (header.get("CTYPE1"), header.get("CTYPE2"))
        if kinds != ("RA---TAN", "DEC--TAN"):
            raise DataError(f"{name}: the projection must be RA---TAN, DEC--TAN, got {kinds}")
        if "CD1_1" in header:
            matrix = [[float(header.get(f"CD{i}_{j}", 0.0)) for j in (1, 2)] for i in (1, 2)]
        else:
            matrix = [
                [float(header.get(f"PC{i}_{j}", float(i == j))) * float(header[f"CDELT{i}"]) for j in (1, 2)]
                for i in (1, 2)
            ]
        scale = float(np.sqrt(abs(np.linalg.det(matrix))) * 3600)
        if abs(scale / PIXEL_SCALE_ARCSEC - 1) > PIXEL_SCALE_TOLERANCE:
            raise DataError(f"{name}: the pixel scale must be {PIXEL_SCALE_ARCSEC} arcsec, got {scale:.4f}")
        reference = [float(header[key]) for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")]
        return cls(
            reference[0], reference[1], reference[2] - 1, reference[3] - 1, np.linalg.inv(np.array(matrix, np.float64))
        )

    def pixels(self, ra_deg: Floats, dec_deg: Floats) -> tuple[Floats, Floats]:
        """Pixel coordinates x, y (from 0) of positions."""
        east, north = tangent_plane(self.ra_deg, self.dec_deg, ra_deg, dec_deg)
        x, y = self.to_pixels @ np.rad2deg(np.stack([east, north]))
        return self.x + x, self.y + y


def tangent_plane(
    ra0_deg: float | Floats, dec0_deg: float | Floats, ra_deg: Floats, dec_deg: Floats
) -> tuple[Floats, Floats]:
    """Gnomonic coordinates (east, north; radians) of positions about centres; infinite beyond 90 degrees.

    Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3.
    """
    ra0, dec0, ra, dec = (np.deg2rad(v) for v in (ra0_deg, dec0_deg, ra_deg, dec_deg))
    cosine = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
    ahead = np.where(cosine > 0, cosine, np.nan)
    east = np.cos(dec) * np.sin(ra - ra0) / ahead
    north = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(ra - ra0)) / ahead
    return np.where(cosine > 0, east, np.inf), np.where(cosine > 0, north, np.inf)


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
        """Windows whose centre pixel holds the source; the offset is the source minus the centre of that pixel."""
        x, y = projection.pixels(ra_deg, dec_deg)
        column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
        return cls(column - size // 2, row - size // 2, x - column, y - row, size)

    def inside(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Whether each window lies whole in an image (y, x)."""
        top, right = self.y0 + self.size, self.x0 + self.size
        found: NDArray[np.bool_] = (self.x0 >= 0) & (self.y0 >= 0) & (right <= shape[1]) & (top <= shape[0])
        return found


@contextmanager
def opened(path: Path, unit: str) -> Iterator[fits.CompImageHDU | fits.ImageHDU]:
    """The image of a coadd file; one that is missing, unreadable or in another unit is an error that names it."""
    if not path.exists():
        raise DataError(f"{path.name} is missing")
    try:
        with fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
            images = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 2]
            if not images:
                raise DataError(f"{path.name} holds no image")
            problem = units.fault(path.name, str(images[0].header.get("BUNIT", "")), unit)
            if problem:
                raise DataError(problem)
            yield images[0]
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from error


def cut(image: fits.CompImageHDU | fits.ImageHDU, windows: Windows, keep: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Windows (n, y, x) of an image in its own values, where ``keep``."""
    out = np.empty((int(keep.sum()), windows.size, windows.size), dtype=np.float32)
    if not len(out):
        return out
    part = len(out) * windows.size**2 < _SECTION_SHARE * image.shape[0] * image.shape[1]
    pixels = image.section if part else image.data
    for row, place in enumerate(np.flatnonzero(keep)):
        x, y = int(windows.x0[place]), int(windows.y0[place])
        out[row] = pixels[y : y + windows.size, x : x + windows.size]
    return out


@dataclass(frozen=True)
class BrickStamps:
    """Windows of a brick, which of them its coadds hold whole, and of those the stamps and masks.

    stamps : (n, band, y, x) in nMgy; masked : (n, y, x), whether excluded bits are set, None without a mask file.
    """

    windows: Windows
    inside: NDArray[np.bool_]
    stamps: NDArray[np.float32]
    masked: NDArray[np.bool_] | None


def brick_stamps(
    survey: Path, brick: str, ra_deg: Floats, dec_deg: Floats, size: int, maskbits: tuple[int, ...]
) -> BrickStamps:
    """Stamps of one brick; the grid is that of its r image, which the other files must share."""
    reference = coadd_path(survey, brick, "image", "r")
    planes: dict[str, NDArray[np.float32]] = {}
    with opened(reference, "nMgy") as image:
        shape = image.shape
        windows = Windows.around(Tan.of(image.header, reference.name), ra_deg, dec_deg, size)
        inside = windows.inside(shape)
        planes["r"] = cut(image, windows, inside)
    for band in (band for band in BANDS if band != "r"):
        planes[band] = _same_grid(coadd_path(survey, brick, "image", band), "nMgy", shape, windows, inside)
    mask_path = coadd_path(survey, brick, "maskbits", None)
    masked = None
    if mask_path.exists():
        bits = _same_grid(mask_path, "", shape, windows, inside).astype(np.int64)
        masked = (bits & sum(1 << bit for bit in maskbits)) != 0
    return BrickStamps(windows, inside, np.stack([planes[band] for band in BANDS], axis=1), masked)


def _same_grid(
    path: Path, unit: str, shape: tuple[int, int], windows: Windows, inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    with opened(path, unit) as image:
        if image.shape != shape:
            raise DataError(f"{path.name}: the image must be {shape}, as the brick's r image, got {image.shape}")
        return cut(image, windows, inside)
