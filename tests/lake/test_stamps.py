from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake.errors import DataError
from lake.stamps import StampStore, bucket_of, read_npz, shard_name, write_npz, write_shard


def stamps(n: int, pixels: int = 9) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, 3, pixels, pixels)).astype(np.float32)


def test_store_returns_stamps_in_the_order_asked(tmp_path: Path) -> None:
    first, second = stamps(4), stamps(5)
    write_shard(tmp_path / shard_name(0), first, 4, 9)
    write_shard(tmp_path / shard_name(1), second, 5, 9)
    got = StampStore(tmp_path).get([1, 0, 1, 0], [4, 0, 2, 3])
    assert np.array_equal(got, np.stack([second[4], first[0], second[2], first[3]]))


def test_missing_shard_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `dvc pull` or `dvc repro cutouts`"):
        StampStore(tmp_path).get([3], [0])


def test_buckets_are_even_and_stable() -> None:
    ids = pa.array([f"ls-dr10:0003m005_{i}" for i in range(8000)])
    buckets = bucket_of(ids, 8)
    assert np.bincount(buckets, minlength=8) == pytest.approx(1000, rel=0.15)
    assert buckets[17] == bucket_of(ids[17:18], 8)[0]


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
