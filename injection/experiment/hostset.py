"""Host sets: what injections are made into, with its observing conditions and its pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from injection.config import GridParams
from injection.engine.render import Images
from injection.experiment.conditioning import catalogue_shapes
from injection.optics.noise import add_sky
from injection.optics.psf import Psf
from lake.errors import DataError, invalid
from lake.sky.hashing import key_hash
from lake.sky.imaging import Imaging
from lake.sky.photometry import depth_mag_from_psfdepth, flux_from_magnitude
from lake.sky.psfsize import sigma_from_psfdepth
from lake.sky.survey import SURVEY

Array = NDArray[np.float64]

EARLY_TYPES = ("DEV", "SER")
"""Tractor types of the LRG-like hosts of IM2."""
_BLANK_SKIES = 1000


LoadStamps = Callable[[Sequence[str]], Images]
"""Stamps (batch, band, y, x) nMgy of hosts by galaxy_id; masked pixels are NaN. May raise a DarkHaloError."""


@dataclass(frozen=True)
class Conditions:
    """Observing conditions of hosts that bring none of their own."""

    psf_fwhm_nea_arcsec: float
    """psfsize in r; g and z by the survey's ratios"""
    depth_mag: tuple[float, ...]
    """5-sigma point-source depth of blank sky in each band"""

    def __post_init__(self) -> None:
        if not 0.0 < self.psf_fwhm_nea_arcsec < np.inf:
            raise invalid("psf_fwhm_nea_arcsec", "positive", self.psf_fwhm_nea_arcsec)
        if not np.isfinite(self.depth_mag).all():
            raise invalid("depth_mag", "a finite magnitude in each band", self.depth_mag)


class HostSet:
    """Galaxies (or blank sky) to inject into: their observing conditions, and their stamps by identifier.

    ``imaging`` declares bands, pixels, PSF and noise. ``table`` has ``galaxy_id``, ``psfsize_<band>`` and
    ``psfdepth_<band>``, at least those of the reference band; a host's own ``pixel_scale_arcsec`` may differ a little
    from the declared one. Of a set for IM2 only early types are hosts, and the table needs ``type`` (or ``type_bin``),
    ``shape_e1`` and ``shape_e2``. Rows without a PSF or depth in the reference band, and for IM2 without a shape, are
    left out. ``stamp_pixels`` is the side of the stamps that ``load`` returns, ``name`` says in words what they are.
    """

    def __init__(
        self,
        name: str,
        table: pa.Table,
        load: LoadStamps,
        stamp_pixels: int,
        host_model: str,
        imaging: Imaging = SURVEY,
    ) -> None:
        reference = imaging.reference_band
        missing = {"galaxy_id", f"psfsize_{reference}", f"psfdepth_{reference}"} - set(table.column_names)
        if missing:
            raise DataError(f"host table lacks {', '.join(sorted(missing))}")
        if host_model == "IM2":
            table = _shaped(table.filter(_early(table)))
        table = table.sort_by("galaxy_id").combine_chunks()
        usable = (_floats(table, f"psfsize_{reference}") > 0) & (_floats(table, f"psfdepth_{reference}") > 0)
        self.name, self.load, self.stamp_pixels, self.imaging = name, load, stamp_pixels, imaging
        self.table = table.filter(pa.array(usable))
        self.ids = self.table.column("galaxy_id").combine_chunks()
        if not len(self.ids):
            raise DataError(f"no usable host among the {name}: each needs a PSF and a depth in {reference}")
        self.psfdepth = np.stack([_floats(self.table, f"psfdepth_{band}") for band in imaging.bands], axis=1)
        self.depth_mag = depth_mag_from_psfdepth(self.psfdepth[:, imaging.reference])
        self.fwhm_nea_arcsec = _fwhm_nea(self.table, imaging)
        scale = np.nan_to_num(_floats(self.table, "pixel_scale_arcsec"), nan=imaging.pixel_scale_arcsec)[:, None]
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
        """Rows of hosts whose psfsize and depth in the reference band lie in [low, high)."""
        psf, depth = self.fwhm_nea_arcsec[:, self.imaging.reference], self.depth_mag
        inside = (psf >= psf_edges[0]) & (psf < psf_edges[1]) & (depth >= depth_edges[0]) & (depth < depth_edges[1])
        return np.flatnonzero(inside)

    def choose(self, count: int, seed: int, purpose: str) -> list[str]:
        """``count`` galaxy_ids in keyed-hash order, round and round where there are fewer hosts."""
        order = self.ordered(np.arange(len(self.ids)), seed, purpose)
        return list(self.ids.take(pa.array(np.resize(order, count))).to_pylist())

    def ordered(self, rows: NDArray[np.int64], seed: int, cell: str) -> NDArray[np.int64]:
        """Rows in the keyed-hash order of one cell: any subset of hosts keeps its order."""
        keys = pc.binary_join_element_wise(self.ids.take(pa.array(rows)), pa.scalar(cell), pa.scalar("|"))
        return rows[np.argsort(key_hash(seed, keys), kind="stable")]


def in_memory(stamps: Images, galaxy_ids: Sequence[str]) -> LoadStamps:
    """Loads hosts from stamps (host, band, y, x) that are held in memory."""
    place = {galaxy_id: index for index, galaxy_id in enumerate(galaxy_ids)}
    return lambda wanted: stamps[[place[galaxy_id] for galaxy_id in wanted]]


def blank_sky(
    conditions: Conditions, stamp_pixels: int, host_model: str, seed: int, imaging: Imaging = SURVEY
) -> HostSet:
    """Sky without galaxies: Gaussian noise of each band's depth, one sky per identifier."""
    bands, ids = imaging.bands, [f"blank:{index:04d}" for index in range(_BLANK_SKIES)]
    if len(conditions.depth_mag) != len(bands):
        raise invalid("depth_mag", f"one per band ({', '.join(bands)})", conditions.depth_mag)
    width, depth = conditions.psf_fwhm_nea_arcsec, (5.0 / flux_from_magnitude(conditions.depth_mag)) ** 2
    columns = {"galaxy_id": ids, f"psfsize_{imaging.reference_band}": np.full(len(ids), width)}
    columns |= {f"psfdepth_{band}": np.full(len(ids), depth[index]) for index, band in enumerate(bands)}

    def load(galaxy_ids: Sequence[str]) -> Images:
        empty = np.zeros((len(galaxy_ids), len(bands), stamp_pixels, stamp_pixels), np.float32)
        sigma = np.repeat(hosts.pixel_sigma_nmgy[:1], len(galaxy_ids), axis=0)
        return add_sky(empty, sigma, seed, pa.array(galaxy_ids))

    depths = ", ".join(f"{band} {mag:g}" for band, mag in zip(bands, conditions.depth_mag, strict=True))
    name = f'blank sky, psfsize {width:g}", depth {depths}'
    hosts = HostSet(name, pa.table(columns), load, stamp_pixels, host_model, imaging)
    return hosts


def _floats(table: pa.Table, name: str) -> Array:
    """A column; NaN where there is none."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = pc.fill_null(table.column(name).cast(pa.float64()), float("nan"))
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _fwhm_nea(table: pa.Table, imaging: Imaging) -> Array:
    """psfsize (host, band): each band's own if given, else from the reference band's by the declared ratios."""
    ratios = np.full(len(imaging.bands), np.nan) if imaging.width_ratios is None else np.array(imaging.width_ratios)
    width = _floats(table, f"psfsize_{imaging.reference_band}")[:, None] * ratios
    for index, band in enumerate(imaging.bands):
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
