"""The NPZ format: round trip, and files that are not what they claim."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.errors import DataError
from lake.files.npz import read_npz
from tests.npzfiles import write_npz


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
    with pytest.raises(DataError, match=r"broken.npz is not a cut-out"):
        read_npz(path)


def test_npz_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flat.npz"
    np.savez(path, cutout=np.zeros((5, 5), np.float32))
    with pytest.raises(DataError, match=r"'cutout' in .*flat.npz must be \(n, n, 3\), got \(5, 5\)"):
        read_npz(path)


class Executed:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def header(descr: str, shape: str) -> bytes:
    """An ``.npy`` header that says what it likes."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def archive(path: Path, cutout: bytes, **meta: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in {"cutout": cutout, **meta}.items():
            made.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    ("cutout", "message"),
    [
        (header("'<f4'", "(1000000, 1000000, 3)"), "declares 12000000000000 bytes, more than the 67108864 allowed"),
        (header("'<f4'", "(4000, 1400, 3)") + bytes(4000 * 1400 * 12), "declares 67200000 bytes, more than"),
        (header("'<f4'", "(-9, -9, 3)"), "declares the shape"),
        (header("'<f4'", "(9, 9, float('nan'))"), "not a cut-out in the NPZ format"),
        (header("'<f4'", "(9, 9, 3)") + bytes(9 * 9 * 12 - 1), "must hold the 972 bytes that it declares"),
        (header("'<f4'", "(9, 9, 3)") + bytes(1 << 20), "must hold the 972 bytes that it declares"),
        (header("'<c8'", "(9, 9, 3)") + bytes(9 * 9 * 24), "must hold numbers, got complex64"),
        (header("'|O'", "(9, 9, 3)"), "must hold numbers, got object"),
        (header("[('a', '<f4')]", "(9, 9, 3)"), "must hold numbers"),
    ],
)
def test_what_a_header_claims_is_not_believed(tmp_path: Path, cutout: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_npz(archive(tmp_path / "x.npz", cutout))


def test_nothing_in_an_archive_is_executed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    good = io.BytesIO()
    np.save(good, np.zeros((9, 9, 3), np.float32))
    bad = io.BytesIO()
    np.save(bad, np.array([Executed(trace)]), allow_pickle=True)
    for path in (
        archive(tmp_path / "a.npz", bad.getvalue()),
        archive(tmp_path / "b.npz", good.getvalue(), meta_ra=bad.getvalue()),
    ):
        with pytest.raises(DataError, match="must hold numbers, got object"):
            read_npz(path)
    assert not trace.exists()


def test_pipes_and_folders_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", tmp_path, Path("/dev/zero")):
        with pytest.raises(DataError, match="it is not a file"):
            read_npz(path)


def test_metadata_is_one_value_each(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", cutout=np.zeros((9, 9, 3), np.float32), meta_ra=np.arange(3))
    with pytest.raises(DataError, match="'meta_ra' must be one value, got 3"):
        read_npz(tmp_path / "x.npz")


def outcome(path: Path) -> np.ndarray | str:
    """The stamp, or why it is refused."""
    try:
        return read_npz(path)[0]
    except DataError as error:
        return str(error)


def fuzz(folder: Path, mutants: int) -> int:
    """Mutate an archive's bytes; each mutant is refused by name or gives the true pixels. How many were refused."""
    rng = np.random.default_rng(20)
    stamp = stamps(1)[0]
    path = folder / "mutant.npz"
    write_npz(path, stamp, {"ra": 1.5, "tier": "B"})
    content, refused = path.read_bytes(), 0
    for _ in range(mutants):
        mutant = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 6)):
            mutant[place] = rng.integers(256)
        path.write_bytes(mutant[: rng.integers(1, len(content))] if rng.random() < 0.1 else mutant)
        found = outcome(path)
        if isinstance(found, str):
            assert "mutant.npz" in found
            refused += 1
        else:
            assert np.array_equal(found, stamp)
    return refused


def test_mutated_archives_are_refused_or_true(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 250) > 125


@pytest.mark.slow
def test_many_mutated_archives_are_refused_or_true(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 6000) > 3000
