"""The NPZ format: round trip, and files that are not what they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lake.errors import DataError
from lake.npz import read_npz, write_npz


def stamps(n: int, pixels: int = 9) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, 3, pixels, pixels)).astype(np.float32)


def test_npz_round_trip(tmp_path: Path) -> None:
    stamp = stamps(1)[0]
    write_npz(tmp_path / "a.npz", stamp, {"ra": 1.5, "tier": "B"})
    got, meta = read_npz(tmp_path / "a.npz")
    assert np.array_equal(got, stamp)
    assert meta == {"ra": 1.5, "tier": "B"}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"not an archive"])
def test_a_broken_npz_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken.npz is no cut-out"):
        read_npz(path)


def test_npz_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flat.npz"
    np.savez(path, cutout=np.zeros((5, 5), np.float32))
    with pytest.raises(DataError, match=r"'cutout' in .*flat.npz must be \(n, n, 3\), got \(5, 5\)"):
        read_npz(path)
