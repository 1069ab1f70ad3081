"""PSF and noise of hosts, read from the columns of their table that their imaging declares."""

from __future__ import annotations

from math import isqrt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from injection.config import GridParams
from injection.optics.psf import BandPsf, Psf, exponents
from lake.errors import DataError
from lake.sky.imaging import ImagePsf, Imaging, ProfilePsf
from lake.sky.photometry import psfdepth_from_sigma, sigma_from_psfdepth

Array = NDArray[np.float64]


def floats(table: pa.Table, name: str) -> Array:
    """A column as float64; NaN where it is null or missing."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = pc.fill_null(table.column(name).cast(pa.float64()), float("nan"))
    return np.asarray(column.to_numpy(), dtype=np.float64)


def usable(table: pa.Table, imaging: Imaging) -> NDArray[np.bool_]:
    """Rows with known PSF and noise in the reference band, and in every band whose width no ratio can give."""
    reference = imaging.reference
    psfs = imaging.psf_columns if imaging.width_ratios is None else imaging.psf_columns[reference : reference + 1]
    needed = (*psfs, imaging.noise_columns[reference])
    if missing := {"galaxy_id", *needed} - set(table.column_names):
        raise DataError(f"host table lacks {', '.join(sorted(missing))}")
    return np.logical_and.reduce([_known(table, name) for name in needed])


def _known(table: pa.Table, name: str) -> NDArray[np.bool_]:
    column = table.column(name)
    return np.asarray(column.is_valid() if pa.types.is_nested(column.type) else floats(table, name) > 0)


def widths(table: pa.Table, imaging: Imaging) -> Array:
    """``fwhm_nea`` (host, band) of usable hosts: the band's own, or that of the reference band times the ratio."""
    found = np.stack([_width(table, imaging, band) for band in range(len(imaging.bands))], axis=1)
    if imaging.width_ratios is None:
        return found
    return np.where(found > 0, found, found[:, imaging.reference, None] * np.array(imaging.width_ratios))


def _width(table: pa.Table, imaging: Imaging, band: int) -> Array:
    declared = imaging.psf[band]
    if declared.kind == "fwhm_nea":
        return floats(table, imaging.psf_columns[band])
    return _known_psf(table, imaging, declared, band).fwhm_nea_arcsec


def _known_psf(table: pa.Table, imaging: Imaging, declared: ImagePsf | ProfilePsf, band: int) -> BandPsf:
    """PSFs of one band that are images or of a named profile."""
    column, scale = imaging.psf_columns[band], imaging.pixel_scale_arcsec
    if declared.kind == "image":
        images = table.column(column).combine_chunks()
        pixels = np.asarray(images.flatten(), dtype=np.float64)
        side = isqrt(len(pixels) // len(images)) if len(images) else 1
        if (np.asarray(pc.list_value_length(images)) != side**2).any():
            raise DataError(f"'{column}' must be square images of one size, each as one list")
        return BandPsf.of_image(pixels.reshape(-1, side, side), declared.includes_pixel, scale)
    beta = np.inf if declared.beta is None else declared.beta
    return BandPsf.of_width(floats(table, column), beta, declared.includes_pixel, scale)


def assumed_exponents(imaging: Imaging, grid: GridParams) -> list[float]:
    """Exponents of the grid's profile in each band; infinite for a Gaussian, and if no profile is to be assumed."""
    if grid.psf_model == "gaussian" or all(psf.kind != "fwhm_nea" for psf in imaging.psf):
        return exponents(np.inf, imaging)
    return exponents(grid.psf_moffat_beta, imaging)


def psf_of(table: pa.Table, imaging: Imaging, fwhm_nea_arcsec: Array, grid: GridParams) -> Psf:
    """PSFs of hosts with their :func:`widths`; the grid's profile in bands of which only the width is known."""
    betas, scale = assumed_exponents(imaging, grid), imaging.pixel_scale_arcsec
    bands = (
        BandPsf.of_area(fwhm_nea_arcsec[:, band].copy(), betas[band], grid.psf_includes_pixel, scale)
        if declared.kind == "fwhm_nea"
        else _known_psf(table, imaging, declared, band)
        for band, declared in enumerate(imaging.psf)
    )
    return Psf(imaging, tuple(bands))


def noise(table: pa.Table, imaging: Imaging, fwhm_nea_arcsec: Array) -> tuple[Array, Array]:
    """Standard deviation of a pixel (nMgy) and ``psfdepth`` (nMgy^-2), both (host, band); NaN where unknown.

    The pixel is that of the imaging, or of the column ``pixel_scale_arcsec``.
    """
    known = np.stack([floats(table, name) for name in imaging.noise_columns], axis=1)
    scale = np.nan_to_num(floats(table, "pixel_scale_arcsec"), nan=imaging.pixel_scale_arcsec)[:, None]
    if imaging.noise == "psfdepth":
        return sigma_from_psfdepth(known, fwhm_nea_arcsec, scale), known
    return known, psfdepth_from_sigma(known, fwhm_nea_arcsec, scale)
