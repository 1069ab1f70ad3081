"""The reference system's NPZ format: one stamp ``cutout`` (y, x, band) float32 nMgy and its ``meta_*`` values.

Files may come from anywhere: what an archive declares is checked before it is read, and nothing in it is executed.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from lake.errors import DataError
from lake.sky.survey import BANDS

_MOST_BYTES = 64 << 20
"""Bytes of the largest cut-out that is read."""
_MOST_SET_BYTES = 64 << 30
"""Bytes of the largest array of many cut-outs."""
_MOST_META_BYTES = 1 << 16
_MOST_MEMBERS = 1000
_META = "meta_"


class _KindError(ValueError):
    """An array of other things than those that are read."""


def read_npz(path: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """A stamp (band, y, x) and its ``meta_*`` values; ``cutout`` may also be (band, y, x)."""
    if not path.is_file():
        raise DataError(f"{path} is not a cut-out in the NPZ format: it is not a file")
    try:
        with zipfile.ZipFile(path) as archive:
            cutout, meta = _members(archive)
    except Exception as error:  # a damaged archive makes the decoders raise whatever they meet
        raise DataError(f"{path} is not a cut-out in the NPZ format: {error or type(error).__name__}") from error
    if cutout.ndim == 3 and cutout.shape[0] == len(BANDS) != cutout.shape[2]:
        cutout = cutout.transpose(1, 2, 0)
    if cutout.ndim != 3 or cutout.shape[2] != len(BANDS) or cutout.shape[0] != cutout.shape[1]:
        cure = "; keep g, r, z: for g, r, i, z that is cutout[..., [0, 1, 3]]" if cutout.ndim == 3 else ""
        raise DataError(f"'cutout' in {path} must be (n, n, {len(BANDS)}), got {cutout.shape}{cure}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(cutout.transpose(2, 0, 1), dtype=np.float32), meta


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of numbers or text in an archive, by name; others, such as Python objects, are left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()[:_MOST_MEMBERS]
            found = {e.filename.removesuffix(".npy"): _of_kind(archive, e) for e in entries}
            return {name: values for name, values in found.items() if values is not None}
    except Exception as error:  # a damaged archive makes the decoders raise whatever they meet
        raise DataError(f"{path.name} cannot be read as NPZ: {error or type(error).__name__}") from error


def _members(archive: zipfile.ZipFile) -> tuple[NDArray[Any], dict[str, Any]]:
    entries = archive.infolist()
    if len(entries) > _MOST_MEMBERS:
        raise ValueError(f"it contains {len(entries)} arrays")
    names = {entry.filename.removesuffix(".npy"): entry for entry in entries}
    if "cutout" not in names:
        raise ValueError("it contains no array 'cutout'")
    cutout = _array(archive, names["cutout"], "biuf", _MOST_BYTES)
    meta = {}
    for name, entry in names.items():
        if name.startswith(_META):
            value = _array(archive, entry, "biufSU", _MOST_META_BYTES)
            if value.size != 1:
                raise ValueError(f"'{name}' must be one value, got {value.size}")
            meta[name.removeprefix(_META)] = value.item()
    return cutout, meta


def _of_kind(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any] | None:
    """An array of numbers or text, or None for one of anything else."""
    try:
        return _array(archive, entry, "biufSU", _MOST_SET_BYTES)
    except _KindError:
        return None


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, kinds: str, most: int) -> NDArray[Any]:
    """One array of at most ``most`` bytes, of a kind without objects; as many bytes are read as its header declares."""
    with archive.open(entry) as stream:
        file = cast(BinaryIO, stream)
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, kind = header(file)
        if kind.kind not in kinds:
            raise _KindError(f"'{entry.filename}' must hold numbers, got {kind}")
        if any(not isinstance(side, int) or side < 0 for side in shape):
            raise ValueError(f"'{entry.filename}' declares the shape {shape}")
        size = math.prod(shape) * kind.itemsize
        if size > most:
            raise ValueError(f"'{entry.filename}' declares {size} bytes, more than the {most} allowed")
        content = file.read(size + 1)
        if len(content) != size:
            raise ValueError(f"'{entry.filename}' must hold the {size} bytes that it declares")
        values = np.frombuffer(content, dtype=kind)
    return values.reshape(shape, order="F" if fortran else "C")
