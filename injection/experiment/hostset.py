"""Host sets: the galaxies or blank sky to inject into, with their observing conditions and their pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from injection.config import GridParams, HostModel
from injection.engine.tracing import Images
from injection.experiment.conditioning import catalogue_shapes
from injection.optics import declared
from injection.optics.noise import add_sky
from injection.optics.psf import Psf
from lake.errors import DataError, invalid
from lake.sky.hashing import key_hash
from lake.sky.imaging import Imaging
from lake.sky.photometry import depth_mag_from_psfdepth, flux_from_magnitude
from lake.tables.injections import HOST_FACTS

Array = NDArray[np.float64]

EARLY_TYPES = ("DEV", "SER")
"""Tractor types of LRG-like hosts."""
_BLANK_SKIES = 1000


LoadStamps = Callable[[Sequence[str]], Images]
"""Stamps (batch, band, y, x) nMgy of hosts by galaxy_id; masked pixels are NaN. May raise a DarkHaloError."""


@dataclass(frozen=True)
class Conditions:
    """Observing conditions of hosts without any of their own."""

    psf_fwhm_nea_arcsec: float
    """psfsize in the reference band; other bands follow from the ratios of the imaging"""
    depth_mag: tuple[float, ...]
    """5-sigma point-source depth of blank sky in each band"""

    def __post_init__(self) -> None:
        if not 0.0 < self.psf_fwhm_nea_arcsec < np.inf:
            raise invalid("psf_fwhm_nea_arcsec", "positive", self.psf_fwhm_nea_arcsec)
        if not np.isfinite(self.depth_mag).all():
            raise invalid("depth_mag", "a finite magnitude in each band", self.depth_mag)


class HostSet:
    """Galaxies (or blank sky) to inject into: their observing conditions, and their stamps by identifier.

    ``imaging`` declares bands, pixels, PSF and noise; ``table`` has ``galaxy_id`` and the columns of PSF and noise that
    the imaging names, those of bands other than the reference band only if known. Early-type hosts need a column
    ``type`` (or ``type_bin``), lenses shaped like their hosts ``shape_e1`` and ``shape_e2``. Rows without PSF or noise
    in the reference band, or without a shape that is needed, are left out. ``stamp_pixels`` is the side of the stamps
    that ``load`` returns, ``name`` describes the hosts.
    """

    def __init__(
        self, name: str, table: pa.Table, load: LoadStamps, stamp_pixels: int, host_model: HostModel, imaging: Imaging
    ) -> None:
        good = declared.usable(table, imaging)
        table = table.filter(pa.array(good))
        if host_model.selection == "early":
            table = table.filter(_early(table))
        if host_model.lens_shape == "conditioned":
            table = _shaped(table)
        table = table.sort_by("galaxy_id").combine_chunks()
        self.name, self.imaging, self.load, self.stamp_pixels = name, imaging, load, stamp_pixels
        self.table = table
        self.ids = self.table.column("galaxy_id").combine_chunks()
        if not len(self.ids):
            raise DataError(
                f"no usable host among the {name}: each needs a PSF and a depth in {imaging.reference_band}"
            )
        self.fwhm_nea_arcsec = declared.widths(table, imaging)
        self.pixel_sigma_nmgy, self.psfdepth = declared.noise(table, imaging, self.fwhm_nea_arcsec)
        self.depth_mag = depth_mag_from_psfdepth(self.psfdepth[:, imaging.reference])
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
        """Catalogue axis ratios and position angles of hosts, in the frame of their stamps; NaN if unknown."""
        return catalogue_shapes(*(declared.floats(self.table, f"shape_e{k}")[rows] for k in (1, 2)))

    def psf(self, rows: NDArray[np.int64], grid: GridParams) -> Psf:
        """PSFs of hosts; if only a psfsize is known, the grid's profile with that noise-equivalent area."""
        return declared.psf_of(self.table.take(pa.array(rows)), self.imaging, self.fwhm_nea_arcsec[rows], grid)

    @property
    def psf_images(self) -> bytes:
        """Pixels of the hosts' PSF images, as bytes; empty if there are none."""
        columns = [self.table.column(name) for name in self.imaging.psf_columns if name in self.table.column_names]
        images = [column.combine_chunks().flatten() for column in columns if pa.types.is_nested(column.type)]
        return b"".join(np.asarray(pixels, dtype="<f8").tobytes() for pixels in images)

    def conditions(self, names: Sequence[str], rows: NDArray[np.int64]) -> Array:
        """Observing conditions (row, name) of hosts from their table; NaN if unknown."""
        return np.stack([declared.floats(self.table, name)[rows] for name in names], axis=1)

    def catalogue(self, rows: NDArray[np.int64]) -> dict[str, pa.Array]:
        """What the catalogue says about hosts: columns of ``HOST_FACTS`` that their table has, by their names there."""
        taken = self.table.select([name for name in HOST_FACTS.values() if name in self.table.column_names])
        taken = taken.take(pa.array(rows))
        known = {own: name for own, name in HOST_FACTS.items() if name in taken.column_names}
        return {own: taken[name].combine_chunks() for own, name in known.items()}

    def cell(self, psf_edges: tuple[float, float], depth_edges: tuple[float, float]) -> NDArray[np.int64]:
        """Rows of hosts whose psfsize and depth in the reference band lie in [low, high)."""
        psf, depth = self.fwhm_nea_arcsec[:, self.imaging.reference], self.depth_mag
        inside = (psf >= psf_edges[0]) & (psf < psf_edges[1]) & (depth >= depth_edges[0]) & (depth < depth_edges[1])
        return np.flatnonzero(inside)

    @property
    def early(self) -> NDArray[np.bool_]:
        """Which hosts (row) are early types. ParameterError if the table does not tell."""
        return np.asarray(_early(self.table))

    def nearest(self, rows: NDArray[np.int64], among: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """For each of ``rows`` the up to ``count`` rows of ``among`` that are nearest in seeing and depth (reference
        band, each over its standard deviation)."""
        conditions = np.stack([self.fwhm_nea_arcsec[:, self.imaging.reference], self.depth_mag], axis=1)
        conditions = conditions / np.maximum(conditions.std(axis=0), 1e-6)
        _, found = cKDTree(conditions[among]).query(conditions[rows], k=min(count, len(among)))
        return among[np.reshape(found, (len(rows), -1))]

    def with_psf_scaled(self, factor: float) -> HostSet:
        """The same hosts, whose arcs are rendered with a PSF ``factor`` times as wide; pixels and noise stay."""
        if any(psf.kind != "fwhm_nea" for psf in self.imaging.psf):
            raise DataError("only a PSF of which the width alone is known can be made wider")
        found = copy(self)
        found.fwhm_nea_arcsec = self.fwhm_nea_arcsec * factor
        return found

    def choose(self, count: int, seed: int, purpose: str) -> list[str]:
        """``count`` galaxy_ids in keyed-hash order, repeated if there are fewer hosts."""
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


def blank_sky(conditions: Conditions, stamp_pixels: int, host_model: HostModel, seed: int, imaging: Imaging) -> HostSet:
    """Blank sky: Gaussian noise of the depth of each band, another for each identifier."""
    if len(conditions.depth_mag) != len(imaging.bands):
        raise invalid("depth_mag", f"one per band ({', '.join(imaging.bands)})", conditions.depth_mag)
    ids, count = [f"blank:{index:04d}" for index in range(_BLANK_SKIES)], _BLANK_SKIES
    depth = (5.0 / flux_from_magnitude(conditions.depth_mag)) ** 2
    columns: dict[str, Any] = {"galaxy_id": ids}
    columns[imaging.psf_columns[imaging.reference]] = np.full(count, conditions.psf_fwhm_nea_arcsec)
    columns |= {name: np.full(count, value) for name, value in zip(imaging.noise_columns, depth, strict=True)}

    def load(galaxy_ids: Sequence[str]) -> Images:
        empty = np.zeros((len(galaxy_ids), len(imaging.bands), stamp_pixels, stamp_pixels), np.float32)
        sigma = np.repeat(hosts.pixel_sigma_nmgy[:1], len(galaxy_ids), axis=0)
        return add_sky(empty, sigma, seed, pa.array(galaxy_ids))

    depths = ", ".join(f"{band} {mag:g}" for band, mag in zip(imaging.bands, conditions.depth_mag, strict=True))
    name = f'blank sky, psfsize {conditions.psf_fwhm_nea_arcsec:g}", depth {depths}'
    hosts = HostSet(name, pa.table(columns), load, stamp_pixels, host_model, imaging)
    return hosts


def _early(table: pa.Table) -> pa.Array:
    name = next((name for name in ("type_bin", "type") if name in table.column_names), None)
    if name is None:
        raise invalid("host_selection", "'all' if the host table has no column 'type'", "early")
    return pc.is_in(table.column(name), value_set=pa.array(EARLY_TYPES))


def _shaped(table: pa.Table) -> pa.Table:
    """Rows with a catalogue shape. Moments of the pixels are no substitute, as seeing makes galaxies rounder."""
    known = np.isfinite(catalogue_shapes(*(declared.floats(table, f"shape_e{k}") for k in (1, 2)))[0])
    if not known.any():
        raise invalid(
            "lens_shape", "'independent' if no host has a shape (columns 'shape_e1', 'shape_e2')", "conditioned"
        )
    return table.filter(pa.array(known))
