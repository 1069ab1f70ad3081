"""Labelled cut-outs as objects to score and as hosts of injections, read by their description."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from etl.config import CutoutsParams
from etl.cutouts.cutoutset import CutoutSet, Reader
from etl.cutouts.description import DepthNoise, Description, PixelNoise, PsfImages, Value
from injection.config import GridParams
from injection.experiment.grid import one_cell
from injection.experiment.hostset import HostSet
from injection.experiment.measure import sigma_from_annulus
from injection.experiment.setting import Setting
from injection.optics import declared
from injection.optics.psf import BandPsf
from lake.contract.columns import TIERS
from lake.errors import DarkHaloError, DataError, ParameterError, did_you_mean, invalid
from lake.files import refused, usercsv
from lake.files.strictyaml import read_mapping
from lake.sky.imaging import Imaging
from lake.sky.photometry import flux_from_magnitude
from lake.sky.split import HOST
from lake.sky.survey import STAMP_PIXELS

log = logging.getLogger(__name__)

_BRIGHT = 99.0
"""Percentile of a band's pixels that colour pictures show as bright."""
_CHUNK = 512
_OWN = ("galaxy_id", "label", "row_index", "source_file", "sha256", "folder", "tier", "type", "field", "id")
"""Columns that are not numbers."""
_CURES = {
    "of a sum": "; if it contains all the light, declare psf.normalise: true",
    "centred": "; if it was drawn at the object's sub-pixel position, declare psf.recentre: true",
}
_CELLS = ("psf_fwhm_nea_edges_arcsec", "depth_edges_mag")


@dataclass(frozen=True)
class Labelled:
    """The objects of a set with all that is known about them, row by row."""

    described: Description
    imaging: Imaging
    stamps: NDArray[np.float32]
    """(place, band, y, x) nMgy, a memory map"""
    objects: pd.DataFrame
    """galaxy_id, place, label, negative_use, split, tier, source_file, row_index, sha256 and further columns"""
    facts: pa.Table
    """PSF and noise of each object in the columns of host tables, and every column of numbers"""
    grid: GridParams
    """Grid parameters of the project, with the description's changes"""
    rejected: Sequence[Mapping[str, Any]]
    """source_file, row_index, reason and record of each file or object that cannot be used"""

    def get(self, rows: pd.DataFrame) -> NDArray[np.float32]:
        """Stamps of some of the objects."""
        return np.asarray(self.stamps[rows["place"].to_numpy()])

    def conditions(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Columns (object, name) of numbers; NaN where not known."""
        return np.stack([declared.floats(self.facts, name) for name in names], axis=1)

    def loaded(self, galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        """Stamps of objects by their identifiers."""
        return self.get(self.objects.set_index("galaxy_id").loc[list(galaxy_ids)])

    def with_fields(self, injections: pd.DataFrame) -> pd.DataFrame:
        """Injections with the `field` (a tile, a pointing) of their hosts, if the set has one for each of them."""
        if "field" not in self.objects:
            return injections
        found = injections["galaxy_id"].map(self.objects.set_index("galaxy_id")["field"])
        blank = found.isna() | (found.astype(str).str.strip() == "")
        return injections if blank.any() else injections.assign(field=found.astype(str))

    def where(self, good: NDArray[np.bool_], reason: str) -> Labelled:
        """The set without some objects, which are rejected for a reason. DataError if none is left."""
        lost = self.objects[~good]
        more: list[Mapping[str, Any]] = [
            {"source_file": file, "row_index": row, "reason": f"{name}: {reason}", "record": None}
            for file, row, name in zip(lost["source_file"], lost["row_index"], lost["galaxy_id"], strict=True)
        ]
        if not good.any():
            lost_all = f"none of the {len(good)} objects of {self.described.name} can be used"
            raise DataError(f"{lost_all}: {more[0]['reason']}")
        objects, facts = self.objects[good].reset_index(drop=True), self.facts.filter(pa.array(good))
        return replace(self, objects=objects, facts=facts, rejected=[*self.rejected, *more])


def described(path: Path) -> Description:
    """The description in a file."""
    return Description.load(read_mapping(path), path.name)


def read(
    folder: Path, description: Path, base: GridParams, cutouts: CutoutsParams, conditions: Sequence[str], pixels: Path
) -> Labelled:
    """The objects of a folder; their pixels go to the file ``pixels``.

    ``conditions`` are columns that a finder needs. Paths in the description (table, prior) are relative to it.
    """
    known = described(description)
    _grid(known, description.parent, known.stamp_pixels, base)  # what is wrong in it is said before all is read
    table = _table(description.parent / known.table) if known.table else None
    named = [value for value in _values(known) if isinstance(value, str)]
    wanted = [*named, "ra", "dec", "tier", "field", *conditions]
    with refused.named(pixels):
        found = Reader(folder, known, cutouts, _judge(known), table, wanted).read(pixels)
    _require(named, found, "which the description names")
    weights = tuple(float(f"{0.1 / light:.3g}") for light in _brightness(found.stamps))
    imaging, grid = known.imaging(weights), _grid(known, description.parent, found.stamps.shape[-1], base)
    columns: dict[str, Any] = {str(name): found.numbers(str(name)) for name in found.objects if name not in _OWN}
    columns |= _psf(known, imaging, found) | _noise(known, imaging, found, grid)
    facts = pa.table({"galaxy_id": pa.array(found.objects["galaxy_id"].to_list(), pa.string()), **columns})
    tier = found.numbers("tier") if "tier" not in found.objects else found.objects["tier"]
    tiers = [value if value in TIERS else None for value in tier]
    objects = found.objects.assign(tier=pd.Series(tiers, dtype=object), place=np.arange(len(found.objects)))
    facts = _with_conditions(facts, imaging)
    _require([name for name in conditions if name not in facts.column_names], found, "which the finder needs")
    return Labelled(known, imaging, found.stamps, objects, facts, grid, found.rejected)


def _require(names: Sequence[str], found: CutoutSet, why: str) -> None:
    """DataError for a column that no object has."""
    held = [str(name) for name in found.objects]
    if missing := [name for name in names if name not in held]:
        raise DataError(f"no object has a '{missing[0]}', {why}{did_you_mean(missing[0], held)}")


def _grid(known: Description, beside: Path, stamp_pixels: int | None, base: GridParams) -> GridParams:
    """The grid's parameters with the description's changes; radii in pixels follow the size of the stamps, if that is
    known. ParameterError for exponents of another number of bands, and for an Einstein radius beyond the stamp."""
    side = stamp_pixels or STAMP_PIXELS
    changes: dict[str, Any] = {"sky_annulus_px": [radius * side / STAMP_PIXELS for radius in base.sky_annulus_px]}
    changes |= known.grid
    prior = str(changes.get("prior", ""))
    if prior.endswith((".yaml", ".yml")):
        changes["prior"] = str((beside / prior).resolve())
    grid = GridParams.load({**base.model_dump(mode="json"), **changes}, "grid")
    half, largest = side * known.pixel_scale_arcsec / 2.0, max(grid.theta_e_arcsec)
    if stamp_pixels is not None and largest >= half:
        raise invalid("grid.theta_e_arcsec", f"below half a stamp of {known.name} ({half:g} arcsec)", largest)
    if stamp_pixels is not None and grid.sky_annulus_px[0] >= side / 2.0:
        raise invalid(
            "grid.sky_annulus_px", f"a ring that begins below half a stamp ({side / 2.0:g} pixels)", grid.sky_annulus_px
        )
    try:
        declared.assumed_exponents(known.imaging((1.0,) * len(known.bands)), grid)
    except ParameterError as error:
        raise ParameterError(f"grid of {known.name}: {error}; give it under `grid` of the description") from error
    return grid


def setting_of(found: Labelled, grid: GridParams, seed: int, trained: NDArray[np.bool_]) -> Setting | None:
    """Injections into the negatives kept as hosts, but those that the finder was trained on, in one cell of seeing and
    depth unless the description has edges; None for a set without negatives."""
    chosen = (found.objects["negative_use"] == HOST).to_numpy()
    if not chosen.any():
        return None
    if trained[chosen].all():
        raise DataError(f"no cut-out can host injections: the finder was trained on all {chosen.sum():,} kept for that")
    chosen &= ~trained
    facts = found.facts.filter(pa.array(chosen))
    if "type" in found.objects:
        types = pa.array(found.objects.loc[chosen, "type"].astype(str))
        facts = facts.append_column("type", types)
    side, name = found.stamps.shape[-1], f"Negatives of {found.described.name}"
    hosts = HostSet(name, facts, found.loaded, side, grid.host_model, found.imaging)
    if not set(_CELLS) & set(found.described.grid):
        grid = one_cell(grid, hosts, grid.per_cell)
    else:
        _require_filled(grid, hosts, found.described.name)
    return Setting.of(grid, hosts, seed)


def _require_filled(grid: GridParams, hosts: HostSet, name: str) -> None:
    """DataError where no host lies in a cell of the declared edges."""
    every = product(pairwise(grid.psf_fwhm_nea_edges_arcsec), pairwise(grid.depth_edges_mag))
    if any(len(hosts.cell(*cell)) for cell in every):
        return
    widths, depths = hosts.fwhm_nea_arcsec[:, hosts.imaging.reference], hosts.depth_mag
    seeing = f"{widths.min():.4g} to {widths.max():.4g} arcsec"
    raise DataError(
        f"no host of {name} lies in a cell of the declared edges: their seeing is {seeing}, their depth "
        f"{depths.min():.4g} to {depths.max():.4g} mag"
    )


def _table(path: Path) -> pd.DataFrame:
    rows = usercsv.read(path, "as a CSV table", dtype=str)
    return rows.apply(lambda column: column.str.strip()).replace("", None)


def _values(known: Description) -> list[Value]:
    """Every number or column that PSF and noise name."""
    held = (getattr(known.psf, "arcsec", None), getattr(known.noise, "value", None), getattr(known.noise, "mag", None))
    return [value for one in held if one is not None for value in known.per_band(one)]


def _judge(known: Description) -> Callable[[NDArray[np.float64], str], None]:
    def judge(image: NDArray[np.float64], band: str) -> None:
        assert isinstance(known.psf, PsfImages)  # noqa: S101
        try:
            BandPsf.of_image(image[None], known.psf.includes_pixel, known.pixel_scale_arcsec)
        except DarkHaloError as error:
            cure = next((words for what, words in _CURES.items() if what in str(error)), "")
            raise DataError(f"its PSF in {band} cannot be used: {error}{cure}") from error

    return judge


def _brightness(stamps: NDArray[np.float32]) -> NDArray[np.float64]:
    """A bright pixel (band,) of the set, for colour pictures."""
    some = np.asarray(stamps[:: max(len(stamps) // 100, 1)])
    return np.maximum(np.nanpercentile(some, _BRIGHT, axis=(0, 2, 3)), 1e-6)


def _numbers(found: CutoutSet, values: Sequence[Value]) -> list[NDArray[np.float64]]:
    """Per band, a value of each object: a number for all, or a column."""
    count = len(found.objects)
    return [found.numbers(one) if isinstance(one, str) else np.full(count, float(one)) for one in values]


def _psf(known: Description, imaging: Imaging, found: CutoutSet) -> dict[str, pa.Array]:
    """Columns of a host table with the PSF of each band."""
    if isinstance(known.psf, PsfImages):
        assert found.psf is not None  # noqa: S101
        size = found.psf.shape[-1] ** 2
        places = pa.array(np.arange(len(found.psf) + 1, dtype=np.int32) * size)
        images = (found.psf[:, band].reshape(-1) for band in range(len(known.bands)))
        columns = [pa.ListArray.from_arrays(places, pa.array(pixels)) for pixels in images]
    else:
        columns = [pa.array(values) for values in _numbers(found, known.per_band(known.psf.arcsec))]
    return dict(zip(imaging.psf_columns, columns, strict=True))


def _noise(known: Description, imaging: Imaging, found: CutoutSet, grid: GridParams) -> dict[str, pa.Array]:
    """Columns of a host table with the noise of each band."""
    if isinstance(known.noise, PixelNoise):
        units = flux_from_magnitude(known.zero_points())
        pairs = zip(_numbers(found, known.per_band(known.noise.value)), units, strict=True)
        values = [sigma * unit for sigma, unit in pairs]
    elif isinstance(known.noise, DepthNoise):
        depths = _numbers(found, known.per_band(known.noise.mag))
        values = [(5.0 / flux_from_magnitude(depth)) ** 2 for depth in depths]
    elif found.sigma_nmgy is not None:
        values = list(found.sigma_nmgy.T)
    else:
        values = list(_measured(found.stamps, grid).T)
    return {name: pa.array(value) for name, value in zip(imaging.noise_columns, values, strict=True)}


def _measured(stamps: NDArray[np.float32], grid: GridParams) -> NDArray[np.float64]:
    """Noise (object, band) of a pixel in each stamp's own annulus."""
    found = np.empty(stamps.shape[:2])
    for start in range(0, len(stamps), _CHUNK):
        some = np.asarray(stamps[start : start + _CHUNK])
        usable = np.all(np.isfinite(some), axis=1)
        for band in range(stamps.shape[1]):
            found[start : start + _CHUNK, band] = sigma_from_annulus(some[:, band], usable, *grid.sky_annulus_px)
    return found


def _with_conditions(facts: pa.Table, imaging: Imaging) -> pa.Table:
    """Facts with ``psfsize_<band>`` and ``psfdepth_<band>``, where they are not given; NaN where not known."""
    for kind, values in zip(("psfsize", "psfdepth"), seeing_and_depth(facts, imaging), strict=True):
        for place, band in enumerate(imaging.bands):
            if f"{kind}_{band}" not in facts.column_names:
                facts = facts.append_column(f"{kind}_{band}", pa.array(values[:, place]))
    return facts


def seeing_and_depth(facts: pa.Table, imaging: Imaging) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``fwhm_nea`` (arcsec) and ``psfdepth`` (nMgy^-2) by the declared PSF and noise, (object, band); NaN where not
    known."""
    good = declared.usable(facts, imaging)
    held = facts.filter(pa.array(good))
    widths = declared.widths(held, imaging)
    both = np.full((2, len(good), len(imaging.bands)), np.nan)
    both[:, good] = widths, declared.noise(held, imaging, widths)[1]
    return both[0], both[1]
