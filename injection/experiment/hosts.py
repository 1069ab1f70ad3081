"""Hosts of a grid: whose own PSF and depth fall into a cell, in keyed-hash order, and what their PSF is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from injection.config import GridParams
from injection.engine.render import Images
from injection.experiment.conditioning import catalogue_shapes
from injection.optics.psf import Psf, fwhm_nea_per_band
from lake.errors import DataError, invalid
from lake.sky.hashing import key_hash
from lake.sky.photometry import NANOMAGGY_MAG, depth_mag_from_psfdepth
from lake.sky.psfsize import sigma_from_psfdepth
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC, PIXEL_SCALE_TOLERANCE

Array = NDArray[np.float64]

EARLY_TYPES = ("DEV", "SER")
"""Tractor types of the LRG-like hosts of IM2."""


class Hosts:
    """Candidate hosts: a table with ``galaxy_id``, ``psfsize_r``, ``psfdepth_r``, and those of g and z if known.

    ``pixel_scale_arcsec`` is the survey's where the table has no such column. IM2 takes early types only and
    needs ``type`` (or ``type_bin``), ``shape_e1`` and ``shape_e2``. Rows without a PSF or depth in r, and for IM2
    without a shape, cannot be hosts and are left out.
    """

    def __init__(self, table: pa.Table, host_model: str) -> None:
        missing = {"galaxy_id", "psfsize_r", "psfdepth_r"} - set(table.column_names)
        if missing:
            raise DataError(f"host table lacks {', '.join(sorted(missing))}")
        if host_model == "IM2":
            table = _shaped(table.filter(_early(table)))
        table = table.sort_by("galaxy_id").combine_chunks()
        usable = (_floats(table, "psfsize_r") > 0) & (_floats(table, "psfdepth_r") > 0)
        self.table = table.filter(pa.array(usable))
        self.ids = self.table.column("galaxy_id").combine_chunks()
        self.psfdepth = np.stack([_floats(self.table, f"psfdepth_{band}") for band in BANDS], axis=1)
        self.depth_mag = depth_mag_from_psfdepth(self.psfdepth[:, BANDS.index("r")])
        self.fwhm_nea_arcsec = _fwhm_nea(self.table)
        scale = np.nan_to_num(_floats(self.table, "pixel_scale_arcsec"), nan=PIXEL_SCALE_ARCSEC)[:, None]
        self.pixel_sigma_nmgy = sigma_from_psfdepth(self.psfdepth, self.fwhm_nea_arcsec, scale)
        self._row = {galaxy_id: row for row, galaxy_id in enumerate(self.ids.to_pylist())}
        if len(self._row) != len(self.ids):
            raise DataError("host table has duplicated galaxy_id")

    def rows_of(self, galaxy_ids: Sequence[str]) -> NDArray[np.int64]:
        """Rows of hosts by their identifiers."""
        try:
            return np.array([self._row[galaxy_id] for galaxy_id in galaxy_ids], dtype=np.int64)
        except KeyError as error:
            raise DataError(f"host {error.args[0]} is not in the host table") from error

    def shapes(self, rows: NDArray[np.int64]) -> tuple[Array, Array]:
        """Axis ratio and position angle of some hosts in their stamps' frame, from the catalogue; NaN if unknown."""
        return catalogue_shapes(*(_floats(self.table, f"shape_e{k}")[rows] for k in (1, 2)))

    def psf(self, rows: NDArray[np.int64], grid: GridParams) -> Psf:
        """PSFs of some hosts: the grid's profile with the noise-equivalent area of their psfsize."""
        width = self.fwhm_nea_arcsec[rows]
        return Psf.of_area(grid.psf_model, width, grid.psf_moffat_beta, grid.psf_includes_pixel)

    def conditions(self, names: Sequence[str], rows: NDArray[np.int64]) -> Array:
        """Observing conditions (row, name) of some hosts, as the host table has them; NaN where it has none."""
        return np.stack([_floats(self.table, name)[rows] for name in names], axis=1)

    def cell(self, psf_edges: tuple[float, float], depth_edges: tuple[float, float]) -> NDArray[np.int64]:
        """Rows of hosts whose psfsize and depth in r lie in [low, high)."""
        psf, depth = self.fwhm_nea_arcsec[:, BANDS.index("r")], self.depth_mag
        inside = (psf >= psf_edges[0]) & (psf < psf_edges[1]) & (depth >= depth_edges[0]) & (depth < depth_edges[1])
        return np.flatnonzero(inside)

    def ordered(self, rows: NDArray[np.int64], seed: int, cell: str) -> NDArray[np.int64]:
        """Rows in the keyed-hash order of one cell: any subset of hosts keeps its order."""
        keys = pc.binary_join_element_wise(self.ids.take(pa.array(rows)), pa.scalar(cell), pa.scalar("|"))
        return rows[np.argsort(key_hash(seed, keys), kind="stable")]


def check_pixel_scale(pixel_scale_arcsec: float) -> None:
    """Refuse stamps whose pixel scale differs from the survey's by more than the tolerance."""
    if not abs(pixel_scale_arcsec / PIXEL_SCALE_ARCSEC - 1.0) <= PIXEL_SCALE_TOLERANCE:
        raise invalid("pixel_scale_arcsec", f"within 1 % of {PIXEL_SCALE_ARCSEC}", pixel_scale_arcsec)


def to_nanomaggies(stamps: Images, zero_point_mag: float, pixel_scale_arcsec: float) -> Images:
    """Stamps of another survey, declared by zero point and pixel scale, in nanomaggies.

    Only a pixel scale within 1 % of the survey's is taken (DES: 0.263); pixels are not resampled.
    """
    check_pixel_scale(pixel_scale_arcsec)
    return (stamps * 10.0 ** (0.4 * (NANOMAGGY_MAG - zero_point_mag))).astype(np.float32)


def _floats(table: pa.Table, name: str) -> Array:
    """A column; NaN where there is none."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = pc.fill_null(table.column(name).cast(pa.float64()), float("nan"))
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _fwhm_nea(table: pa.Table) -> Array:
    """psfsize (host, band): each band's own if given, else from r by the survey's ratio."""
    width = fwhm_nea_per_band(_floats(table, "psfsize_r"))
    for index, band in enumerate(BANDS):
        own = _floats(table, f"psfsize_{band}")
        width[:, index] = np.where(own > 0, own, width[:, index])
    return width


def _early(table: pa.Table) -> pa.Array:
    name = next((name for name in ("type_bin", "type") if name in table.column_names), None)
    if name is None:
        raise invalid("host_model", "IM1 if the host table has no column 'type'", "IM2")
    return pc.is_in(table.column(name), value_set=pa.array(EARLY_TYPES))


def _shaped(table: pa.Table) -> pa.Table:
    """Rows with a catalogue shape; moments of the pixels do not count, since seeing makes every galaxy rounder."""
    known = np.isfinite(catalogue_shapes(*(_floats(table, f"shape_e{k}") for k in (1, 2)))[0])
    if not known.any():
        raise invalid("host_model", "IM1 if no early-type host has a shape (columns 'shape_e1', 'shape_e2')", "IM2")
    return table.filter(pa.array(known))
