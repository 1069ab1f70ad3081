"""Cut-outs in the reference system's NPZ format, for tests that read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_npz(path: Path, stamp: NDArray[np.float32], meta: Mapping[str, Any]) -> None:
    """Write a stamp (band, y, x) in the reference format."""
    arrays: dict[str, Any] = {f"meta_{name}": np.asarray(value) for name, value in meta.items()}
    np.savez_compressed(path, cutout=stamp.transpose(1, 2, 0).astype(np.float32), **arrays)
