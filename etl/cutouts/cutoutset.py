"""Reading labelled cut-outs by their description: NPZ, FITS cubes, FITS per band, HDF5.

Everything that cannot be used becomes a row of ``rejected`` with its file and reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from etl.config import CutoutsParams
from etl.cutouts import arrayfiles, qa
from etl.cutouts.arrayfiles import Group, Opened, Planes
from etl.cutouts.description import Arrays, Description, PsfImages, require_position, text_of
from etl.cutouts.external_stamps import without_zeros
from etl.files.fitsimages import SCALE
from lake.errors import DarkHaloError, DataError
from lake.progress import track
from lake.sky.photometry import flux_from_magnitude
from lake.sky.survey import PIXEL_SCALE_TOLERANCE
from lake.store.stamps import stamp_hash

Images = NDArray[np.float32]
Floats = NDArray[np.float64]
JudgePsf = Callable[[Floats, str], None]
"""Raises a DarkHaloError where an image (y, x) is not the PSF of a band."""
_WHAT = ("images", "PSFs", "noise maps")
_SPREAD: dict[str, Callable[[Floats], Floats]] = {
    "rms": lambda values: values,
    "variance": np.sqrt,
    "inverse_variance": lambda values: 1.0 / np.sqrt(values),
}


@dataclass(frozen=True)
class CutoutSet:
    """Objects that can be used, in the order of their files, and those that cannot."""

    stamps: Images
    """(object, band, y, x) nMgy, NaN where nothing was observed; a memory map."""
    objects: pd.DataFrame
    """galaxy_id, label, source_file, row_index, sha256, the columns of the table, and the requested ones."""
    psf: Images | None
    """PSF images (object, band, y, x) on one odd number of pixels; None if PSFs are not images."""
    sigma_nmgy: Floats | None
    """(object, band) noise of a pixel by the maps; None without maps."""
    rejected: list[dict[str, Any]]
    """source_file, row_index (-1: the whole file), reason and record."""

    def numbers(self, name: str) -> Floats:
        """A column as numbers; NaN where it has none."""
        if name not in self.objects:
            return np.full(len(self.objects), np.nan)
        return np.asarray(pd.to_numeric(self.objects[name], errors="coerce"), dtype=np.float64)


@dataclass(frozen=True)
class _Object:
    """One good object, as it was read."""

    row: dict[str, Any]
    stamp: Images
    psf: Images | None
    """(band, y, x)"""
    sigma: Floats | None
    """(band,) nMgy"""


@dataclass
class Reader:
    """Reads the objects of a folder, and collects what it cannot use."""

    folder: Path
    described: Description
    params: CutoutsParams
    """How much of a stamp may be unobserved."""
    judge_psf: JudgePsf
    table: pd.DataFrame | None = None
    """One row per object, by its column ``id`` or in the order of the objects of the only file."""
    wanted: Sequence[str] = ()
    """Columns of the files' facts to keep."""
    rejected: list[dict[str, Any]] = field(default_factory=list)
    _side: int = 0
    _ids: set[str] = field(default_factory=set)
    _pixels: dict[str, str] = field(default_factory=dict)
    """Object by the hash of its stamp."""
    _places: dict[str, int] = field(default_factory=dict)
    """Rows of the table by the identifier of their object."""
    _unseen: set[int] = field(default_factory=set)

    def read(self, pixels: Path) -> CutoutSet:
        """The objects; their pixels go to the file ``pixels``. DataError where none can be used."""
        found = []
        with pixels.open("wb") as out:
            for each in self._objects():
                out.write(each.stamp.tobytes())
                found.append(replace(each, stamp=each.stamp[:0]))
        if not found:
            first = self.rejected[0]["reason"] if self.rejected else "there is none"
            raise DataError(f"none of the cut-outs of {self.folder} can be used: {first}")
        psfs = [each.psf for each in found if each.psf is not None]
        side = max((psf.shape[-1] for psf in psfs), default=0)
        sigma = [each.sigma for each in found if each.sigma is not None]
        shape = (len(found), len(self.described.bands), self._side, self._side)
        return CutoutSet(
            np.memmap(pixels, np.float32, "r", shape=shape),
            pd.DataFrame([each.row for each in found]),
            np.stack([arrayfiles.padded(psf, side) for psf in psfs]) if psfs else None,
            np.stack(sigma) if sigma else None,
            self.rejected,
        )

    def _objects(self) -> Iterator[_Object]:
        found, strangers = arrayfiles.groups(self.folder, self.described)
        self._places = self._listed(len(found))
        self._unseen = set(self._places.values())
        for group in track(found, "read cut-outs"):
            try:
                yield from self._of_group(group, len(found) == 1)
            except (DarkHaloError, OSError) as error:
                named = Path(group.name).name in str(error)
                self._reject(group.name, -1, error if named else f"{group.name}: {error}")
                self._unseen.discard(self._places.get(text_of(group.id), -1))
        for name, reason in strangers:
            self._reject(name, -1, reason)
        for name, place in self._places.items():
            if place in self._unseen:
                self._reject(str(self.described.table), place, f"object {name} of the table has no cut-out")

    def _reject(self, file: str, row: int, reason: object) -> None:
        self.rejected.append({"source_file": file, "row_index": row, "reason": str(reason), "record": None})

    def _listed(self, groups: int) -> dict[str, int]:
        if self.table is None:
            return {}
        if "id" not in self.table and (groups > 1 or self.described.images.id):
            columns = ", ".join(map(str, self.table))
            raise DataError(f"{self.described.table} must have a column 'id' with the ids of objects, got {columns}")
        if "id" in self.table and (blank := self.table["id"].isna()).any():
            raise DataError(f"row {int(blank.argmax()) + 1} of {self.described.table} must have an id")
        ids = [text_of(name) for name in (self.table["id"] if "id" in self.table else range(len(self.table)))]
        if len(set(ids)) < len(ids):
            raise DataError(f"{self.described.table} has the id {max(ids, key=ids.count)} more than once")
        return {name: place for place, name in enumerate(ids)}

    def _of_group(self, group: Group, alone: bool) -> Iterator[_Object]:
        described = self.described
        with Opened() as files:
            images, psf, noise = (
                arrayfiles.planes(place, what, group, self.folder, described, files)
                if isinstance(place, Arrays)
                else None
                for place, what in zip((described.images, described.psf, described.noise), _WHAT, strict=True)
            )
            places = arrayfiles.image_places(described, group)
            facts = files.facts(*places[0])
            for path, array in places:
                self._require_scale(files.scale(path, array))
            count = images.count if images else None
            for what, each in zip(_WHAT[1:], (psf, noise), strict=True):
                if each is not None and each.count not in (None, count or 1):
                    raise DataError(f"{group.name}: {what} must be as many as images, {count or 1}, got {each.count}")
            for index in range(count or 1):
                own, place = _of_object(facts, index, count), -1 if count is None else index
                name = self._name(group, own, place, alone)
                try:
                    yield self._object(name, group, place, own, (images, psf, noise))
                except DarkHaloError as error:
                    self._reject(group.name, place, f"{name}: {error}")

    def _name(self, group: Group, facts: Mapping[str, Any], place: int, alone: bool) -> str:
        """Identifier of an object: from the file, or from the file's name and the place in it."""
        key = self.described.images.id
        if key is not None:
            if not (name := text_of(facts.get(key, ""))):
                raise DataError(f"{group.name} has no '{key}' with the id of each object, as a list of numbers or text")
            return name
        if place < 0:
            return group.id
        return str(place) if alone else f"{group.id}/{place}"

    def _object(
        self, name: str, group: Group, place: int, facts: Mapping[str, Any], places: tuple[Planes | None, ...]
    ) -> _Object:
        """One object; DataError with the reason where it cannot be used."""
        if name in self._ids:
            raise DataError("an earlier object has the same identifier")
        self._ids.add(name)
        row = self._row(name, group, place, facts)
        images, psf, noise = (None if each is None else each.of(max(place, 0)) for each in places)
        stamp = self._stamp(np.asarray(images), facts)
        row["sha256"] = stamp_hash(stamp)
        if (first := self._pixels.setdefault(row["sha256"], name)) != name:
            raise DataError(f"it has the same pixels as {first}")
        psf, sigma = None if psf is None else self._psf(psf), None if noise is None else self._sigma(noise)
        self._side = stamp.shape[-1]
        return _Object(row, stamp, psf, sigma)

    def _row(self, name: str, group: Group, place: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What is known about an object, and its label; the table takes precedence over the file."""
        listed = self._places.get(text_of(name), self._places.get(name.rpartition("/")[2]))
        known = {key: facts[key] for key in (*self.wanted, self.described.labels.column) if key in facts}
        if self.table is not None:
            if listed is None:
                raise DataError(f"it is not in {self.described.table}")
            if listed not in self._unseen:
                raise DataError(f"an earlier object takes its row of {self.described.table}")
            self._unseen.discard(listed)
            known |= {str(key): value for key, value in self.table.iloc[listed].dropna().items()}
        require_position(known)
        known |= {"folder": Path(group.name).parent.name}
        own = {"galaxy_id": f"{self.described.name}:{name}", "source_file": group.name, "row_index": place}
        labels = self.described.labels
        if labels.all is None and labels.column not in known:
            raise DataError(f"it has no label: neither its file nor the table has '{labels.column}'")
        label = int(labels.all == "lens") if labels.all else labels.of(known[labels.column])
        return {**known, **own, "label": label}

    def _require_scale(self, scale: Any) -> None:
        wanted = self.described.pixel_scale_arcsec
        if scale is not None and not abs(float(scale) / wanted - 1.0) <= PIXEL_SCALE_TOLERANCE:
            raise DataError(f"its pixels are {float(scale):.4g} arcsec wide, and {wanted:g} is declared")

    def _stamp(self, images: NDArray[Any], facts: Mapping[str, Any]) -> Images:
        """A stamp (band, y, x) nMgy of the set's size."""
        self._require_scale(facts.get(SCALE))
        if images.shape[1] != images.shape[2]:
            raise DataError(f"it must be square, got {images.shape[1:]} pixels")
        side = self._side or self.described.stamp_pixels or images.shape[1]
        extra = images.shape[1] - side
        if extra > 0 and extra % 2 and self.described.stamp_pixels:
            kind = "odd" if images.shape[1] % 2 else "even"
            raise DataError(
                f"it is {images.shape[1]} pixels wide: stamp_pixels must be {kind} to keep its centre, got {side}"
            )
        if extra < 0 or (extra and self.described.stamp_pixels is None):
            if self.described.stamp_pixels:
                raise DataError(f"it is {images.shape[1]} pixels wide, fewer than the declared stamp_pixels, {side}")
            cure = "declare a stamp_pixels to which all can be cropped"
            raise DataError(f"it is {images.shape[1]} pixels wide, and the others {side}: {cure}")
        inner = slice(extra // 2, extra // 2 + side)
        units = flux_from_magnitude(self.described.zero_points())[:, None, None]
        with np.errstate(over="ignore", invalid="ignore"):
            stamp = (images[:, inner, inner] * units).astype(np.float32)
        values = np.where(np.isfinite(stamp), stamp, np.float32(np.nan))
        stamp = values if self.described.images.zeros_are_data else without_zeros(values)
        if reason := qa.holes(stamp[None], self.params, self.described.bands)[0]:
            scattered = np.isfinite(stamp).any(axis=(1, 2)).all() and (np.isnan(stamp) & (values == 0)).any()
            cure = "; zeros count as not finite: if they are values, declare images.zeros_are_data: true"
            raise DataError(reason + cure * bool(scattered))
        return stamp

    def _psf(self, images: NDArray[Any]) -> Images:
        """PSF images (band, y, x) that agree with their declaration."""
        wide = np.asarray(images, dtype=np.float64)
        declared = self.described.psf
        if isinstance(declared, PsfImages) and declared.normalise:
            with np.errstate(divide="ignore", invalid="ignore"):
                wide = wide / wide.sum(axis=(1, 2), keepdims=True)
        if isinstance(declared, PsfImages) and declared.recentre:
            wide = np.stack([_recentred(image) for image in wide])
        for band, image in zip(self.described.bands, wide, strict=True):
            self.judge_psf(image, band)
        return wide.astype(np.float32)

    def _sigma(self, maps: NDArray[Any]) -> Floats:
        """Noise (band,) of a pixel in nMgy: the median of each map."""
        values = np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = _SPREAD[self.described.noise.kind](np.where(values > 0, values, np.nan))
        known = np.isfinite(spread).any(axis=1)
        if not known.all():
            raise DataError(f"its noise in {self.described.bands[int(known.argmin())]} is nowhere positive")
        return np.nanmedian(spread, axis=1) * flux_from_magnitude(self.described.zero_points())


def _of_object(facts: Mapping[str, Any], index: int, count: int | None) -> dict[str, Any]:
    """What a file says about one of its objects."""
    shared = {key: value for key, value in facts.items() if not np.ndim(value)}
    each = {key: value[index] for key, value in facts.items() if np.ndim(value) == 1 and len(value) == count}
    return shared | each


def _recentred(image: Floats) -> Floats:
    """An image (y, x) shifted to put its centroid on its middle pixel, by the shift theorem of Fourier transforms."""
    moved = np.fft.fft2(image)
    for axis, length in enumerate(image.shape):
        place = np.arange(length) - length // 2
        offset = float((image.sum(axis=1 - axis) * place).sum() / image.sum())
        phase = np.exp(2j * np.pi * offset * np.fft.fftfreq(length))
        moved = moved * (phase[:, None] if axis == 0 else phase)
    return np.asarray(np.fft.ifft2(moved).real)
