"""Training arrays: a split of a manifest, normalised and held in memory or in a file, and the order of its rows in an
epoch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from lake.ahead import in_order
from lake.errors import DataError, invalid
from lake.progress import track
from lake.sky.imaging import Imaging
from modeling.config import TrainParams
from modeling.networks.factory import require_side
from modeling.networks.inference import device_of, threads
from modeling.networks.preprocess import normalise
from modeling.networks.recorded import Staged, on
from modeling.sections import LoopParams
from modeling.seeds import mix, step_seed
from modeling.training.losses import row_weights

CHUNK = 512
"""Stamps read and normalised at a time."""
READERS = {"cpu": 1, "cuda": min(16, os.cpu_count() or 1)}
"""Threads that read and check stamps, by the device that normalises them: a GPU is faster than one reading thread."""
RESERVED = 24 * 2**30
"""Bytes of a GPU's memory that are left to networks and their activations; a GPU with less than twice as much leaves
half of its memory."""


MAPPED_ABOVE = 0.5
"""Stamps that would take a larger share of the free memory are kept in a file instead."""


class Reused:
    """Memory that every batch uses again: filling fresh memory takes many times as long."""

    def __init__(self) -> None:
        self._held = torch.empty(0)
        self._staged: Staged | None = None

    def brought(self, x: Tensor, which: NDArray[np.int64], device: torch.device) -> Tensor:
        """Some rows of a tensor (in main memory or on the device), on the device, valid until the next call."""
        if x.device.type == device.type:
            return self.rows(x, on(which, device))
        self._staged = self._staged or Staged(device)
        return self._staged.brought(self.rows(x, torch.from_numpy(which)))

    def rows(self, x: Tensor, which: Tensor) -> Tensor:
        """Some rows of a tensor, valid until the next call."""
        fits = len(self._held) >= len(which) and self._held.shape[1:] == x.shape[1:]
        if not fits or self._held.dtype != x.dtype or self._held.device != x.device:
            self._held = x.new_empty((len(which), *x.shape[1:]))
        return torch.index_select(x, 0, which, out=self._held[: len(which)])


@dataclass(frozen=True)
class TrainingArrays:
    """Rows of one split, in the order of their galaxy_id, and of their stamp_id where they are simulated stamps."""

    galaxy_ids: pa.Array
    x: Tensor
    """Normalised stamps (row, band, y, x)."""
    labels: Tensor
    """1 for lenses, 0 for negatives, float32 (row,)."""
    weights: Tensor
    """Weight of a row in the loss, float32 (row,)."""
    metadata: Tensor | None
    """Observing conditions float32 (row, column), logarithms, where the network takes them."""
    stamp_pixels: int
    """Side of the stamps before the crop."""
    bands: tuple[str, ...]
    """Bands of the stamps, in order."""
    hard: NDArray[np.bool_] | None = None
    """Which rows are hard negatives (row,); None: none."""
    batches: Reused = field(default_factory=Reused)
    """Where batches of stamps are put together."""
    mapped: bool = False
    """Whether the stamps are in a mapped file; these are not moved to a GPU."""

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> TrainingArrays:
        """The same arrays on a device; stamps only if its memory holds them, else they are copied batch by batch."""
        stay = self.x.device.type != device.type and (self.mapped or not fits(self.x.nbytes, device))
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved = {name: value.to(device) for name, value in tensors.items() if name != "x" or not stay}
        return replace(self, **moved)  # type: ignore[arg-type]


def fits(size: int, device: torch.device) -> bool:
    """Whether a device has memory for so many bytes of stamps beside a training's other needs; a CPU always has."""
    if device.type == "cpu":
        return True
    free, whole = torch.cuda.mem_get_info(device)
    return size + min(RESERVED, whole // 2) <= free


class Stamps(Protocol):
    """Where the pixels of rows are."""

    def get(self, rows: pa.Table) -> NDArray[np.float32]:
        """Stamps (batch, band, y, x) nMgy of rows, in their order."""
        ...


def is_mapped(size: int) -> bool:
    """Whether stamps of so many bytes are kept in a file rather than in memory."""
    return size > MAPPED_ABOVE * psutil.virtual_memory().available


def _room(rows: int, like: Tensor, folder: Path | None) -> tuple[Tensor, bool]:
    """Memory for stamps (row, band, y, x), on the device of ``like`` if they fit there, and whether it is a mapped file
    in ``folder``.

    The file is unlinked once it is mapped, so it leaves nothing behind however the program ends.
    """
    count = rows * like[0].numel()
    there = like.device.type != "cpu" and fits(count * like.element_size(), like.device)
    if there or folder is None or not is_mapped(count * like.element_size()):
        return like.new_empty((rows, *like.shape[1:]), device=like.device if there else "cpu"), False
    path = folder / "stamps.mapped"
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, count * like.element_size())
        held = torch.from_file(str(path), shared=True, size=count, dtype=like.dtype)
    except OSError as error:
        raise DataError(
            f"no room for {count * like.element_size() / 1e9:.1f} GB of stamps in {folder}: {error.strerror}; "
            "make room there and run the command again"
        ) from error
    finally:
        path.unlink(missing_ok=True)
    return held.reshape(rows, *like.shape[1:]), True


def load_arrays(
    rows: pa.Table, stamps: Stamps, params: TrainParams, imaging: Imaging, folder: Path | None = None
) -> TrainingArrays:
    """Read and normalise the stamps of rows of a manifest, or of a manifest of simulated stamps
    (``galaxy_id, shard, shard_row``, hash, ``label, tier``, ...); on a GPU, whose memory then holds them if it can.

    Stamps that would fill more than half of the free memory go to a file of ``folder``, from which training reads them;
    nothing else differs.
    """
    if not rows.num_rows:
        raise DataError("the manifest has no rows in this split")
    rows = rows.sort_by([(name, "ascending") for name in ("galaxy_id", "stamp_id") if name in rows.column_names])
    device = device_of(params.execution)
    staged, chunks = Staged(device), [rows.slice(start, CHUNK) for start in range(0, rows.num_rows, CHUNK)]
    mapped, x = False, torch.empty(0, dtype=torch.float16 if params.execution.arrays == "fp16" else torch.float32)
    with threads(params.execution.threads):
        read = in_order(stamps.get, chunks, READERS[device.type])
        for number, pixels in enumerate(track(read, "normalise stamps", total=len(chunks))):
            part = normalise(staged.brought(torch.from_numpy(pixels)), params.preprocessing)
            if number == 0:
                require_side(params.network, part.shape[-1])
                x, mapped = _room(rows.num_rows, part.to(x.dtype), folder)
            x[number * CHUNK : number * CHUNK + len(part)] = part
    labels, hard = _column(rows, "label"), _hard(rows)
    return TrainingArrays(
        galaxy_ids=rows["galaxy_id"].combine_chunks(),
        x=x,
        labels=labels,
        weights=row_weights(labels.numpy(), np.array(rows["tier"].to_pylist(), dtype=object), hard, params.loss),
        metadata=_metadata(rows, params.network.metadata_columns),
        stamp_pixels=pixels.shape[-1],
        bands=imaging.bands,
        hard=hard,
        mapped=mapped,
    )


def _column(rows: pa.Table, name: str) -> Tensor:
    return torch.from_numpy(rows[name].to_numpy().astype(np.float32))


def _hard(rows: pa.Table) -> NDArray[np.bool_]:
    """Which rows are hard negatives; none in a manifest without that column."""
    if "hard_negative" not in rows.column_names:
        return np.zeros(rows.num_rows, dtype=bool)
    return np.asarray(rows["hard_negative"].fill_null(False).to_numpy())


def _metadata(rows: pa.Table, columns: tuple[str, ...]) -> Tensor | None:
    if not columns:
        return None
    missing = [name for name in columns if name not in rows.column_names]
    if missing:
        raise invalid("network.metadata_columns", "columns of the manifest", missing)
    values = torch.stack([_column(rows, name) for name in columns], dim=1).log()
    if not torch.isfinite(values).all():
        raise DataError(f"observing conditions {columns} must be positive in every training row")
    return values


def epoch_order(labels: NDArray[np.float32], params: LoopParams, seed: int, epoch: int) -> NDArray[np.int64]:
    """Sample indices in the order of epoch ``epoch``, which depends only on (seed, epoch).

    With ``positive_fraction`` an epoch has as many samples as there are rows, that share of them lenses; the r-th
    repetition of row ``i`` of ``n`` is ``i + r * n``, so augmentation tells repetitions apart.
    """
    rows = len(labels)
    if params.positive_fraction == 0:
        return _shuffled(np.arange(rows), seed, epoch, stream=0)
    wanted = round(params.positive_fraction * rows)
    lenses = _cycled(np.flatnonzero(labels > 0.5), wanted, rows, seed, epoch)
    others = _cycled(np.flatnonzero(labels <= 0.5), rows - wanted, rows, seed, epoch)
    return _shuffled(np.concatenate([lenses, others]), seed, epoch, stream=0)


def _cycled(index: NDArray[np.int64], wanted: int, rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    if not len(index):
        raise DataError("training needs lenses and negatives, but one of the classes is empty")
    turns = [_shuffled(index, seed, epoch, stream=1 + turn) + turn * rows for turn in range(-(-wanted // len(index)))]
    return np.concatenate(turns)[:wanted] if turns else index[:0]


def _shuffled(index: NDArray[np.int64], seed: int, epoch: int, stream: int) -> NDArray[np.int64]:
    key = step_seed(seed, epoch, stream)
    return index[np.argsort(mix(index.astype(np.uint64) ^ np.uint64(key)), kind="stable")]
