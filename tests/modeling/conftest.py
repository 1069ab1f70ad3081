"""Small synthetic stamps and runs: one thread, seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore, stamp_hash, write_shard
from modeling.config import TrainParams, resolve_generation
from modeling.scoring.checkpoint import Manifest, publish
from modeling.training.data import TrainingArrays, load_arrays
from modeling.training.train import train

PIXELS = 33
MANIFEST = Manifest("audit_70_15_15", "f00d")
SMALL = {
    "preprocessing": {"annulus": [10.0, 15.0], "crop_pixels": 32},
    "network": {"width": 8},
    "loop": {"epochs": 3, "batch": 16, "micro_batch": 8, "keep_every_epochs": 2},
    "execution": {"threads": 1, "device": "cpu", "dtype": "fp32"},
}


def ring_stamps(rows: int, seed: int, pixels: int = PIXELS) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Noise with a central blob; every third stamp also has a blue ring and label 1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:pixels, :pixels] - pixels // 2
    radius = np.hypot(y, x)
    labels = (np.arange(rows) % 3 == 0).astype(np.int64)
    blob = np.exp(-0.5 * (radius / 2.5) ** 2)
    ring = np.exp(-0.5 * ((radius - 6) / 1.2) ** 2)
    colour, blue = np.array([0.3, 1.0, 1.5])[:, None, None], np.array([1.0, 0.7, 0.4])[:, None, None]
    stamps = rng.normal(0, 0.1, (rows, 3, pixels, pixels)) + blob * colour
    stamps += labels[:, None, None, None] * 0.3 * ring * blue
    return stamps.astype(np.float32), labels


def write_manifest(folder: Path, rows: int, seed: int) -> pa.Table:
    """Write a shard of ring stamps and answer its manifest rows."""
    stamps, labels = ring_stamps(rows, seed)
    write_shard(folder / "bucket-0000.npy", iter(stamps), rows, PIXELS)
    return pa.table(
        {
            "galaxy_id": [f"t{seed}:{row:05d}" for row in range(rows)],
            "shard": np.zeros(rows, dtype=np.int32),
            "shard_row": np.arange(rows, dtype=np.int32),
            "sha256": [stamp_hash(stamp) for stamp in stamps],
            "label": labels.astype(np.int32),
            "tier": [("B" if row % 6 == 0 else "A") if label else None for row, label in enumerate(labels)],
            "psfsize_r": np.full(rows, 1.2, dtype=np.float32),
        }
    )


def arrays(folder: Path, params: TrainParams, rows: int, seed: int) -> TrainingArrays:
    """Training arrays of ring stamps."""
    return load_arrays(write_manifest(folder, rows, seed), StampStore(folder), params, SURVEY)


@pytest.fixture
def small() -> TrainParams:
    """demo1, made tiny."""
    return resolve_generation("demo1", SMALL)


@pytest.fixture
def splits(tmp_path: Path, small: TrainParams) -> tuple[TrainingArrays, TrainingArrays]:
    """Training and validation arrays."""
    return arrays(tmp_path / "train", small, 48, 1), arrays(tmp_path / "val", small, 30, 2)


@pytest.fixture(scope="session")
def trained(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A checkpoint folder, made once for all processes of a run; tests that change it work on a copy."""

    def make(folder: Path) -> None:
        params = resolve_generation("demo1", SMALL)
        splits = arrays(folder / "train", params, 48, 1), arrays(folder / "val", params, 30, 2)
        result = train(params, *splits, folder / "work")
        publish(result, folder / "checkpoints" / "demo1", MANIFEST, *splits)

    return once("trained", make) / "checkpoints" / "demo1"
