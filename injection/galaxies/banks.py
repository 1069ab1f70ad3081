"""Banks of real galaxies: a GalSim RealGalaxyCatalog, which is cleaned, or an HDF5 file of clean stamps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from injection.config import RealSources, StampCleaning
from injection.galaxies.catalogues import Colours, Refused, Stamp, read_catalogue
from injection.galaxies.cleaning import Array, Images, clean
from lake.errors import DarkHaloError, DataError, invalid
from lake.files import atomic

_RINGS_PER_PX = 10
_MOST_SIDE_PX = 4096
_MOST_EXPANSION = 100
"""Largest ratio of uncompressed to compressed bytes of a data set."""
_UNIT_TOLERANCE = 1e-3
BANK_COLOURS = ("g_minus_r", "r_minus_z")
"""Colours of a bank's galaxies, from the HSC magnitudes of a RealGalaxyCatalog."""
Reasons = dict[str, str]


@dataclass(frozen=True)
class SourceBank:
    """Cleaned stamps of real galaxies, each of unit flux."""

    ids: tuple[str, ...]
    images: tuple[Images, ...]
    """(y, x), sum one, the outermost pixels empty"""
    centres_px: Array
    """(galaxy, 2) x, y of the light's centroid"""
    half_light_px: Array
    """(galaxy,) circularised half-light radius"""
    colours: Array
    """(galaxy, colour) :data:`BANK_COLOURS`; NaN where the catalogue has none"""

    @cached_property
    def places(self) -> dict[str, int]:
        """Place of each galaxy in the bank, by its id."""
        return {stamp_id: place for place, stamp_id in enumerate(self.ids)}

    @cached_property
    def digest(self) -> str:
        """Hash of the id, pixels, centre, radius and colours of all galaxies."""
        found = hashlib.sha256("\n".join(self.ids).encode())
        for image in (*self.images, self.centres_px, self.half_light_px, self.colours):
            found.update(np.ascontiguousarray(image).tobytes())
        return found.hexdigest()


def load_bank(sources: RealSources) -> SourceBank:
    """The bank that a grid's parameters name."""
    path = Path(sources.path)
    if sources.cleaning is None:
        return read_bank(path)
    return read_real_galaxy_catalog(path, sources.cleaning)[0]


def read_real_galaxy_catalog(path: Path, cleaning: StampCleaning) -> tuple[SourceBank, Reasons]:
    """The bank of a RealGalaxyCatalog, and why galaxies were left out; DataError if any of its files is damaged."""
    read = read_catalogue(path, cleaning.psf_correction is not None)
    if read.refused:
        raise DataError(f"{path} is not a RealGalaxyCatalog: {read.refused[0].reason}")
    return make_bank(read.stamps, read.colours, cleaning)


def collected(paths: Sequence[Path], cleaning: StampCleaning) -> tuple[SourceBank, list[Refused]]:
    """One bank of the galaxies of several RealGalaxyCatalogs, and all that was left out: files, and single galaxies."""
    stamps: dict[str, Stamp] = {}
    colours: dict[str, tuple[float, float]] = {}
    places: dict[str, str] = {}
    refused: list[Refused] = []
    for path in paths:
        read = read_catalogue(path, cleaning.psf_correction is not None)
        refused += read.refused
        for name, stamp in read.stamps.items():
            if name in stamps:
                refused.append(Refused(path.name, name, f"a galaxy of {places[name]} has the same identifier"))
                continue
            stamps[name], places[name] = stamp, path.name
            if name in read.colours:
                colours[name] = read.colours[name]
    if not stamps:
        raise DataError(f"no galaxy can be read, first: {refused[0].reason if refused else 'no catalogue'}")
    bank, reasons = make_bank(stamps, colours, cleaning)
    return bank, [*refused, *(Refused(places[name], name, reason) for name, reason in reasons.items())]


def make_bank(stamps: Mapping[str, Stamp], colours: Colours, cleaning: StampCleaning) -> tuple[SourceBank, Reasons]:
    """Clean stamps; returns the bank and the reason for each galaxy left out."""
    kept, refused = [], {}
    for stamp_id, stamp in stamps.items():
        cleaned = clean(stamp.image, stamp.noise, cleaning, stamp.psf, stamp.pixel_arcsec)
        if isinstance(cleaned, str):
            refused[stamp_id] = cleaned
        else:
            own = np.array(colours.get(stamp_id, (np.nan, np.nan)))
            kept.append(_Galaxy(stamp_id, cleaned, *_centre_and_radius(cleaned), own))
    if not kept:
        raise DataError(f"none of {len(stamps)} source stamps can be used, first: {next(iter(refused.values()), '')}")
    return _bank(kept), refused


class _Galaxy(NamedTuple):
    """A row of a :class:`SourceBank`."""

    name: str
    image: Images
    centre_px: Array
    half_light_px: float
    colours: Array


def _bank(galaxies: Sequence[_Galaxy]) -> SourceBank:
    names, images, centres, radii, colours = zip(*galaxies, strict=True)
    return SourceBank(names, images, np.array(centres), np.array(radii), np.array(colours))


def _centre_and_radius(image: Images) -> tuple[Array, float]:
    """Centroid (x, y) and half-light radius (pixels); each pixel is divided in 25, for radii of a few pixels."""
    y, x = (np.asarray(axis) for axis in np.indices(image.shape))
    cx, cy = float((image * x).sum()), float((image * y).sum())
    parts, lit = (np.arange(5) - 2.0) / 5.0, image != 0.0
    radius = np.hypot(x[lit][:, None, None] + parts - cx, y[lit][:, None, None] + parts[:, None] - cy)
    rings = (radius.ravel() * _RINGS_PER_PX).astype(np.int64)
    enclosed = np.cumsum(np.bincount(rings, np.repeat(image[lit].astype(np.float64), 25) / 25.0))
    outer = (np.arange(len(enclosed)) + 1.0) / _RINGS_PER_PX
    return np.array([cx, cy]), float(np.interp(0.5, np.maximum.accumulate(enclosed), outer))


def write_bank(path: Path, bank: SourceBank) -> None:
    """Write a bank as HDF5, by rename: one data set per galaxy, and the hash of the bank in the order of its ids, in
    which it is read.
    """
    import h5py

    bank = _ordered(bank)
    with atomic.replacing(path) as draft, h5py.File(draft, "w") as file:
        file.attrs["digest"] = np.bytes_(bank.digest)
        for k, stamp_id in enumerate(bank.ids):
            data = file.create_dataset(f"images/{stamp_id}", data=bank.images[k])
            data.attrs["centre_px"] = bank.centres_px[k]
            data.attrs["half_light_px"] = bank.half_light_px[k]
            data.attrs["colours"] = bank.colours[k]


def _ordered(bank: SourceBank) -> SourceBank:
    order = sorted(range(len(bank.ids)), key=bank.ids.__getitem__)
    ids, images = tuple(bank.ids[place] for place in order), tuple(bank.images[place] for place in order)
    return SourceBank(ids, images, bank.centres_px[order], bank.half_light_px[order], bank.colours[order])


def read_bank(path: Path) -> SourceBank:
    """A bank written by :func:`write_bank`; declared sizes are checked before data are read, and links are refused."""
    import h5py

    if not path.is_file():
        raise DataError(f"{path} is not a source bank: it is not a file")
    try:
        with h5py.File(path, "r") as file:
            images = file.get("images", getclass=True, getlink=True)
            if images is not h5py.HardLink or not isinstance(file["images"], h5py.Group):
                raise DataError(f"{path} is not a source bank: it contains no group 'images'")
            sets = [_bank_entry(file["images"], name, str(path)) for name in sorted(file["images"])]
            digest = _digest(file)
    except DarkHaloError:
        raise
    except Exception as error:  # a damaged file makes HDF5 raise errors of any kind
        raise DataError(f"{path} is not a source bank: {error or type(error).__name__}") from error
    if not sets:
        raise DataError(f"{path} is a source bank without galaxies")
    bank = _bank(sets)
    if digest != bank.digest:
        raise DataError(f"the galaxies in {path} do not match its digest ({digest}); write it again with write_bank")
    return bank


def _bank_entry(images: Any, name: str, path: str) -> _Galaxy:
    """One galaxy, checked: an image of unit sum in the file itself, a centre on the image, a positive radius."""
    import h5py

    what = f"{path} images/{name}"
    link = images.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise invalid(what, "an image in the file itself", f"a {type(link).__name__}")
    data = images[name]
    kept = isinstance(data, h5py.Dataset) and data.external is None and not data.is_virtual
    if not kept or data.ndim != 2 or data.dtype.kind not in "fiu":
        raise invalid(what, "an image (y, x) in the file itself", repr(data))
    if not 0 < max(data.shape) <= _MOST_SIDE_PX or data.nbytes > _MOST_EXPANSION * data.id.get_storage_size():
        claimed = f"{data.shape} in {data.id.get_storage_size()} bytes"
        raise invalid(what, f"at most {_MOST_SIDE_PX} pixels along a side, all of them in the file", claimed)
    image = data[()]
    if not np.isfinite(image).all() or abs(float(image.sum()) - 1.0) > _UNIT_TOLERANCE:
        raise invalid(what, "a finite image of unit sum", data.shape)
    centre, radius = _attribute(data, "centre_px", 2, what), _attribute(data, "half_light_px", 1, what)
    if not ((centre >= -0.5) & (centre <= np.array(image.shape[::-1]) - 0.5)).all():
        raise invalid(f"{what} centre_px", "on the image", centre.tolist())
    if not 0 < radius[0] <= max(image.shape):
        raise invalid(f"{what} half_light_px", "positive and within the image", float(radius[0]))
    colours = _attribute(data, "colours", 2, what)
    return _Galaxy(name, np.asarray(image, np.float32), centre, float(radius[0]), colours)


def _digest(file: Any) -> str | None:
    """The digest in a file; only text of fixed length, as HDF5 can hang on damaged text of variable length."""
    if "digest" not in file.attrs:
        return None
    held = file.attrs.get_id("digest")
    return file.attrs["digest"].decode("latin-1") if held.shape == () and held.dtype == np.dtype("S64") else None


def _attribute(data: Any, name: str, count: int, what: str) -> Array:
    """An attribute of ``count`` numbers, checked before it is read."""
    if name not in data.attrs:
        raise DataError(f"{what} has no attribute '{name}'")
    held = data.attrs.get_id(name)
    if int(np.prod(held.shape)) != count or held.dtype.kind not in "fiu":
        raise invalid(f"{what} {name}", f"{count} numbers", f"{held.shape} {held.dtype}")
    return np.asarray(data.attrs[name], dtype=np.float64).reshape(count)
