"""Arrays in described files: found by a pattern, opened once, brought into one order of axes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from etl.cutouts import stampfiles
from etl.cutouts.description import Arrays, Axis, Description, Images
from etl.files import fitsimages
from lake.errors import DataError, one_line
from lake.files.npz import read_arrays

HDF5, NPZ = (".h5", ".hdf5", ".hdf"), (".npz",)
SUFFIXES = (*NPZ, *HDF5, ".fits", ".fit", ".fz", ".gz")
_BLOCK = 64
"""Objects read at a time: compressed files store many objects in one chunk."""
_ORDER: tuple[Axis, ...] = ("object", "band", "y", "x")


@dataclass(frozen=True)
class Group:
    """The files with one object, or with many in the same order."""

    name: str
    """Path of the first, relative to the folder."""
    id: str
    """Identifier by the file's name; empty if the pattern names one file."""
    parts: Mapping[str, str]
    """The text that ``{id}`` and each ``*`` of the pattern match."""
    files: Mapping[str, Path]
    """By the band as it is spelled, or by ``""`` if one file has all bands."""


def groups(folder: Path, described: Description) -> tuple[list[Group], list[tuple[str, str]]]:
    """Groups of files with cut-outs, by identifier, and files that match no declared path, with the reason."""
    spelled = [described.spelled(band) for band in described.bands]
    own = _regex(described.images.files, spelled)
    more = (getattr(place, "files", None) for place in (described.psf, described.noise))
    others = [_regex(pattern, spelled) for pattern in more if pattern]
    found: dict[tuple[tuple[str, str], ...], dict[str, Path]] = {}
    strangers = []
    for entry in stampfiles.listed(folder, SUFFIXES):
        match = own.fullmatch(entry.name)
        if match and not entry.fault:
            parts = match.groupdict()
            band = parts.pop("band", "")
            found.setdefault(tuple(parts.items()), {})[band] = entry.path
        elif match or (entry.path.suffix.lower() in SUFFIXES and not any(o.fullmatch(entry.name) for o in others)):
            strangers.append((entry.name, f"{entry.name}: {entry.fault or 'it matches no declared path'}"))
    if not found:
        raise DataError(f"{folder} contains no file '{described.images.files}' (bands {', '.join(spelled)})")
    return [_group(folder, dict(parts), files, spelled) for parts, files in sorted(found.items())], strangers


def _group(folder: Path, parts: dict[str, str], files: dict[str, Path], bands: Sequence[str]) -> Group:
    first = next(files[band] for band in ("", *bands) if band in files)
    return Group(first.relative_to(folder).as_posix(), parts.get("id") or "/".join(parts.values()), parts, files)


def _regex(pattern: str, bands: Sequence[str]) -> re.Pattern[str]:
    """Paths that match a pattern: groups ``band``, ``id`` and one for each ``*``; a repeated one is the same text."""
    parts, stars = [], 0
    any_of = {"{id}": "(?P<id>[^/]+)", "{band}": f"(?P<band>{'|'.join(map(re.escape, bands))})"}
    again = {"{id}": "(?P=id)", "{band}": "(?P=band)"}
    for part in re.split(r"(\{id\}|\{band\}|\*)", pattern):
        if part == "*":
            stars += 1
            parts.append(f"(?P<star{stars}>[^/]+)")
        else:
            parts.append(any_of.get(part, re.escape(part)))
            any_of[part] = again.get(part, re.escape(part))
    return re.compile("".join(parts))


class Opened(ExitStack):
    """Files that are read together, each opened once."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[Path, Any] = {}

    def __enter__(self) -> Self:
        return self

    def array(self, path: Path, name: str | None) -> Any:
        """An array by its name, or the default one; DataError if there is none."""
        try:
            found = self._named(path, name)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise DataError(f"{path.name} cannot be read: {one_line(error)}") from error
        if found.dtype.kind not in "biuf":
            raise DataError(f"{path.name}: '{name}' must hold numbers, got {found.dtype}")
        return found

    def facts(self, path: Path, name: str | None) -> dict[str, Any]:
        """What a file says besides its arrays: cards of the image and the first header, scalars and one-dimensional
        arrays."""
        held = self._open(path)
        if isinstance(held, h5py.File):
            return {key: values[()] for key, values in _datasets(held).items() if values.ndim < 2}
        if isinstance(held, dict):
            return {key.removeprefix("meta_"): v[()] for key, v in held.items() if v.ndim < 2}
        header = fitsimages.image(held, name).header
        return {**held[0].header, **header, **fitsimages.pixel_scale(header)}

    def scale(self, path: Path, name: str | None) -> float | None:
        """The size of the pixels (arcsec) of an image by its world coordinates, if it is FITS and has any."""
        held = self._open(path)
        header = fitsimages.image(held, name).header if isinstance(held, list) else {}
        return fitsimages.pixel_scale(header).get(fitsimages.SCALE)

    def _named(self, path: Path, name: str | None) -> Any:
        held = self._open(path)
        if isinstance(held, list):
            return fitsimages.image(held, name).data
        if isinstance(held, dict):
            wanted = name or "cutout"
        else:
            held = _datasets(held)
            arrays = [key for key, values in held.items() if values.ndim > 2]
            wanted = (name or (arrays[0] if len(arrays) == 1 else "")).strip("/")
        if wanted not in held:
            raise DataError(
                f"{path.name} has no array '{wanted}' (it has {', '.join(held)}): declare its name, 'array'"
            )
        return held[wanted]

    def _open(self, path: Path) -> Any:
        """An open HDF5 file, the arrays of an NPZ, or the header and images of a FITS file."""
        if path not in self._held:
            if not path.is_file():
                raise DataError(f"{path.name} does not exist")
            suffix = path.suffix.lower()
            if suffix in HDF5:
                self._held[path] = self.enter_context(h5py.File(path))
            elif suffix in NPZ:
                self._held[path] = read_arrays(path)
            else:
                self._held[path] = fitsimages.images(path)
        return self._held[path]


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """All datasets by their path, without those behind links that lead nowhere."""
    found = {name: file.get(name) for name in file}
    file.visititems(lambda name, item: found.update({name: item}))
    return {name: item for name, item in found.items() if isinstance(item, h5py.Dataset)}


@dataclass(frozen=True)
class Planes:
    """Images of a group of files."""

    count: int | None
    """Objects in them; None if they are of one object, or shared by all."""
    block: Callable[[int], NDArray[Any]]
    """Images (object, band, y, x) of a block of ``_BLOCK`` objects; the last one is kept."""

    def of(self, index: int) -> NDArray[Any]:
        """Images (band, y, x) of an object."""
        place = 0 if self.count is None else index
        found: NDArray[Any] = self.block(place // _BLOCK)[place % _BLOCK]
        return found


def planes(place: Arrays, what: str, group: Group, folder: Path, described: Description, files: Opened) -> Planes:
    """The images that a group of files has at a declared place, bands in order; ``what`` names them in errors."""
    spelled = [described.spelled(band) for band in described.bands]
    where = described.images if place.files is None else place
    by_band = "{band}" in f"{where.files}{place.array}"
    each = spelled if by_band else [""]
    arrays = [files.array(_path(place, group, folder, band), _array_name(place, band)) for band in each]
    axes = [_axes(array.ndim, place, by_band, group) for array in arrays]
    both = list(zip(arrays, axes, strict=True))
    counts = {array.shape[along.index("object")] for array, along in both if "object" in along}
    if len(counts) > 1:
        raise DataError(f"{group.name}: {what} of all bands must be of equally many objects, got {sorted(counts)}")
    if counts == {0}:
        raise DataError(f"{group.name} holds {what} of no object")

    @lru_cache(maxsize=1)
    def block(number: int) -> NDArray[Any]:
        parts = [_part(array, along, number * _BLOCK, (number + 1) * _BLOCK) for array, along in both]
        sides = [side for part in parts for side in part.shape[2:]]
        if place is not described.images and all(side % 2 for side in sides):
            parts = [padded(part, max(sides)) for part in parts]
        if len({part.shape for part in parts}) > 1:
            shapes = ", ".join(str(part.shape[2:]) for part in parts)
            raise DataError(f"{group.name}: {what} of all bands must be of one shape, got {shapes}")
        whole = np.concatenate(parts, axis=1)
        if whole.shape[1] not in (1, len(spelled)) or (place is described.images and whole.shape[1] != len(spelled)):
            raise DataError(
                f"{group.name}: {what} must have the {len(spelled)} bands {', '.join(described.bands)}, got "
                f"{whole.shape[1]} of {whole.shape[2:]} pixels; declare the order of the axes with 'axes'"
            )
        return np.broadcast_to(whole, (len(whole), len(spelled), *whole.shape[2:]))

    return Planes(counts.pop() if counts else None, block)


def padded(images: NDArray[Any], side: int) -> NDArray[Any]:
    """Images (..., y, x) of odd sides in the middle of larger ones."""
    around = [((side - length) // 2,) * 2 for length in images.shape[-2:]]
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + around)


def _array_name(place: Arrays, band: str) -> str | None:
    return None if place.array is None else place.array.replace("{band}", band)


def _path(place: Arrays, group: Group, folder: Path, band: str) -> Path:
    """The file of a band: of the group, or the one that another pattern gives for it."""
    if place.files is not None and not isinstance(place, Images):
        name = place.files.replace("{id}", group.id).replace("{band}", band)
        for star in (value for part, value in group.parts.items() if part != "id"):
            name = name.replace("*", star, 1)
        return folder / name
    found = group.files.get(band) or group.files.get("")
    if found is None:
        raise DataError(f"{group.name}: the file of band {band} is missing")
    return found


def _axes(ndim: int, place: Arrays, by_band: bool, group: Group) -> tuple[Axis, ...]:
    """The axes of an array, declared or default."""
    path = next(iter(group.files.values()))
    channels_last = path.suffix.lower() in NPZ and not by_band
    custom: dict[int, tuple[Axis, ...]] = {
        2: ("y", "x"),
        3: ("object", "y", "x") if by_band else ("y", "x", "band") if channels_last else ("band", "y", "x"),
        4: _ORDER,
    }
    found = place.axes or custom.get(ndim)
    if found is None or len(found) != ndim or len(set(found)) != ndim:
        raise DataError(f"{group.name}: 'axes' must name the {ndim} axes of its arrays, got {place.axes}")
    return found


def _part(array: Any, axes: tuple[Axis, ...], start: int, stop: int) -> NDArray[Any]:
    """Some objects of an array, as (object, band, y, x)."""
    wanted = tuple(slice(start, stop) if axis == "object" else slice(None) for axis in axes)
    part = np.asarray(array[wanted])
    part = part.transpose([axes.index(axis) for axis in _ORDER if axis in axes])
    for place, axis in enumerate(_ORDER):
        part = part if axis in axes else np.expand_dims(part, place)
    return part


def image_places(described: Description, group: Group) -> list[tuple[Path, str | None]]:
    """The file and the array of each band; those of the first hold what is known about the objects."""
    spelled = (described.spelled(band) for band in described.bands)
    return [(_path(described.images, group, Path(), each), _array_name(described.images, each)) for each in spelled]
